//! What is sent while it is read or made, in bounded memory.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream;
use reqwest::Body;
use serde::Serialize;

/// About how many bytes are sent at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Makes the next piece; `None` at the end.
type Next = Box<dyn FnMut() -> Result<Option<Vec<u8>>, String> + Send>;

/// A body that is read or made when the connection has room for it.
pub struct Upload {
    pub(super) media: &'static str,
    next: Next,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("media", &self.media).finish_non_exhaustive()
    }
}

/// Why the body broke off.
#[derive(Debug, Clone, Default)]
pub(super) struct Wrong(Arc<Mutex<Option<String>>>);

impl Wrong {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn say(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }
}

impl Upload {
    /// JSON documents, one a line; `None` is an empty line, which keeps the numbers of those that follow. An error ends
    /// them, and is what the upload fails with.
    pub fn lines<T: Serialize>(
        documents: impl IntoIterator<Item = Result<Option<T>, String>, IntoIter: Send + 'static>,
    ) -> Self {
        let mut documents = documents.into_iter();
        let next: Next = Box::new(move || {
            let mut piece = Vec::new();
            while piece.len() < PIECE_BYTES {
                let Some(document) = documents.next() else { break };
                if let Some(document) = document? {
                    serde_json::to_writer(&mut piece, &document).map_err(|error| error.to_string())?;
                }
                piece.push(b'\n');
            }
            Ok((!piece.is_empty()).then_some(piece))
        });
        Self { media: "application/x-ndjson", next }
    }

    /// What a file or another source holds, as it is.
    pub fn bytes(mut source: impl Read + Send + 'static) -> Self {
        let next: Next = Box::new(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let length = source.read(&mut piece).map_err(|error| format!("the input cannot be read: {error}"))?;
            piece.truncate(length);
            Ok((length > 0).then_some(piece))
        });
        Self { media: "application/octet-stream", next }
    }

    /// The same as content of another type.
    #[must_use]
    pub fn of(self, media: &'static str) -> Self {
        Self { media, ..self }
    }

    pub(super) fn body(self) -> (Body, Wrong) {
        let (mut next, wrong) = (self.next, Wrong::default());
        let said = wrong.clone();
        let pieces = std::iter::from_fn(move || {
            next().inspect_err(|error| said.say(error.clone())).map_err(std::io::Error::other).transpose()
        });
        (Body::wrap_stream(stream::iter(pieces)), wrong)
    }
}
