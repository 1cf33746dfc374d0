//! A schedule's time in plain language.

use super::ScheduleSpec;
use super::cron::Pattern;
use super::following::Ending;
use crate::duration;

/// When a schedule runs, in a sentence without its full stop: `at 02:00 every day, by the clock of Europe/London`.
pub fn plainly(spec: &ScheduleSpec) -> String {
    let mut text = match (&spec.cron, spec.every, &spec.at) {
        (Some(cron), _, _) => of_cron(cron),
        (None, Some(every), _) => {
            let from = spec.start.as_ref().map_or("1970".to_owned(), Clone::clone);
            format!("every {}, counted from {from} in UTC", duration::format(every.0))
        }
        (None, None, Some(at)) => format!("once at {}", at.as_slice().join(", and at ")),
        (None, None, None) => match &spec.after {
            Some(after) => format!("after {after}{}", of_ending(spec.ending.unwrap_or_default())),
            None => "never".to_owned(),
        },
    };
    if let (Some(zone), false) = (&spec.timezone, spec.every.is_some() || spec.after.is_some()) {
        text.push_str(&format!(", by the clock of {zone}"));
    } else if spec.cron.is_some() {
        text.push_str(", by the clock of UTC");
    }
    if let (Some(start), None) = (&spec.start, spec.every) {
        text.push_str(&format!(", from {start}"));
    }
    if let Some(end) = &spec.end {
        text.push_str(&format!(", until {end}"));
    }
    if let Some(jitter) = spec.jitter {
        text.push_str(&format!(", each up to {} later", duration::format(jitter.0)));
    }
    text
}

fn of_ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Done => "",
        Ending::Halted => ", when it was halted",
        Ending::Settled => ", complete or halted",
    }
}

fn of_cron(text: &str) -> String {
    let Ok(pattern) = Pattern::parse(text) else { return format!("`{text}`, which is no schedule") };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let day = match fields.as_slice() {
        [nickname] => return nicknamed(nickname),
        [minute, hour, rest @ ..] => simple(minute, hour, rest),
        [] => None,
    };
    day.unwrap_or_else(|| {
        let said = pattern.in_english();
        let said = said.trim_end_matches('.');
        let mut letters = said.chars();
        letters.next().map_or(String::new(), |first| format!("{}{}", first.to_lowercase(), letters.as_str()))
    })
}

fn nicknamed(nickname: &str) -> String {
    match nickname.to_lowercase().as_str() {
        "@hourly" => "at the full hour, every hour",
        "@daily" | "@midnight" => "at 00:00 every day",
        "@weekly" => "at 00:00 every Sunday",
        "@monthly" => "at 00:00 on the first of every month",
        "@yearly" | "@annually" => "at 00:00 on the first of January",
        _ => return format!("`{nickname}`"),
    }
    .to_owned()
}

/// The most common expressions, in fewer words than a general rule would need.
fn simple(minute: &str, hour: &str, rest: &[&str]) -> Option<String> {
    let [day, month, weekday] = rest else { return None };
    if *day != "*" || *month != "*" {
        return None;
    }
    let days = match weekday.to_uppercase().as_str() {
        "*" => "every day",
        "1-5" | "MON-FRI" => "Monday to Friday",
        _ => return None,
    };
    if let (Ok(minute), Ok(hour)) = (minute.parse::<u32>(), hour.parse::<u32>()) {
        return Some(format!("at {hour:02}:{minute:02} {days}"));
    }
    let step = minute.strip_prefix("*/")?.parse::<u32>().ok()?;
    (hour == "*" && 60 % step == 0).then(|| format!("every {step} minutes, {days}"))
}
