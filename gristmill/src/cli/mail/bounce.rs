//! Messages that come back to the address for refusals: one from a mail server's pipe, or a Maildir full of them.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use gristmill_jobs::mail::made::signing;
use gristmill_mail::signed::Signed;
use gristmill_service::Service;
use gristmill_service::documents::{ReturnedDocument, ReturnedKind};

use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// How much of a message is read: a report stands at its beginning.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// The most messages of a Maildir that one call takes in.
const MESSAGES_MAX: usize = 100_000;

/// Messages that come back
#[derive(Debug, Subcommand)]
pub(super) enum Bounce {
    /// Take in a message that came back, from standard input: what a mail server's pipe calls
    #[command(before_help = "Examples:
  gristmill mail bounce receive < bounce.eml
  bounce: \"|/usr/bin/gristmill --config /etc/gristmill.toml mail bounce receive --to ${ORIGINAL_RECIPIENT}\"

The second line is one of Postfix' aliases. What it says moves the recipient of the email that it is about: bounced,
delivered, complained. Whatever is no report, or is about no email of ours, changes nothing; the exit code is 0, so that
no mail server sends it back.")]
    Receive {
        /// The address that it came to; says for sure which email it is about, where `[mail] return_address` is set
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
    },
    /// Take in the new messages of a Maildir; each moves to `cur` when it is done
    #[command(before_help = "Examples:
  gristmill mail bounce maildir /var/mail/bounce")]
    Maildir {
        /// The Maildir, with its folders `new` and `cur`
        folder: PathBuf,
    },
}

impl Bounce {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if context.remote().is_some() {
            return Err(CommandError::usage("messages that come back are taken in where the database is")
                .hint("add --store to use the store of this machine's configuration"));
        }
        let mail = &context.loaded.config.mail;
        let intake = Intake {
            service: context.service().await?,
            signed: signing(mail).map_err(|why| CommandError::new(Exit::Problems, why))?,
            keep: mail.suppress_bounced.0,
        };
        match self {
            Self::Receive { to } => {
                let mut message = Vec::new();
                let read = std::io::stdin().lock().take(MESSAGE_BYTES_MAX).read_to_end(&mut message);
                read.map_err(|error| CommandError::usage(format!("standard input: {error}")))?;
                let taken = intake.take(&message, to.as_deref()).await?;
                say(context, &[taken]);
            }
            Self::Maildir { folder } => {
                let (taken, wrong) = intake.maildir(&folder).await?;
                say(context, &taken);
                wrong.iter().for_each(|wrong| context.output.warning(wrong));
                if !wrong.is_empty() {
                    return Ok(Exit::Partial);
                }
            }
        }
        Ok(Exit::Success)
    }
}

/// What takes messages in.
struct Intake {
    service: Service,
    signed: Option<Signed>,
    keep: std::time::Duration,
}

impl Intake {
    async fn take(&self, message: &[u8], to: Option<&str>) -> Result<ReturnedDocument> {
        let named = to.and_then(|to| self.signed.as_ref()?.envelope_of(to));
        Ok(self.service.take_return(message, named.as_deref(), self.keep).await?)
    }

    /// A message moves when it is done, so that what breaks off is taken in again, which changes nothing. One that cannot
    /// be read or moved holds no other back. Returned is what became of the others, and what is wrong with these.
    async fn maildir(&self, folder: &Path) -> Result<(Vec<ReturnedDocument>, Vec<String>)> {
        let new = folder.join("new");
        let entries = std::fs::read_dir(&new)
            .map_err(|error| CommandError::new(Exit::Failed, format!("{}: {error}", new.display())))?;
        let plain =
            entries.filter_map(|entry| entry.ok()).filter(|entry| entry.file_type().is_ok_and(|is| is.is_file()));
        let mut files: Vec<PathBuf> = plain.map(|entry| entry.path()).collect();
        files.sort();
        files.truncate(MESSAGES_MAX);
        let (mut taken, mut wrong) = (Vec::new(), Vec::new());
        for file in files {
            let message = match read(&file) {
                Ok(message) => message,
                Err(error) => {
                    wrong.push(format!("{}: {error}", file.display()));
                    continue;
                }
            };
            taken.push(self.take(&message, delivered_to(&message).as_deref()).await?);
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Err(error) = std::fs::rename(&file, folder.join("cur").join(format!("{name}:2,S"))) {
                wrong.push(format!("{}: it is taken in, and cannot be moved to `cur`: {error}", file.display()));
            }
        }
        Ok((taken, wrong))
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    std::fs::File::open(file)?.take(MESSAGE_BYTES_MAX).read_to_end(&mut message)?;
    Ok(message)
}

/// The address that a message in a Maildir came to, as the server that has put it there says. The first header alone: the
/// server puts its own above all others.
fn delivered_to(message: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&message[..message.len().min(64 * 1024)]).into_owned();
    let lines = head.lines().take_while(|line| !line.trim().is_empty());
    let named = lines.filter_map(|line| line.split_once(':'));
    let of = |(name, value): (&str, &str)| {
        let known = ["delivered-to", "x-original-to"].iter().any(|known| name.eq_ignore_ascii_case(known));
        known.then(|| value.trim().to_owned())
    };
    named.filter_map(of).find(|address| address.contains('+'))
}

fn say(context: &CommandContext, taken: &[ReturnedDocument]) {
    if context.output.format == Format::Json {
        context.output.document(&taken);
        return;
    }
    for one in taken {
        let about = one.email.as_deref().unwrap_or("no email of ours");
        match one.kind {
            ReturnedKind::AutoReply => context.output.line("an answer by a program: nothing follows from it"),
            ReturnedKind::Other => context.output.line("no report: nothing follows from it"),
            ReturnedKind::Delivery | ReturnedKind::Feedback => {
                for recipient in &one.recipients {
                    let status = recipient.status.as_deref().map(|status| format!(" {status}")).unwrap_or_default();
                    context.output.line(&format!("{about}: {}{status}: {}", recipient.said, recipient.outcome));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_that_put_it_there_says_to_whom_it_came() {
        let message = b"Return-Path: <>\nX-Original-To: bounce+a-b@example.com\nDelivered-To: mill@example.com\n\nDelivered-To: x+y@example.com\n";
        assert_eq!(delivered_to(message).as_deref(), Some("bounce+a-b@example.com"));
        assert_eq!(delivered_to(b"To: a+b@example.com\n\n"), None);
    }
}
