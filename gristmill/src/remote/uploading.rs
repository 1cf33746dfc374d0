//! Sends a file to a server, however often the connection breaks: each time it is asked how far it is, and gone on with there.
//!
//! The hash of the file is said before its first byte is sent, so that the server refuses what is not that file: one that
//! another program writes to meanwhile. Of an upload that was given up nothing stays at the server.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use gristmill_client::http::{Call, HttpError, Upload};
use gristmill_service::Order;
use gristmill_service::uploads::UploadDocument;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Remote;
use crate::exit_code::{CommandError, Exit, Result};

/// How often at most it is tried without a byte more.
const TRIES_MAX: u32 = 8;

/// How often at most the server is asked to forget an upload that another request still holds.
const FORGET_TRIES_MAX: u32 = 4;

/// How long the first wait is; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(250);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long the comparison of hashes may take at the end.
const COMPLETE: Duration = Duration::from_secs(600);

/// How long the server may take to forget an upload.
const FORGET: Duration = Duration::from_secs(10);

const BUFFER_BYTES: usize = 1024 * 1024;

/// A file as it was before its first byte was sent.
struct Input {
    path: String,
    file: File,
    length: u64,
    sha256: String,
}

impl Input {
    /// Reads the whole file once. Blocks.
    fn open(path: String) -> Result<Self> {
        let read = || {
            let mut file = File::open(&path)?;
            let (length, sha256) = hash(&mut file)?;
            Ok((file, length, sha256))
        };
        match read() {
            Ok((file, length, sha256)) => Ok(Self { path, file, length, sha256 }),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    /// What is still to be sent, and no byte more than was said. An error when the file has another length by now.
    fn rest(&mut self, offset: u64) -> Result<Upload> {
        self.must_be_as_it_was()?;
        let rest = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.try_clone());
        let rest = rest.map_err(|error| unreadable(&self.path, &error))?;
        Ok(Upload::bytes(rest.take(self.length - offset)))
    }

    fn must_be_as_it_was(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|error| unreadable(&self.path, &error))?.len();
        if now == self.length {
            return Ok(());
        }
        let what = format!("it had {} bytes before the first was sent, and has {now} now", self.length);
        Err(changed(&self.path, &what))
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> CommandError {
    CommandError::new(Exit::NotFound, format!("the input `{path}` cannot be read: {error}"))
}

fn changed(path: &str, what: &str) -> CommandError {
    let message = format!("the input `{path}` was changed while it was sent: {what}; nothing was started");
    CommandError::new(Exit::Conflict, message).hint("run the command again when no other program writes to the file")
}

/// The length of a file and its SHA-256 in hexadecimal digits.
fn hash(file: &mut File) -> std::io::Result<(u64, String)> {
    let (mut length, mut digest, mut buffer) = (0, Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((length, hex::encode(digest.finalize()))),
            Ok(read) => {
                digest.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn wait(tries: u32) -> Duration {
    WAIT.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(WAIT_MAX)
}

impl Remote {
    /// Sends a file as an upload. `None` where the server knows of no uploads, and nothing was sent. Of an upload that does
    /// not become whole the server forgets what has come.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is changed meanwhile, the server refuses it, or does not answer again and again.
    pub(crate) async fn send_file(&self, order: &Order, path: &str) -> Result<Option<UploadDocument>> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(|| Input::open(path)).await;
        let mut input = opened.map_err(CommandError::internal)??;
        self.agree(order).await?;
        let begin = Call::post(&["uploads"]).body(&json!({ "length": input.length, "sha256": input.sha256 }));
        let upload: UploadDocument = match self.server.send(&begin).await {
            Ok(upload) => upload,
            // Of before there were uploads.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sent = self.send_input(&mut input, upload.clone()).await;
        if sent.is_err() {
            self.forget_upload(&upload).await;
        }
        sent.map(Some)
    }

    async fn send_input(&self, input: &mut Input, mut upload: UploadDocument) -> Result<UploadDocument> {
        let (id, mut tries) = (upload.id.to_string(), 0);
        while upload.offset < input.length {
            let rest = input.rest(upload.offset)?;
            match self.server.append::<UploadDocument>(&Call::patch(&["uploads", &id]), upload.offset, rest).await {
                Ok(further) if further.offset > upload.offset => upload = further,
                // Nothing came of it, and no error either: the file ends earlier than it did.
                Ok(further) => {
                    input.must_be_as_it_was()?;
                    return Err(changed(&input.path, &format!("it ends after {} bytes", further.offset)));
                }
                Err(error) if may_go_on(&error) => upload = self.how_far(&id, upload, &mut tries, error).await?,
                Err(error) => return Err(lost(error, &upload)),
            }
        }
        input.must_be_as_it_was()?;
        let call = Call::post(&["uploads", &id, "complete"]).within(COMPLETE);
        match self.server.send(&call).await {
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 422) => {
                Err(changed(&input.path, &error.to_string()))
            }
            sent => sent.map_err(|error| lost(error, &upload)),
        }
    }

    /// Removes an upload that is not needed any more. One that stays behind is over within a day.
    pub(crate) async fn forget_upload(&self, upload: &UploadDocument) {
        let call = Call::delete(&["uploads", &upload.id.to_string()]).within(FORGET);
        for tries in 1..=FORGET_TRIES_MAX {
            match self.server.send::<serde_json::Value>(&call).await {
                // The request that broke off is still being read there.
                Err(HttpError::Refused(refusal)) if refusal.status == 409 && tries < FORGET_TRIES_MAX => {
                    tokio::time::sleep(wait(tries)).await;
                }
                _ => return,
            }
        }
    }

    /// Waits, and asks how far it is.
    async fn how_far(
        &self,
        id: &str,
        upload: UploadDocument,
        tries: &mut u32,
        error: HttpError,
    ) -> Result<UploadDocument> {
        *tries += 1;
        if *tries > TRIES_MAX {
            return Err(CommandError::from(error).hint("run the command again later: it begins anew"));
        }
        let wait = wait(*tries);
        self.output.note(&format!("the upload broke off after {} bytes; it goes on in {wait:?}", upload.offset));
        tokio::time::sleep(wait).await;
        match self.server.send::<UploadDocument>(&Call::get(&["uploads", id])).await {
            Ok(further) => {
                if further.offset > upload.offset {
                    *tries = 0;
                }
                Ok(further)
            }
            Err(error) if may_go_on(&error) => Ok(upload),
            Err(error) => Err(lost(error, &upload)),
        }
    }
}

/// The error for what a server refuses of an upload that is under way. One that does not know it may be another server.
fn lost(error: HttpError, upload: &UploadDocument) -> CommandError {
    let is_lost = error.is_not_found() && !upload.server.is_empty();
    let error = CommandError::from(error);
    match is_lost {
        false => error,
        true => error.hint(format!(
            "the upload was begun at the server `{}`: name that one by its own address, or let the load balancer keep a client \
             at one server",
            upload.server
        )),
    }
}

/// Whether more may come of it when it is tried again: the connection broke, the request before still holds the upload, or
/// the server is away for a moment.
fn may_go_on(error: &HttpError) -> bool {
    match error {
        HttpError::Unreachable { .. } | HttpError::Broken { .. } | HttpError::Strange { .. } => true,
        HttpError::Refused(refusal) => matches!(refusal.status, 400 | 408 | 409 | 429 | 502..=504),
        HttpError::Options(_) | HttpError::Input(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use gristmill_client::http::Refusal;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_server_that_does_not_know_the_upload_is_said_to_be_another_one() {
        let now = chrono::Utc::now();
        let upload = |server: &str| UploadDocument {
            id: Uuid::nil(),
            offset: 3,
            length: Some(6),
            sha256: None,
            complete: false,
            server: server.to_owned(),
            created_at: now,
            expires_at: now,
        };
        let refused = |status| {
            let (code, message) = (String::new(), "no".to_owned());
            let faults = Vec::new();
            let refusal = Refusal {
                status,
                code,
                message,
                hint: None,
                faults,
                progress: None,
                retry_after: None,
                request_id: None,
            };
            HttpError::from(Box::new(refusal))
        };
        let hint = lost(refused(404), &upload("host-a")).hint.unwrap_or_default();
        assert!(hint.contains("`host-a`") && hint.contains("load balancer"), "{hint}");
        assert_eq!(lost(refused(404), &upload("")).hint, None, "of before servers said so");
        assert_eq!(lost(refused(413), &upload("host-a")).hint, None);
    }
}
