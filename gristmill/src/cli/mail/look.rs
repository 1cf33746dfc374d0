//! Emails: list, show, what was said, the message itself.

use std::io::Write;

use gristmill_core::letter::RecipientState;
use gristmill_mail::compose::address_hash;
use gristmill_service::documents::EmailDocument;
use gristmill_store::{EmailFilter, EmailState, RecipientView};

use crate::cli::context::CommandContext;
use crate::cli::list::{Paging, id};
use crate::cli::output::{Format, arrived, grouped, visible, wrote};
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};

pub(super) async fn list(
    context: &CommandContext,
    (state, address, batch): (Option<String>, Option<String>, Option<String>),
    paging: &Paging,
) -> Result<Exit> {
    let filter = EmailFilter {
        tenant: context.tenant.clone(),
        state: state.as_deref().map(state_of).transpose()?,
        address_hash: address.as_deref().map(address_hash),
        batch: batch.as_deref().map(|text| id("batch", text)).transpose()?,
    };
    let found = context.backend().await?.emails(&filter, &paging.page()).await?;
    let columns = ["ID", "STATE", "STREAM", "TO", "SUBJECT", "CREATED", "MOVED"];
    context.output.list(&found, &columns, |email, output| {
        vec![
            email.key.clone(),
            email.state.to_string(),
            email.stream.clone(),
            recipients(email.first_recipient.as_deref(), email.recipient_count),
            email.subject.as_deref().map_or_else(|| "-".to_owned(), |text| visible(text).into_owned()),
            output.time(email.created_at),
            output.time(email.moved_at),
        ]
    });
    paging.next(context, found.len(), found.last().map(|email| email.key.clone()));
    Ok(Exit::Success)
}

fn state_of(word: &str) -> Result<EmailState> {
    word.parse().map_err(|_| {
        let known = EmailState::ALL.map(EmailState::as_str);
        let hint = suggest(word, known).unwrap_or_else(|| format!("one of: {}", known.join(", ")));
        CommandError::usage(format!("`{word}` is no state of an email")).hint(hint)
    })
}

/// `ada@example.org and 2 others`.
fn recipients(first: Option<&str>, count: u32) -> String {
    match (first, count) {
        (None, count) => format!("{count} recipients"),
        (Some(first), 0 | 1) => visible(first).into_owned(),
        (Some(first), count) => format!("{} and {} more", visible(first), count - 1),
    }
}

/// An email of the tenant.
async fn find(context: &CommandContext, text: &str) -> Result<EmailDocument> {
    let key = id::<gristmill_core::id::JobId>("job", text)?.to_string();
    context.backend().await?.email(&key).await?.ok_or_else(|| missing(&key))
}

pub(super) fn missing(key: &str) -> CommandError {
    CommandError::not_found(format!("there is no email {key}"))
        .hint("an email has the id of its job, and is there from the first attempt on; see `gristmill mail list`")
}

pub(super) async fn show(context: &CommandContext, text: &str) -> Result<Exit> {
    let document = find(context, text).await?;
    let email = &document.email;
    let or_dash =
        |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), |text| visible(text).into_owned());
    let batch = email.batch.map_or_else(|| "-".to_owned(), |batch| batch.to_string());
    let size = email.size.map_or_else(|| "-".to_owned(), |size| format!("{} bytes", grouped(size)));
    let mut fields = vec![
        ("id", email.key.clone()),
        ("state", email.state.to_string()),
        ("stream", email.stream.clone()),
        ("subject", or_dash(&email.subject)),
        ("template", or_dash(&email.template)),
        ("sender", or_dash(&email.sender)),
        ("message id", email.message_id.clone()),
        ("batch", batch),
        ("size", size),
        ("sha256", or_dash(&email.sha256)),
        ("created", context.output.time(email.created_at)),
        ("moved", context.output.time(email.moved_at)),
    ];
    fields.extend(document.recipients.iter().map(|one| (one.role.as_str(), described(one))));
    context.output.fields(&document, &fields);
    if document.attempts.is_empty() {
        return Ok(Exit::Success);
    }
    context.output.note(&format!("what was said: {} mail trace {}", context.program(), email.key));
    Ok(Exit::Success)
}

/// `ada@example.org  bounced 550 5.1.1: no such user (rcpt.no_such_mailbox)`.
fn described(one: &RecipientView) -> String {
    let mut text = format!("{}  {}", visible(&one.address), one.state);
    for part in [one.code.map(|code| code.to_string()), one.status.clone()].into_iter().flatten() {
        text = format!("{text} {part}");
    }
    if let Some(note) = &one.note {
        text = format!("{text}: {}", visible(note));
    }
    if let Some(rule) = &one.rule {
        text = format!("{text} ({rule})");
    }
    if one.may_be_twice {
        text = format!("{text}; it may have arrived twice");
    }
    if one.state == RecipientState::Sent {
        format!("{text}; taken by the server, which is not yet delivered")
    } else {
        text
    }
}

pub(super) async fn trace(context: &CommandContext, text: &str) -> Result<Exit> {
    let document = find(context, text).await?;
    if context.output.format == Format::Json {
        context.output.document(&document.attempts);
        return Ok(Exit::Success);
    }
    if document.attempts.is_empty() {
        context.output.note("no server was asked yet, or what was said may not be seen by this caller");
    }
    for attempt in &document.attempts {
        let ended = context.output.time(attempt.ended_at);
        context.output.line(&format!("attempt {} with {}, {ended}", attempt.attempt, visible(&attempt.server)));
        for line in attempt.transcript.lines() {
            context.output.line(&format!("  {}", visible(line)));
        }
    }
    Ok(Exit::Success)
}

pub(super) async fn raw(context: &CommandContext, text: &str) -> Result<Exit> {
    let key = id::<gristmill_core::id::JobId>("job", text)?.to_string();
    let gone = || missing(&key).hint("its message is made at the first attempt, and removed after `[retention]`");
    let bytes = context.backend().await?.email_content(&key).await?.ok_or_else(gone)?;
    let mut out = std::io::stdout().lock();
    wrote(out.write_all(&bytes).and_then(|()| out.flush()));
    arrived()?;
    Ok(Exit::Success)
}
