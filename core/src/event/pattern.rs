//! Which types of events are meant: `order.paid`, `batch.*`, `**`.

use std::fmt;
use std::str::FromStr;

/// The most segments of a type or a pattern.
const SEGMENTS_MAX: usize = 16;

/// A pattern for types: segments between dots, where `*` stands for one segment and `**` for any number of them, none
/// included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypePattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    One,
    Any,
    Is(String),
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern of types; write segments of letters, digits, `-` and `_` between dots, where `*` stands for one \
     segment and `**` for any number, such as `order.paid`, `batch.*` or `**`"
)]
pub struct BadPattern(pub String);

/// Whether a text can be the type of an event: 1 to 16 segments of letters, digits, `-` and `_` between dots.
pub fn is_type(text: &str) -> bool {
    let segments = text.split('.').count();
    text.len() <= super::ATTRIBUTE_CHARS_MAX && segments <= SEGMENTS_MAX && text.split('.').all(is_segment)
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl TypePattern {
    /// Whether it means this type.
    pub fn matches(&self, kind: &str) -> bool {
        let parts: Vec<&str> = kind.split('.').collect();
        matches(&self.segments, &parts)
    }

    /// The beginning that all types it means have in common, up to its first star.
    pub fn prefix(&self) -> &str {
        let end = self.text.find('*').unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Whether it means exactly one type.
    pub fn is_exact(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Is(_)))
    }
}

/// One pass with a single place to come back to, so that no pattern takes more than the product of both lengths.
fn matches(segments: &[Segment], parts: &[&str]) -> bool {
    let (mut at, mut part, mut any) = (0, 0, None);
    while part < parts.len() {
        match segments.get(at) {
            Some(Segment::Any) => {
                any = Some((at, part));
                at += 1;
                continue;
            }
            Some(Segment::One) => {
                (at, part) = (at + 1, part + 1);
                continue;
            }
            Some(Segment::Is(text)) if text == parts[part] => {
                (at, part) = (at + 1, part + 1);
                continue;
            }
            Some(Segment::Is(_)) | None => {}
        }
        let Some((star, from)) = any else { return false };
        any = Some((star, from + 1));
        (at, part) = (star + 1, from + 1);
    }
    segments[at.min(segments.len())..].iter().all(|segment| *segment == Segment::Any)
}

impl FromStr for TypePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let segment = |text: &str| match text {
            "*" => Some(Segment::One),
            "**" => Some(Segment::Any),
            text if is_segment(text) => Some(Segment::Is(text.to_owned())),
            _ => None,
        };
        let segments: Option<Vec<Segment>> = text.split('.').map(segment).collect();
        let fits = |segments: &Vec<Segment>| segments.len() <= SEGMENTS_MAX && text.len() <= super::ATTRIBUTE_CHARS_MAX;
        let segments = segments.filter(fits).ok_or_else(|| BadPattern(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), segments })
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TypePattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        for (text, meant, not_meant) in [
            ("order.paid", vec!["order.paid"], vec!["order", "order.paid.late", "orders.paid"]),
            ("batch.*", vec!["batch.completed"], vec!["batch", "batch.a.b"]),
            ("**", vec!["a", "a.b", "a.b.c"], vec![]),
            ("a.**", vec!["a", "a.b", "a.b.c"], vec!["b", "ab"]),
            ("**.failed", vec!["failed", "a.failed", "a.b.failed"], vec!["failed.a"]),
            ("a.**.z", vec!["a.z", "a.b.z", "a.z.z"], vec!["a.b", "z"]),
            ("*.**.z", vec!["a.z", "a.b.z"], vec!["z"]),
        ] {
            for kind in meant {
                assert!(pattern(text).matches(kind), "`{text}` means `{kind}`");
            }
            for kind in not_meant {
                assert!(!pattern(text).matches(kind), "`{text}` does not mean `{kind}`");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_would_be_right() {
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a*", "***", "ä", &"a.".repeat(20)] {
            let error = text.parse::<TypePattern>().expect_err(text).to_string();
            assert!(error.contains("batch.*"), "{error}");
        }
        for text in ["", "a.", "a b", "*", "a.*"] {
            assert!(!is_type(text), "{text}");
        }
    }

    /// The same by trying every way.
    fn by_trying(segments: &[Segment], parts: &[&str]) -> bool {
        match (segments.first(), parts.first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(Segment::Any), _) => {
                by_trying(&segments[1..], parts) || (!parts.is_empty() && by_trying(segments, &parts[1..]))
            }
            (Some(_), None) => false,
            (Some(Segment::One), Some(_)) => by_trying(&segments[1..], &parts[1..]),
            (Some(Segment::Is(text)), Some(part)) => text == part && by_trying(&segments[1..], &parts[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_one_pass_finds_what_trying_every_way_finds(
            text in proptest::collection::vec(prop_oneof!["a", "b", Just("*".to_owned()), Just("**".to_owned())], 1..7),
            kind in proptest::collection::vec(prop_oneof!["a", "b"], 1..7),
        ) {
            let (pattern, kind) = (pattern(&text.join(".")), kind.join("."));
            let parts: Vec<&str> = kind.split('.').collect();
            prop_assert_eq!(pattern.matches(&kind), by_trying(&pattern.segments, &parts));
        }
    }
}
