//! The bytes of a message: the same at every attempt, and safe against smuggled headers.
//!
//! The library (lettre) writes headers and MIME parts; this module sets what the library would draw at random
//! (boundaries), leaves nothing to the clock, and refuses what a reader or a server could misunderstand.

mod address;
mod attachment;
mod header;
mod plain;

use std::time::{Duration, SystemTime};

use gristmill_core::Instant;
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{Cc, ContentTransferEncoding, ContentType, HeaderName, ReplyTo, To};
use lettre::message::{Body, Mailbox, Mailboxes, Message, MessageBuilder, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

pub use address::{address_hash, canonical, mailbox, one_line};
pub use attachment::{ATTACHMENTS_BYTES_MAX, Attachment};
pub use plain::text_of;

/// How many recipients one message has at most: servers that accept mail take a hundred at least (RFC 5321, 4.5.3.1.8).
pub const RECIPIENTS_MAX: usize = 100;

/// How many headers of its own a message has at most.
pub const HEADERS_MAX: usize = 50;

/// The parts of a message.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The sender.
    pub from: &'a Mailbox,
    /// Who gets answers, if not the sender.
    pub reply_to: &'a [Mailbox],
    /// The recipients that all can see.
    pub to: &'a [Mailbox],
    /// Those that get a copy, and all can see.
    pub cc: &'a [Mailbox],
    /// Those that get a copy, and no recipient can see: they are in no header.
    pub bcc: &'a [Mailbox],
    /// The subject. One line.
    pub subject: &'a str,
    /// Its plain text. Without one, it is taken from the HTML version.
    pub text: Option<&'a str>,
    /// Its HTML version, if it has one.
    pub html: Option<&'a str>,
    /// Headers of its own, each a name and one line.
    pub headers: &'a [(String, String)],
    /// Files, and images that the HTML version shows.
    pub attachments: &'a [Attachment],
    /// How a recipient is taken off the list by one click: the address of RFC 8058.
    pub unsubscribe: Option<&'a str>,
    /// The `Message-ID` with its angle brackets.
    pub message_id: &'a str,
    /// The `Date`, to the second.
    pub date: Instant,
}

/// A message that is ready to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The address to which refusals go.
    pub sender: Address,
    /// The recipients in the order `to`, `cc`, `bcc`, each address once.
    pub recipients: Vec<Address>,
    /// The `Message-ID` with its angle brackets.
    pub message_id: String,
    /// When it was made.
    pub date: Instant,
    /// Headers and body, with CR LF line ends.
    pub bytes: Vec<u8>,
}

impl Composed {
    /// The SHA-256 of the bytes.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

/// The addresses of mailboxes, each once, in their order: two spellings of one address are one recipient.
pub fn recipients<'a>(mailboxes: impl IntoIterator<Item = &'a Mailbox>) -> Vec<Address> {
    let mut seen = std::collections::BTreeSet::new();
    let fresh = |mailbox: &&Mailbox| {
        let address = mailbox.email.to_string();
        seen.insert(canonical(&address).unwrap_or(address))
    };
    mailboxes.into_iter().filter(fresh).map(|mailbox| mailbox.email.clone()).collect()
}

/// Composes a message.
///
/// # Errors
///
/// When it has no recipient or too many, neither text nor HTML, a header or subject that could add others, or an
/// attachment that is no good: a text without any address. No retry helps.
pub fn compose(draft: &Draft<'_>) -> Result<Composed, String> {
    one_line("the subject", draft.subject)?;
    let recipients = recipients(draft.to.iter().chain(draft.cc).chain(draft.bcc));
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(format!(
            "a message has 1 to {RECIPIENTS_MAX} recipients, and this one has {}; send one to each group instead",
            recipients.len()
        ));
    }
    let builder = headers(draft, &recipients)?;
    let message = content(draft, builder)?;
    Ok(Composed {
        sender: draft.from.email.clone(),
        recipients,
        message_id: draft.message_id.to_owned(),
        date: draft.date,
        bytes: message.formatted(),
    })
}

fn headers(draft: &Draft<'_>, recipients: &[Address]) -> Result<MessageBuilder, String> {
    let envelope = Envelope::new(Some(draft.from.email.clone()), recipients.to_vec())
        .map_err(|error| format!("the message has no valid envelope: {error}"))?;
    let list = |mailboxes: &[Mailbox]| Mailboxes::from_iter(mailboxes.iter().cloned());
    let mut builder = Message::builder().from(draft.from.clone()).envelope(envelope);
    if !draft.to.is_empty() {
        builder = builder.header(To::from(list(draft.to)));
    }
    if !draft.cc.is_empty() {
        builder = builder.header(Cc::from(list(draft.cc)));
    }
    if !draft.reply_to.is_empty() {
        builder = builder.header(ReplyTo::from(list(draft.reply_to)));
    }
    let from = std::slice::from_ref(draft.from);
    for (name, mailboxes) in [("From", from), ("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)] {
        if let Some(header) = header::mailboxes(name, mailboxes) {
            builder = builder.raw_header(header);
        }
    }
    builder = builder
        .raw_header(header::text(HeaderName::new_from_ascii_str("Subject"), draft.subject))
        .message_id(Some(draft.message_id.to_owned()))
        .date(system_time(draft.date))
        // RFC 3834: holiday notices and other programs must not answer a program.
        .raw_header(header::fixed("Auto-Submitted", "auto-generated"));
    if let Some(url) = draft.unsubscribe {
        // Both or none: the second makes the first a button that a mail service presses by itself (RFC 8058, 3.1).
        builder = builder
            .raw_header(header::urls("List-Unsubscribe", &[url.to_owned()]))
            .raw_header(header::fixed("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    own_headers(draft, builder)
}

fn own_headers(draft: &Draft<'_>, mut builder: MessageBuilder) -> Result<MessageBuilder, String> {
    if draft.headers.len() > HEADERS_MAX {
        return Err(format!("a message has at most {HEADERS_MAX} headers of its own"));
    }
    for (name, value) in draft.headers {
        let known = header::own(name, value)?;
        one_line(&format!("the header `{name}`"), value)?;
        builder = builder.raw_header(header::text(known, value));
    }
    Ok(builder)
}

/// A part of a message while it is put together.
enum Part {
    One(SinglePart),
    Several(MultiPart),
}

/// `mixed(alternative(text, related(html, images)), files)`, without the layers that have one part (RFC 2046, RFC 2387).
fn content(draft: &Draft<'_>, builder: MessageBuilder) -> Result<Message, String> {
    attachment::check(draft.attachments)?;
    let derived;
    let text = match (draft.text, draft.html) {
        (Some(text), _) => text,
        (None, Some(html)) => {
            derived = text_of(html);
            &derived
        }
        (None, None) => return Err("the message has neither a text nor an HTML version; give it one".to_owned()),
    };
    let (inline, files): (Vec<_>, Vec<_>) = draft.attachments.iter().partition(|file| file.content_id.is_some());
    if draft.html.is_none() && !inline.is_empty() {
        return Err("an attachment has a `content_id`, and there is no HTML version that could show it".to_owned());
    }
    let one_text = draft.html.is_none() && files.is_empty();
    let wrong = |error: lettre::error::Error| format!("the message cannot be put together: {error}");
    if one_text {
        return builder.header(ContentType::TEXT_PLAIN).body(body(text)).map_err(wrong);
    }
    let boundary = |layer: &str| boundary(draft.message_id, layer);
    let plain = SinglePart::plain(body(text));
    let mut part = match draft.html {
        None => Part::One(plain),
        Some(html) => {
            let shown = SinglePart::html(body(html));
            let alternative = MultiPart::alternative().boundary(boundary("")).singlepart(plain);
            Part::Several(if inline.is_empty() {
                alternative.singlepart(shown)
            } else {
                let related = MultiPart::related().boundary(boundary("related")).singlepart(shown);
                alternative.multipart(
                    inline
                        .iter()
                        .try_fold(related, |related, file| Ok::<_, String>(related.singlepart(file.part()?)))?,
                )
            })
        }
    };
    if !files.is_empty() {
        let mixed = MultiPart::mixed().boundary(boundary("mixed"));
        let mixed = match part {
            Part::One(single) => mixed.singlepart(single),
            Part::Several(several) => mixed.multipart(several),
        };
        part =
            Part::Several(files.iter().try_fold(mixed, |mixed, file| Ok::<_, String>(mixed.singlepart(file.part()?)))?);
    }
    match part {
        Part::One(single) => builder.singlepart(single),
        Part::Several(several) => builder.multipart(several),
    }
    .map_err(wrong)
}

/// A text as it goes over the wire. Nothing but whole line ends may stand there as it is (RFC 5321, 2.3.8): a server that
/// takes a bare CR for a line end would see the end of the message where there is none, and commands behind it.
fn body(text: &str) -> Body {
    let mut rest = text.chars().peekable();
    let mut strange = false;
    while let Some(c) = rest.next() {
        strange |= match c {
            '\r' => rest.peek() != Some(&'\n'),
            '\n' | '\t' => false,
            c => c.is_ascii_control(),
        };
    }
    if !strange {
        return Body::new(text.to_owned());
    }
    // It fits every text; the library gives one back only where an encoding does not.
    Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::Base64).unwrap_or_else(Body::new)
}

/// The `Message-ID` of a message that `key` names: the same for every attempt, and in our own domain.
pub fn message_id(tenant: &str, key: &str, from: &Mailbox) -> String {
    let digest = Sha256::digest(format!("{tenant}\0{key}"));
    format!("<{}@{}>", hex::encode(&digest[..16]), from.email.domain())
}

/// The library would pick a random boundary, and every attempt would have different bytes.
fn boundary(message_id: &str, layer: &str) -> String {
    let of = if layer.is_empty() { "boundary of".to_owned() } else { format!("{layer} boundary of") };
    hex::encode(&Sha256::digest(format!("{of} {message_id}"))[..20])
}

fn system_time(instant: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(instant.timestamp()).unwrap_or_default())
}
