//! Counts and durations, as people read them.

use std::time::Duration;

use maud::{Markup, html};

/// Nothing, where there could be something.
pub fn none() -> Markup {
    html! { span class="none" aria-label="none" { "–" } }
}

/// A count with its thousands apart.
pub fn count(number: u64) -> Markup {
    html! { span class="n" { (grouped(number)) } }
}

/// A count that is quiet when it is zero.
pub fn count_or_none(number: u64) -> Markup {
    if number == 0 { none() } else { count(number) }
}

/// A number with its thousands apart by a narrow space that does not break: `12 480`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// A count with the word for what is counted: `1 chunk`, `12 480 chunks`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{}\u{a0}{}", grouped(number), if number == 1 { one } else { many })
}

/// A duration in its two largest units: `2 h 5 min`, `45 s`, `120 ms`.
pub fn duration(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    if seconds < 10 {
        return match time.as_millis() {
            ms @ 0..1_000 => format!("{ms}\u{a0}ms"),
            ms => format!("{:.1}\u{a0}s", ms as f64 / 1_000.0),
        };
    }
    let Some(at) = UNITS.iter().position(|(unit, _)| seconds >= *unit) else { return String::new() };
    let (unit, name) = UNITS[at];
    let first = format!("{}\u{a0}{name}", seconds / unit);
    match UNITS.get(at + 1).map(|(smaller, name)| (seconds % unit / smaller, name)) {
        Some((rest, name)) if rest > 0 => format!("{first} {rest}\u{a0}{name}"),
        Some(_) | None => first,
    }
}

/// A share in percent, never 0 or 100 where it is neither.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match share {
        share if part > 0 && share < 0.1 => "<\u{202f}0.1\u{202f}%".to_owned(),
        share if part < whole && share > 99.9 => "99.9\u{202f}%".to_owned(),
        share if share >= 10.0 || part == 0 => format!("{share:.0}\u{202f}%")
            .replace("100\u{202f}%", if part < whole { "99.9\u{202f}%" } else { "100\u{202f}%" }),
        share => format!("{share:.1}\u{202f}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (number, shown) in
            [(0, "0"), (999, "999"), (1_000, "1\u{202f}000"), (12_345_678, "12\u{202f}345\u{202f}678")]
        {
            assert_eq!(grouped(number), shown);
        }
        assert_eq!(counted(1, "chunk", "chunks"), "1\u{a0}chunk");
    }

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (ms, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (45_000, "45 s"),
            (60_000, "1 min"),
            (7_505_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)).replace('\u{a0}', " "), shown);
        }
    }

    #[test]
    fn a_share_is_0_or_100_only_where_it_is() {
        for (part, whole, shown) in [
            (0, 10, "0 %"),
            (1, 100_000, "< 0.1 %"),
            (1, 200, "0.5 %"),
            (1, 2, "50 %"),
            (9_999, 10_000, "99.9 %"),
            (997, 1_000, "99.9 %"),
            (10, 10, "100 %"),
            (1, 0, "–"),
        ] {
            assert_eq!(percent(part, whole).replace('\u{202f}', " "), shown, "{part} of {whole}");
        }
    }
}
