//! `Retry-After`: seconds, or a date in one of the three forms that RFC 9110 (5.6.7) makes every recipient read.

use std::time::Duration;

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime};
use gristmill_core::Instant;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The longest wait that the other side can ask for.
const MAX: Duration = Duration::from_secs(86_400);

/// The wait that an answer asks for. A date counts from the answer's own `Date`, so that our clock plays no part; an
/// answer without one is dated by when it was `received`, as RFC 9110 (6.6.1) has it.
pub(super) fn read(headers: &HeaderMap, received: Instant) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are only more than the most.
        return Some(text.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    let sent = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(|date| http_date(date.trim(), received));
    let wait = http_date(text, received)? - sent.unwrap_or(received);
    Some(wait.to_std().unwrap_or_default().min(MAX))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
fn http_date(text: &str, now: Instant) -> Option<Instant> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        [_, day, month, year, time, "GMT" | "UTC"] => instant(digits(year, 4)?, month, day, time),
        [_, month, day, time, year] => instant(digits(year, 4)?, month, day, time),
        [_, date, time, "GMT" | "UTC"] => {
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, digits(parts.next()?, 2)?);
            // The latest year that ends so, unless that is more than fifty years ahead.
            let limit = now.checked_add_months(Months::new(50 * 12))?;
            let century = now.year() - now.year().rem_euclid(100);
            [century + 100, century, century - 100]
                .into_iter()
                .filter_map(|century| instant(century + year, month, day, time))
                .find(|at| *at <= limit)
        }
        _ => None,
    }
}

fn instant(year: i32, month: &str, day: &str, time: &str) -> Option<Instant> {
    let day = u32::try_from(digits(day, day.len().min(2))?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, month_of(month)?, day)?;
    // A leap second is the one before it, which is near enough for a wait.
    let time = time.strip_suffix(":60").map_or(time.to_owned(), |minute| format!("{minute}:59"));
    let time = NaiveTime::parse_from_str(&time, "%H:%M:%S").ok()?;
    Some(NaiveDateTime::new(date, time).and_utc())
}

fn digits(text: &str, count: usize) -> Option<i32> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn month_of(name: &str) -> Option<u32> {
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(names).find_map(|(number, month)| (month == name).then_some(number))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    fn wait(retry_after: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(retry_after))]);
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        read(&headers, at("1999-12-31T23:58:00Z")).map(|wait| wait.as_secs())
    }

    #[test]
    fn all_three_forms_of_a_date_mean_the_same_instant() {
        let (now, expected) = (at("1994-11-06T00:00:00Z"), at("1994-11-06T08:49:37Z"));
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(http_date(text, now), Some(expected), "{text}");
        }
        for text in
            ["", "Sun", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT"]
        {
            assert_eq!(http_date(text, now), None, "{text}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        let year = |text, now| http_date(text, at(now)).map(|date| date.year());
        assert_eq!(year("Sunday, 06-Nov-94 08:49:37 GMT", "2026-01-01T00:00:00Z"), Some(1994));
        assert_eq!(year("Wednesday, 06-Nov-75 08:49:37 GMT", "2026-01-01T00:00:00Z"), Some(2075));
        assert_eq!(year("Saturday, 06-Nov-76 08:49:37 GMT", "2026-01-01T00:00:00Z"), Some(1976));
        assert_eq!(year("Saturday, 01-Jan-00 00:00:01 GMT", "1999-12-31T23:59:59Z"), Some(2000));
    }

    #[test]
    fn a_date_counts_from_the_answers_own_date_and_else_from_when_it_came() {
        let date = Some("Fri, 31 Dec 1999 23:59:00 GMT");
        for text in ["Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", "Fri Dec 31 23:59:59 1999"] {
            assert_eq!((wait(text, date), wait(text, None)), (Some(59), Some(119)), "{text}");
        }
        assert_eq!(wait("Fri, 31 Dec 1999 23:00:00 GMT", date), Some(0), "past");
        assert_eq!(wait("Fri, 31 Dec 2009 23:00:00 GMT", date), Some(86_400), "too far");
        let seconds = ["7", "99999999", "99999999999999999999999", "+7", "-7", "7.5", ""].map(|text| wait(text, None));
        assert_eq!(seconds, [Some(7), Some(86_400), Some(86_400), None, None, None, None]);
    }
}
