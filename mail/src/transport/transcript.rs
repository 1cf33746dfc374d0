//! What was said on a connection: every command and answer, without secrets, and short enough to be kept.

use std::fmt::Write;

/// The most characters of one line.
const LINE_CHARS_MAX: usize = 500;

/// The most lines that are kept: a hundred recipients and what is around them.
const LINES_MAX: usize = 250;

/// The lines of one transaction, `C: ` before ours and `S: ` before the server's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    lines: Vec<String>,
    left_out: usize,
}

impl Transcript {
    /// What we said. Never called with what logs in.
    pub(super) fn said(&mut self, words: &str) {
        self.line("C: ", words);
    }

    /// What the server answered.
    pub(super) fn heard(&mut self, words: &str) {
        self.line("S: ", words);
    }

    /// What happened.
    pub(super) fn note(&mut self, words: &str) {
        self.line("   ", words);
    }

    fn line(&mut self, who: &str, words: &str) {
        if self.lines.len() >= LINES_MAX {
            self.left_out += 1;
            return;
        }
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let words: String = words.trim_end().chars().map(plain).take(LINE_CHARS_MAX).collect();
        self.lines.push(format!("{who}{words}"));
    }

    /// The lines as one text.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        if self.left_out > 0 {
            let _ = write!(text, "\n   … and {} lines more", self.left_out);
        }
        text
    }
}

/// At most 300 characters of what a server said, without anything that looks like an address: for logs and for errors
/// of jobs, which are shown to people who need not know a recipient.
pub fn masked(words: &str) -> String {
    let mask =
        |word: &str| if word.contains('@') { "(address)".to_owned() } else { word.replace(char::is_control, "") };
    let masked: Vec<String> = words.split_whitespace().map(mask).collect();
    masked.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_stays_short_whatever_the_server_says() {
        let mut transcript = Transcript::default();
        for _ in 0..LINES_MAX + 3 {
            transcript.heard(&"x\r\n".repeat(1_000));
        }
        let text = transcript.text();
        assert!(text.ends_with("and 3 lines more") && !text.contains('\r'), "{}", &text[text.len() - 40..]);
        assert_eq!(text.lines().count(), LINES_MAX + 1);
        assert!(text.lines().all(|line| line.chars().count() <= LINE_CHARS_MAX + 3));
    }

    #[test]
    fn an_address_in_the_answer_is_masked() {
        assert_eq!(masked("550 5.1.1 <jo@example.com>: \u{1b}unknown"), "550 5.1.1 (address) unknown");
    }
}
