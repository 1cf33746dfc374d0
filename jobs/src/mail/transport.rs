//! How a message is sent.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::mail::delivery::{Delivered, NotDelivered};
use crate::mail::message::Composed;
use crate::mail::smtp::Smtp;
use crate::settings::MailSettings;

/// Where messages go.
#[derive(Debug)]
pub enum Transport {
    /// To a server.
    Smtp(Box<Smtp>),
    /// Into a folder, as `.eml` files.
    Folder(PathBuf),
    /// Nowhere: kept for tests and previews.
    Memory(Mutex<Vec<Composed>>),
}

impl Transport {
    /// Creates one from the settings. Passwords and certificates are read here.
    ///
    /// # Errors
    ///
    /// When the URL is none of `folder://…`, `smtp://…`, `smtps://…`, or a file or variable that the settings name
    /// cannot be read: a text that names the key.
    pub fn from_settings(settings: &MailSettings) -> Result<Self, String> {
        if let Some(path) = settings.url.strip_prefix("folder://") {
            if path.is_empty() {
                return Err("`mail.url` names no folder; write for example `folder://mail`".to_owned());
            }
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        if settings.url.starts_with("smtp://") || settings.url.starts_with("smtps://") {
            return Smtp::from_settings(settings).map(|smtp| Self::Smtp(Box::new(smtp)));
        }
        // The URL itself is left out of the text: it may hold a password.
        Err("`mail.url` must begin with `folder://`, `smtp://` or `smtps://`".to_owned())
    }

    /// Creates a transport that keeps the messages it is given.
    pub fn memory() -> Self {
        Self::Memory(Mutex::new(Vec::new()))
    }

    /// Whether handing over the same message twice leaves only one.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Hands a message over. `before_data` runs when the other side has agreed to accept it and before any byte of it
    /// is sent: once the data has begun, an answer that never comes is [`NotDelivered::Unknown`].
    ///
    /// # Errors
    ///
    /// See [`NotDelivered`].
    pub async fn deliver<F, R>(&self, message: &Composed, before_data: F) -> Result<Delivered, NotDelivered>
    where
        F: FnOnce() -> R + Send,
        R: Future<Output = Result<(), String>> + Send,
    {
        match self {
            Self::Smtp(smtp) => smtp.deliver(message, before_data).await,
            Self::Folder(folder) => {
                before_data().await.map_err(NotDelivered::CalledOff)?;
                write(folder, message).await
            }
            Self::Memory(kept) => {
                before_data().await.map_err(NotDelivered::CalledOff)?;
                let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.push(message.clone());
                Ok(Delivered { answer: format!("kept as number {}", kept.len()) })
            }
        }
    }
}

/// Writes to another name and renames, so that no reader sees half a message. The name depends only on the message: a
/// repetition replaces the same file.
async fn write(folder: &Path, message: &Composed) -> Result<Delivered, NotDelivered> {
    let name = file_name(message);
    let (target, beside) = (folder.join(&name), folder.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple())));
    let wrong = |what: &str, path: &Path, error: &std::io::Error| NotDelivered::Later {
        message: format!("the mail folder: {} cannot be {what}: {error}", path.display()),
        after: None,
    };
    let made = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || crate::folder::make(&made)).await;
    made.unwrap_or_else(|error| Err(error.into())).map_err(|error| wrong("created", folder, &error))?;
    let written = async {
        let mut file = tokio::fs::File::create_new(&beside).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, &message.bytes).await?;
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
    Ok(Delivered { answer: target.display().to_string() })
}

fn file_name(message: &Composed) -> String {
    let id: String =
        message.message_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-')).collect();
    let local = id.split('@').next().unwrap_or_default();
    format!("{}-{local}.eml", message.date.format("%Y%m%dT%H%M%SZ"))
}
