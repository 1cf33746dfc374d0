//! Files that go with a message, and images that its HTML version shows.

use lettre::message::header::{ContentDisposition, ContentId, ContentTransferEncoding, ContentType};
use lettre::message::{Body, SinglePart};

use super::address::one_line;

/// How many bytes all attachments of a message have together at most. Encoded they are a third more, and the usual
/// server takes messages of 25 MB.
pub const ATTACHMENTS_BYTES_MAX: usize = 15 * 1024 * 1024;

/// How many attachments a message has at most.
pub(super) const ATTACHMENTS_MAX: usize = 50;

/// The longest name of a file.
const NAME_CHARS_MAX: usize = 200;

/// The types of files whose content says nothing about them, by the end of their names.
const TYPES: [(&str, &str); 15] = [
    ("txt", "text/plain; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ics", "text/calendar; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("eml", "application/octet-stream"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("parquet", "application/vnd.apache.parquet"),
    ("webp", "image/webp"),
    ("log", "text/plain; charset=utf-8"),
];

/// The first bytes of files that say what they are, whatever they are called.
const MAGIC: [(&[u8], &str); 5] = [
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1f\x8b", "application/gzip"),
];

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, as readers save it. Any characters but control characters and slashes.
    pub name: String,
    /// What it is, such as `text/csv`. `None`: known from its first bytes, or else from its name.
    pub content_type: Option<String>,
    /// Its content.
    pub data: Vec<u8>,
    /// The name by which the HTML version shows it: `logo` for `<img src="cid:logo">`.
    pub content_id: Option<String>,
}

/// Checks the attachments of one message together.
///
/// # Errors
///
/// When there are too many, or they have too many bytes: a text that says how many there may be.
pub(super) fn check(all: &[Attachment]) -> Result<(), String> {
    if all.len() > ATTACHMENTS_MAX {
        return Err(format!("a message has at most {ATTACHMENTS_MAX} attachments, and this one has {}", all.len()));
    }
    let bytes: usize = all.iter().map(|file| file.data.len()).sum();
    if bytes > ATTACHMENTS_BYTES_MAX {
        return Err(format!(
            "the attachments have {bytes} bytes together, and mail takes {ATTACHMENTS_BYTES_MAX}; send a link instead"
        ));
    }
    Ok(())
}

impl Attachment {
    /// The part of the message that holds it. Always base64: nothing of a file can be taken for the end of a message,
    /// and no server on the way changes its line ends.
    pub(super) fn part(&self) -> Result<SinglePart, String> {
        let shown: String = self.name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
        one_line("the name of an attachment", &self.name)?;
        if self.name.is_empty() || self.name.contains(['/', '\\']) || self.name.chars().count() > NAME_CHARS_MAX {
            return Err(format!(
                "the attachment `{shown}` needs a name of 1 to {NAME_CHARS_MAX} characters without slashes, such as `report.csv`"
            ));
        }
        let content_type = self.content_type()?;
        let body = Body::new_with_encoding(self.data.clone(), ContentTransferEncoding::Base64)
            .map_err(|_| format!("the attachment `{shown}` cannot be encoded"))?;
        let builder = SinglePart::builder().header(content_type);
        Ok(match &self.content_id {
            None => builder.header(ContentDisposition::attachment(&self.name)),
            Some(id) => {
                let token = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
                if id.is_empty() || id.len() > NAME_CHARS_MAX || !id.chars().all(token) {
                    return Err(format!(
                        "the `content_id` of the attachment `{shown}` must be letters, digits, `.`, `_`, `-` and `@`, such as `logo`"
                    ));
                }
                builder
                    .header(ContentId::from(format!("<{id}>")))
                    .header(ContentDisposition::inline_with_name(&self.name))
            }
        }
        .body(body))
    }

    fn content_type(&self) -> Result<ContentType, String> {
        let known = match &self.content_type {
            Some(given) => given.as_str(),
            None => self.sniffed(),
        };
        let whole = ContentType::parse(known).map_err(|_| known).and_then(|parsed| {
            if known.to_ascii_lowercase().starts_with("multipart/") { Err(known) } else { Ok(parsed) }
        });
        whole.map_err(|_| {
            let shown: String = known.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
            format!("`{shown}` is no content type of an attachment; write one such as `text/csv`")
        })
    }

    fn sniffed(&self) -> &'static str {
        if let Some((_, known)) = MAGIC.iter().find(|(magic, _)| self.data.starts_with(magic)) {
            return known;
        }
        let end = self.name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        TYPES.iter().find(|(known, _)| *known == end).map_or("application/octet-stream", |(_, known)| known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, data: &[u8]) -> Attachment {
        Attachment { name: name.to_owned(), content_type: None, data: data.to_vec(), content_id: None }
    }

    #[test]
    fn a_file_is_what_its_first_bytes_say_and_then_what_its_name_says() {
        for (name, data, expected) in [
            ("report.csv", &b"a,b"[..], "text/csv; charset=utf-8"),
            ("picture.csv", b"\x89PNG\r\n\x1a\n..", "image/png"),
            ("report.PDF", b"%PDF-1.7", "application/pdf"),
            ("unknown", b"x", "application/octet-stream"),
        ] {
            assert_eq!(file(name, data).sniffed(), expected, "{name}");
        }
    }

    #[test]
    fn what_a_reader_could_misunderstand_is_refused() {
        for name in ["", "a/b", "..\\x", "a\r\nb", &"y".repeat(201)] {
            assert!(file(name, b"x").part().is_err(), "{name}");
        }
        for content_type in ["text/plain\r\nBcc: a@b.example", "multipart/mixed", "nonsense", ""] {
            let file = Attachment { content_type: Some(content_type.to_owned()), ..file("a", b"x") };
            let error = file.part().err().unwrap_or_else(|| panic!("{content_type}"));
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        for id in ["", "a b", "a>", "a\r\nb"] {
            let file = Attachment { content_id: Some(id.to_owned()), ..file("a", b"x") };
            assert!(file.part().is_err(), "{id}");
        }
        let half = file("a", &vec![0; ATTACHMENTS_BYTES_MAX / 2 + 1]);
        let error = check(&[half.clone(), half]).expect_err("too large");
        assert!(error.contains("link"), "{error}");
        check(&vec![file("a", b""); ATTACHMENTS_MAX + 1]).expect_err("too many");
    }
}
