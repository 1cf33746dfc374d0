//! Values that are not to be seen in what attempts and programs say: each is replaced wherever it stands, and so is what
//! [`redact`](crate::redact) recognizes by its form.

use gristmill_core::attempt_log::plain;

use crate::redact::{HIDDEN, redact_line};

/// The fewest characters of a secret that is looked for: shorter ones are parts of any text.
pub(crate) const SECRET_CHARS_MIN: usize = 6;

/// Secrets, the longest first: one may be a part of another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Adds values. Of one with several lines, such as a key in PEM form, each line is a secret, because what is said is looked
    /// at line by line; a line end may be written as `\n` in it.
    pub(crate) fn add(&mut self, values: impl IntoIterator<Item = String>) {
        for value in values {
            let parts = value.split(['\n', '\r']).flat_map(|line| std::iter::once(line).chain(line.split("\\n")));
            for part in parts.map(str::trim).filter(|part| part.chars().count() >= SECRET_CHARS_MIN) {
                if !self.0.iter().any(|known| known == part) {
                    self.0.push(part.to_owned());
                }
            }
        }
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// The secrets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Lines without control characters, and then without secrets: an escape sequence within a secret must not hide it from
    /// the search.
    pub(crate) fn hide(&self, text: &str, extent: Extent) -> String {
        // A character may have been cut as well.
        let text = match extent {
            Extent::Whole => text,
            Extent::WithoutEnd => text.trim_end_matches(char::REPLACEMENT_CHARACTER),
            Extent::WithoutBeginning => text.trim_start_matches(char::REPLACEMENT_CHARACTER),
        };
        let mut shown = text.lines().map(plain).collect::<Vec<_>>().join("\n");
        match extent {
            Extent::Whole => {}
            Extent::WithoutEnd => shown.truncate(shown.len() - self.begun_in(&shown)),
            Extent::WithoutBeginning => {
                shown.drain(..self.ended_in(&shown));
            }
        }
        for secret in &self.0 {
            if shown.contains(secret.as_str()) {
                shown = shown.replace(secret.as_str(), HIDDEN);
            }
        }
        redact_line(&shown)
    }

    /// With how many bytes a secret begins at the end of a text.
    fn begun_in(&self, text: &str) -> usize {
        let begun = |secret: &String| {
            let mut ends = secret.char_indices().map(|(at, _)| at).rev();
            ends.find(|end| text.ends_with(&secret[..*end])).unwrap_or(0)
        };
        self.0.iter().map(begun).max().unwrap_or(0)
    }

    /// With how many bytes a secret ends at the beginning of a text.
    fn ended_in(&self, text: &str) -> usize {
        let ended = |secret: &String| {
            let mut begins = secret.char_indices().map(|(at, _)| at).skip(1);
            begins.find(|begin| text.starts_with(&secret[*begin..])).map_or(0, |begin| secret.len() - begin)
        };
        self.0.iter().map(ended).max().unwrap_or(0)
    }
}

/// How much of a text is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// What came after it was cut off.
    WithoutEnd,
    /// What came before it was cut off.
    WithoutBeginning,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(values.iter().map(|value| (*value).to_owned()));
        secrets
    }

    #[test]
    fn a_secret_is_found_behind_escape_sequences_and_before_a_shorter_one_within_it() {
        let of = secrets(&["hunter", "hunter2hunter2", "a:token=hunter9"]);
        for (said, shown) in [
            ("it is hunter2hunter2!", "it is ***!"),
            ("it is hun\u{1b}[31mter2\u{1b}[0mhunter2!", "it is ***!"),
            ("it is hun\u{1b}(Bter2hun\rter2", "it is ***"),
            ("pass\u{1b}[1mword=\u{1b}[0mx", "password=***"),
            ("two\nlines: hunter", "two\nlines: ***"),
            ("it is a:token=hunter9.", "it is ***."),
        ] {
            assert_eq!(of.hide(said, Extent::Whole), shown, "{said:?}");
        }
    }

    #[test]
    fn each_line_of_a_secret_is_one() {
        let pem = "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\n  Bgkqhkig==\nab\n-----END PRIVATE KEY-----\n";
        let of = secrets(&[pem, "first1\\nsecond2"]);
        for (said, shown) in [
            (pem, "***\n***\n  ***\nab\n***"),
            ("read MIIEvQIBADAN from the environment", "read *** from the environment"),
            ("\"key\": \"MIIEvQIBADAN\\nBgkqhkig==\"", "\"key\": \"***\\n***\""),
            ("first1\\nsecond2", "***"),
            ("first1\nsecond2", "***\n***"),
        ] {
            assert_eq!(of.hide(said, Extent::Whole), shown, "{said:?}");
        }
    }

    #[test]
    fn a_part_of_a_secret_at_a_cut_is_not_seen() {
        let of = secrets(&["hunter2hunter2", "größe7"]);
        for (said, extent, shown) in [
            ("it is hunter2hun", Extent::WithoutEnd, "it is "),
            ("it is größ", Extent::WithoutEnd, "it is "),
            ("it is all", Extent::WithoutEnd, "it is all"),
            ("ter2hunter2 is it", Extent::WithoutBeginning, " is it"),
            ("öße7 is it", Extent::WithoutBeginning, " is it"),
            ("that is it", Extent::WithoutBeginning, "that is it"),
        ] {
            assert_eq!(of.hide(said, extent), shown, "{said:?}");
        }
    }
}
