//! Where messages go.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gristmill_core::Instant;
use gristmill_mail::Address;
use gristmill_mail::classify::{Phase, Signal};
use gristmill_mail::transport::{Answer, Report};
use gristmill_store::StoreHandle;

use super::relays::Relays;
use super::sandbox;
use crate::settings::MailSettings;

/// A message as it is kept, and whom it is still owed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address to which refusals go.
    pub sender: Address,
    /// The recipients that are still owed.
    pub recipients: Vec<Address>,
    /// The `Message-ID` with its angle brackets.
    pub message_id: String,
    /// When it was made.
    pub date: Instant,
    /// Headers and body, with CR LF line ends.
    pub bytes: Vec<u8>,
}

/// Where messages go.
#[derive(Debug)]
pub enum Transport {
    /// To a server, or to one of several.
    Relays(Box<Relays>),
    /// Into a folder, as `.eml` files.
    Folder(PathBuf),
    /// Nowhere: kept for tests and previews.
    Memory(Mutex<Vec<Letter>>),
    /// Nowhere, with the answers that addresses ask for: see [`super::sandbox`].
    Sandbox,
}

impl Transport {
    /// Creates one from the settings. Passwords and certificates are read here.
    ///
    /// # Errors
    ///
    /// When the URL is none of `folder://…`, `smtp://…`, `smtps://…`, `sandbox://`, or a file or variable that the settings
    /// name cannot be read: a text that names the key.
    pub fn from_settings(settings: &MailSettings) -> Result<Self, String> {
        if settings.url == "sandbox://" {
            return Ok(Self::Sandbox);
        }
        if !settings.relays.is_empty() {
            return Relays::from_settings(settings).map(|relays| Self::Relays(Box::new(relays)));
        }
        if let Some(path) = settings.url.strip_prefix("folder://") {
            if path.is_empty() {
                return Err("`mail.url` names no folder; write for example `folder://mail`".to_owned());
            }
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        if settings.url.starts_with("smtp://") || settings.url.starts_with("smtps://") {
            return Relays::from_settings(settings).map(|relays| Self::Relays(Box::new(relays)));
        }
        // The URL itself is left out of the text: it may hold a password.
        Err("`mail.url` must begin with `folder://`, `smtp://` or `smtps://`, or be `sandbox://`".to_owned())
    }

    /// Creates a transport that keeps the messages it is given.
    pub fn memory() -> Self {
        Self::Memory(Mutex::new(Vec::new()))
    }

    /// The relays, where there are any.
    pub fn relays(&self) -> Option<&Relays> {
        match self {
            Self::Relays(relays) => Some(relays),
            Self::Folder(_) | Self::Memory(_) | Self::Sandbox => None,
        }
    }

    /// Whether handing over the same message twice leaves only one.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Hands a message over. `before_data` gets the recipients that the other side takes (by their places), and runs
    /// when it has agreed to take the message and before any byte of it is sent: once the data has begun, an answer
    /// that never comes leaves the outcome unknown. When a server fails before it has the message, `before_data` runs
    /// again for those whom the next one takes.
    pub async fn send<F, R>(&self, store: &StoreHandle, letter: &Letter, before_data: F) -> Report
    where
        F: Fn(Vec<usize>) -> R + Send + Sync,
        R: Future<Output = Result<(), String>> + Send,
    {
        if let Self::Relays(relays) = self {
            return relays.send(store, letter, before_data).await;
        }
        if matches!(self, Self::Sandbox) {
            return sandbox::send(&letter.recipients, before_data).await;
        }
        let answer = match before_data((0..letter.recipients.len()).collect()).await {
            Ok(()) => self.keep(letter).await,
            Err(reason) => Answer::CalledOff(reason),
        };
        let answers = vec![answer; letter.recipients.len()];
        Report { answers, transcript: String::new(), server: self.place() }
    }

    fn place(&self) -> String {
        match self {
            Self::Relays(_) => "the mail relays".to_owned(),
            Self::Folder(folder) => format!("the folder {}", folder.display()),
            Self::Memory(_) => "memory".to_owned(),
            Self::Sandbox => sandbox::PLACE.to_owned(),
        }
    }

    async fn keep(&self, letter: &Letter) -> Answer {
        let kept = match self {
            Self::Folder(folder) => write(folder, letter).await,
            Self::Relays(_) | Self::Sandbox => Err("a server keeps nothing".to_owned()),
            Self::Memory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(letter.clone());
                Ok(format!("kept as number {}", kept.len()))
            }
        };
        match kept {
            Ok(text) => Answer::judged(Phase::Dot, Signal::Reply { code: 250, text }),
            // Nothing of it is there under its name: it is certain that nothing was kept.
            Err(why) => Answer::judged(Phase::Body, Signal::Lost { why }),
        }
    }
}

/// Writes to another name and renames, so that no reader sees half a message. The name depends only on the message: a
/// repetition replaces the same file.
async fn write(folder: &Path, letter: &Letter) -> Result<String, String> {
    let name = file_name(letter);
    let (target, beside) = (folder.join(&name), folder.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple())));
    let wrong = |what: &str, path: &Path, error: &std::io::Error| {
        format!("the mail folder: {} cannot be {what}: {error}", path.display())
    };
    let made = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || crate::folder::make(&made)).await;
    made.unwrap_or_else(|error| Err(error.into())).map_err(|error| wrong("created", folder, &error))?;
    let written = async {
        let mut file = tokio::fs::File::create_new(&beside).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, &letter.bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, &target).await?;
        // The name too: a message that counts as sent must be there after the machine's crash.
        tokio::fs::File::open(folder).await?.sync_all().await
    };
    if let Err(error) = written.await {
        // A half-written file is of no use; failing to remove it changes nothing.
        let _ = tokio::fs::remove_file(&beside).await;
        return Err(wrong("written", &target, &error));
    }
    Ok(target.display().to_string())
}

fn file_name(letter: &Letter) -> String {
    let id: String =
        letter.message_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-')).collect();
    let local = id.split('@').next().unwrap_or_default();
    format!("{}-{local}.eml", letter.date.format("%Y%m%dT%H%M%SZ"))
}
