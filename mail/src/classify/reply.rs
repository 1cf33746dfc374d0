//! What a server said, taken apart: the enhanced status code, and the wait that it asks for.

use std::fmt;
use std::time::Duration;

/// The most that a server's wish for a wait counts: one day.
const WAIT_MAX_SECONDS: u64 = 86_400;

/// What is added to the wait that a server asks for: one that comes back a moment too early is sent away again.
const WAIT_MORE_SECONDS: u64 = 10;

/// An enhanced status code (RFC 3463) such as `5.1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about: addressing, mailbox, system, network, protocol, content, policy.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl Enhanced {
    /// Reads the code at the beginning of a text. `None` when there is none.
    pub fn at_start(text: &str) -> Option<Self> {
        let word = text.split_whitespace().next()?.trim_end_matches([':', ';', ',']);
        let mut numbers = word.split('.');
        let mut number = || {
            let digits = numbers.next()?;
            let plain = !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        let class = u8::try_from(class).ok().filter(|class| [2, 4, 5].contains(class))?;
        numbers.next().is_none().then_some(Self { class, subject, detail })
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The wait that a server asks for, as in `Greylisted, try again in 300 seconds`, and ten seconds more. At most a day.
pub fn asked_wait(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    let starts = lower.match_indices(" in ").map(|(at, word)| &lower[at + word.len()..]);
    let also = lower.match_indices("retry after ").map(|(at, word)| &lower[at + word.len()..]);
    starts.chain(also).find_map(wait_at_start)
}

fn wait_at_start(text: &str) -> Option<Duration> {
    let text = text.trim_start();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next()?;
    let seconds = match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?.min(WAIT_MAX_SECONDS) + WAIT_MORE_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_server_asks_for_is_understood() {
        for (words, seconds) in [
            ("4.2.0 Greylisted, try again in 300 seconds", Some(310)),
            ("please come back in 5 minutes.", Some(310)),
            ("4.7.1 Greylisting in action, please come back in 00:05:00", None),
            ("try again in 60s", Some(70)),
            ("retry after 2 hours", Some(7_210)),
            ("error in 12 parts, try again in 30 sec", Some(40)),
            ("try again in 99999999999999999999 seconds", None),
            ("try again in 18446744073709551615 hours", None),
            ("try again in 9999 hours", Some(86_410)),
            ("try again later", None),
            ("error in 12 parts", None),
        ] {
            assert_eq!(asked_wait(words), seconds.map(Duration::from_secs), "{words}");
        }
    }

    #[test]
    fn an_enhanced_code_stands_at_the_beginning_and_has_three_numbers() {
        let read = |text| Enhanced::at_start(text).map(|code| code.to_string());
        assert_eq!(read("5.1.1 unknown"), Some("5.1.1".to_owned()));
        assert_eq!(read("  4.7.650: slow down"), Some("4.7.650".to_owned()));
        for text in ["", "unknown 5.1.1", "5.1", "5.1.1.1 x", "3.1.1 x", "5.1.x", "5..1", "5.1.1000", "+5.1.1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
