//! Sends a file to a server, however often the connection breaks: each time it is asked how far it is, and gone on with there.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::time::Duration;

use gristmill_client::http::{Call, HttpError, Upload};
use gristmill_service::Order;
use gristmill_service::uploads::UploadDocument;
use serde_json::json;

use super::Remote;
use crate::exit_code::{CommandError, Exit, Result};

/// How often at most it is tried without a byte more.
const TRIES_MAX: u32 = 8;

/// How long the first wait is; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(250);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long the comparison of hashes may take at the end.
const COMPLETE: Duration = Duration::from_secs(600);

impl Remote {
    /// Sends a file as an upload. `None` where the server knows of no uploads, and nothing was sent.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, the server refuses it, or does not answer again and again.
    pub(crate) async fn send_file(&self, order: &Order, path: &str) -> Result<Option<UploadDocument>> {
        let unreadable = |error: std::io::Error| {
            CommandError::new(Exit::NotFound, format!("the input `{path}` cannot be read: {error}"))
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        self.agree(order).await?;
        let begin = Call::post(&["uploads"]).body(&json!({ "length": length }));
        let mut upload: UploadDocument = match self.server.send(&begin).await {
            Ok(upload) => upload,
            // Of before there were uploads.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (id, mut tries) = (upload.id.to_string(), 0);
        while upload.offset < length {
            file.seek(SeekFrom::Start(upload.offset)).map_err(unreadable)?;
            let rest = Upload::bytes(file.try_clone().map_err(unreadable)?);
            match self.server.append(&Call::patch(&["uploads", &id]), upload.offset, rest).await {
                Ok(further) => upload = further,
                Err(error) if may_go_on(&error) => upload = self.how_far(&id, upload, &mut tries, error).await?,
                Err(error) => return Err(error.into()),
            }
        }
        let call = Call::post(&["uploads", &id, "complete"]).within(COMPLETE);
        Ok(Some(self.server.send(&call).await?))
    }

    /// Removes an upload that is not needed any more. One that stays behind is over within a day.
    pub(crate) async fn forget_upload(&self, upload: &UploadDocument) {
        let _ = self.server.send::<serde_json::Value>(&Call::delete(&["uploads", &upload.id.to_string()])).await;
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
            return Err(CommandError::from(error).hint("what has come stays there for a day; run the command again"));
        }
        let wait = WAIT.saturating_mul(1 << (*tries - 1).min(10)).min(WAIT_MAX);
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
            Err(error) => Err(error.into()),
        }
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
