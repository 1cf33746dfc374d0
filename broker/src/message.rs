//! The wire format: `{"v":1,"job_id":"…","queue":"…"}`.

use gristmill_core::id::JobId;
use gristmill_core::unfit::plain;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version that this program writes and reads.
pub const VERSION: u32 = 1;

/// The most bytes that a message may have, and that are kept of an unreadable one: 64 KiB. Our messages have about a
/// hundred.
pub const BYTES_MAX: usize = 64 * 1024;

/// The message itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The version of the format.
    pub v: u32,
    /// The job that may be claimed.
    pub job_id: JobId,
    /// Its queue.
    pub queue: String,
}

impl Message {
    /// Creates the message that announces that this job may be claimed.
    pub fn new(job_id: JobId, queue: impl Into<String>) -> Self {
        Self { v: VERSION, job_id, queue: queue.into() }
    }

    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        // Written by hand, because no serializer can fail here, and a `Result` would only make every caller handle what
        // cannot happen. Only the queue's name may need escaping.
        let queue = serde_json::Value::from(self.queue.as_str());
        format!(r#"{{"v":{},"job_id":"{}","queue":{queue}}}"#, self.v, self.job_id).into_bytes()
    }

    /// Decodes a message. Unknown fields are ignored, so that a later program may add some.
    ///
    /// # Errors
    ///
    /// A [`Poison`] with the reason, when it is not a message of this version. Never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Poison> {
        if bytes.len() > BYTES_MAX {
            return Err(Poison::new(bytes, format!("it has more than {BYTES_MAX} bytes")));
        }
        let version: Version = serde_json::from_slice(bytes)
            .map_err(|error| Poison::new(bytes, format!("it is no message: {}", plain(&error.to_string()))))?;
        if version.v != u64::from(VERSION) {
            let reason = format!("it has version {}, and this program reads version {VERSION}", version.v);
            return Err(Poison::new(bytes, reason));
        }
        serde_json::from_slice(bytes).map_err(|error| {
            Poison::new(bytes, format!("it is no message of version {VERSION}: {}", plain(&error.to_string())))
        })
    }
}

/// The part that every version has. It is read first, so that a message of a later version is reported as such, and not
/// as one with a missing field.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// A message that cannot be read at all. It is kept as evidence and acknowledged, since otherwise it would come back
/// unread for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Its first [`BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// How many bytes it has.
    pub size: usize,
    /// The SHA-256 of all of them, in hexadecimal, so that the same poison is recognised.
    pub sha256: String,
    /// Why it cannot be read. Never quotes the message.
    pub reason: String,
}

impl Poison {
    /// Keeps evidence of these bytes.
    pub fn new(bytes: &[u8], reason: String) -> Self {
        Self {
            bytes: bytes[..bytes.len().min(BYTES_MAX)].to_vec(),
            size: bytes.len(),
            sha256: hex::encode(Sha256::digest(bytes)),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0190b0a0-0000-7000-8000-000000000001";

    fn refused(text: &str) -> Poison {
        Message::decode(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_message_is_written_as_documented() {
        let message = Message::new(ID.parse().unwrap(), "mail \"fast\"");
        let text = String::from_utf8(message.encode()).unwrap();
        assert_eq!(text, format!(r#"{{"v":1,"job_id":"{ID}","queue":"mail \"fast\""}}"#));
    }

    #[test]
    fn fields_of_a_later_program_are_passed_over() {
        let text = format!(r#"{{"v":1,"job_id":"{ID}","queue":"q","later":[1,2]}}"#);
        assert_eq!(Message::decode(text.as_bytes()), Ok(Message::new(ID.parse().unwrap(), "q")));
    }

    #[test]
    fn another_version_is_called_another_version() {
        assert_eq!(refused(r#"{"v":2,"jobs":[]}"#).reason, "it has version 2, and this program reads version 1");
    }

    #[test]
    fn what_is_no_message_is_poison_with_its_bytes_and_its_hash() {
        let poison = refused("hello");
        assert_eq!(poison.bytes, b"hello");
        assert_eq!(poison.size, 5);
        assert_eq!(poison.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert!(poison.reason.starts_with("it is no message:"), "{}", poison.reason);
        assert!(refused(r#"{"v":1,"job_id":"x","queue":"q"}"#).reason.starts_with("it is no message of version 1"));
    }

    #[test]
    fn of_a_huge_message_only_the_beginning_is_kept() {
        let poison = Message::decode(&vec![b' '; BYTES_MAX + 1]).unwrap_err();
        assert_eq!((poison.bytes.len(), poison.size), (BYTES_MAX, BYTES_MAX + 1));
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(id: u128, queue in ".*") {
            let message = Message::new(JobId(uuid::Uuid::from_u128(id)), queue);
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn any_bytes_are_a_message_or_poison(bytes: Vec<u8>) {
            if let Err(poison) = Message::decode(&bytes) {
                prop_assert_eq!(poison.bytes, bytes);
            }
        }

        #[test]
        fn any_nearly_right_text_is_a_message_or_poison(v in "[0-9.eE+-]{0,25}", id in ".{0,40}", queue in "[\"a\\\\]{0,9}") {
            let text = format!(r#"{{"v":{v},"job_id":"{id}","queue":"{queue}"}}"#);
            if let Ok(message) = Message::decode(text.as_bytes()) {
                prop_assert_eq!(message.v, VERSION);
            }
        }
    }
}
