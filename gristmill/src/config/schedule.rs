//! Whether a schedule could be kept: its cron, its time zone, and its words.

use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};
use serde_json::{Map, Value};

use super::error::{nearest, suggest};

const KEYS: [&str; 4] = ["cron", "timezone", "missed", "overlap"];

/// What is done with ticks that came while nobody was there to keep them.
const MISSED: [&str; 3] = ["skip", "latest", "all"];

/// What is done with a tick whose predecessor still runs.
const OVERLAP: [&str; 3] = ["allow", "skip", "queue"];

/// One thing wrong with a schedule.
#[derive(Debug)]
pub(super) struct Problem {
    /// The key below the schedule; empty for the schedule itself.
    pub(super) key: String,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) hint: Option<String>,
}

/// Everything that is wrong with a schedule.
pub(super) fn problems(schedule: &Value) -> Vec<Problem> {
    let Value::Object(map) = schedule else {
        let right = "must be a table such as { cron = \"0 2 * * *\", timezone = \"Europe/London\" }";
        return vec![Problem { key: String::new(), message: right.to_owned(), hint: None }];
    };
    let words = [("missed", MISSED), ("overlap", OVERLAP)];
    let words = words.iter().filter_map(|(key, known)| word(map, key, known));
    unknown(map).chain(cron(map)).chain(timezone(map)).chain(words).collect()
}

fn unknown(map: &Map<String, Value>) -> impl Iterator<Item = Problem> + '_ {
    map.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| {
        let message = "there is no such setting".to_owned();
        Problem { key: key.clone(), message, hint: suggest(key, KEYS) }
    })
}

fn cron(map: &Map<String, Value>) -> Option<Problem> {
    let problem = |key: &str, message| Some(Problem { key: key.to_owned(), message, hint: None });
    let Some(Value::String(cron)) = map.get("cron") else {
        return problem("", "has no `cron`; write one such as { cron = \"0 2 * * *\" }".to_owned());
    };
    let wrong = croner::Cron::from_str(cron).err()?;
    let right = "write minute, hour, day of month, month and day of week, such as `0 2 * * *`";
    problem("cron", format!("`{cron}` is not a schedule: {wrong}; {right}"))
}

fn timezone(map: &Map<String, Value>) -> Option<Problem> {
    let given = map.get("timezone")?;
    let name = given.as_str().unwrap_or_default();
    if Tz::from_str(name).is_ok() {
        return None;
    }
    let near = nearest(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
    let hint = near.map_or_else(
        || "write one of the IANA time zones, such as `Europe/London` or `UTC`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!("{} is not a time zone known here", shown(given));
    Some(Problem { key: "timezone".to_owned(), message, hint: Some(hint) })
}

fn word(map: &Map<String, Value>, key: &str, known: &[&'static str]) -> Option<Problem> {
    let given = map.get(key)?;
    let text = given.as_str().unwrap_or_default();
    if known.contains(&text) {
        return None;
    }
    let message = format!("{} is not one of the words known here", shown(given));
    Some(Problem { key: key.to_owned(), message, hint: suggest(text, known.iter().copied()) })
}

fn shown(given: &Value) -> String {
    given.as_str().map_or_else(|| format!("`{given}`"), |text| format!("`{text}`"))
}
