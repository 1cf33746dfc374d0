//! What a run is asked for, by environment variables: `make bench ROUNDS=5 ONLY=drain`.

use serde::{Deserialize, Serialize};

use crate::metric::{Row, Setup};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How often everything is measured.
    pub rounds: usize,
    /// The jobs of one backlog.
    pub jobs: u32,
    /// The rows to measure.
    pub rows: Vec<Row>,
    /// The set-ups to measure.
    pub setups: Vec<Setup>,
    /// The finished jobs that are in the store before anything is measured.
    pub history: u64,
    /// How long idle processes are watched, in seconds.
    pub idle_s: u32,
}

impl Default for Options {
    fn default() -> Self {
        let (rows, setups) = (Row::ALL.to_vec(), Setup::ALL.to_vec());
        Self { rounds: 5, jobs: 20_000, rows, setups, history: 0, idle_s: 20 }
    }
}

impl Options {
    /// Reads the variables ROUNDS, JOBS, ONLY, SETUP, HISTORY and IDLE; one that is not set or empty has its default.
    /// ONLY and SETUP take several names, separated by commas.
    ///
    /// # Errors
    ///
    /// Says which value is wrong, and what would be right.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let defaults = Self::default();
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let number = |name: &str, least: u64, most: u64, default: u64| match set(name) {
            None => Ok(default),
            Some(text) => match text.replace(['_', ','], "").parse() {
                Ok(value) if (least..=most).contains(&value) => Ok(value),
                _ => Err(format!("{name} is {text}; write a whole number from {least} to {most}")),
            },
        };
        let jobs = number("JOBS", 1_000, 1_000_000, u64::from(defaults.jobs))?;
        let idle_s = number("IDLE", 1, 3_600, u64::from(defaults.idle_s))?;
        Ok(Self {
            rounds: usize::try_from(number("ROUNDS", 1, 1_000, 5)?).unwrap_or(5),
            jobs: u32::try_from(jobs).unwrap_or(defaults.jobs),
            rows: names("ONLY", set("ONLY"), &Row::ALL, Row::name)?,
            setups: names("SETUP", set("SETUP"), &Setup::ALL, Setup::name)?,
            history: number("HISTORY", 0, 100_000_000, 0)?,
            idle_s: u32::try_from(idle_s).unwrap_or(defaults.idle_s),
        })
    }
}

/// The values that a list of names chooses, in their own order; all of them without a list.
fn names<T: Copy>(
    variable: &str,
    text: Option<String>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let Some(text) = text else { return Ok(all.to_vec()) };
    let asked: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = asked.iter().find(|asked| !all.iter().any(|one| name(*one) == **asked)) {
        let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        return Err(format!("{variable} names `{unknown}`; there are {}", known.join(", ")));
    }
    Ok(all.iter().copied().filter(|one| asked.contains(&name(*one))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Options, String> {
        Options::read(|name| given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        assert_eq!(read(&[("ROUNDS", ""), ("ONLY", " ")]), Ok(Options::default()));
    }

    #[test]
    fn rows_and_set_ups_are_chosen_by_name_and_keep_their_order() {
        let options =
            read(&[("ONLY", "drain, enqueue"), ("SETUP", "postgres"), ("HISTORY", "1_000_000")]).expect("read");
        assert_eq!(options.rows, [Row::Enqueue, Row::Drain]);
        assert_eq!(options.setups, [Setup::Postgres]);
        assert_eq!(options.history, 1_000_000);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_would_be_right() {
        assert_eq!(read(&[("ROUNDS", "0")]), Err("ROUNDS is 0; write a whole number from 1 to 1000".to_owned()));
        let wrong = read(&[("SETUP", "mysql")]).expect_err("there is none");
        assert_eq!(wrong, "SETUP names `mysql`; there are sqlite, postgres, rabbitmq");
    }
}
