//! Schedules: cron expressions, zones, instants, intervals.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::definition::OneOrMany;
use gristmill_core::duration::{self, Span};
use gristmill_core::schedule::describe::plainly;
use gristmill_core::schedule::{JobSpec, ScheduleSpec, Timetable};

use crate::Target;
use crate::mutator::hostile_text;
use gristmill_testkit::Random;

const CRONS: [&str; 12] = [
    "* * * * *",
    "@hourly",
    "@daily",
    "0 30 2 * * *",
    "*/15 9-17 * * MON-FRI",
    "0 0 31 * *",
    "30 2 29 2 *",
    "0 0 * * 7",
    "5,10,15 0-23/2 1-31/3 JAN,JUL *",
    "0 12 L * *",
    "0 12 * * 5#3",
    "59 59 23 31 12 *",
];

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"];

const INSTANTS: [&str; 6] = [
    "2026-03-29T02:30:00",
    "2026-10-25T02:30:00Z",
    "2026-02-29",
    "9999-12-31T23:59:60Z",
    "-262143-01-01T00:00:00Z",
    "+262142-12-31T23:59:59Z",
];

const PIECES: [&[u8]; 16] = [
    b"*",
    b"/",
    b"-",
    b",",
    b"0",
    b"60",
    b"99999999999",
    b"L",
    b"W",
    b"#",
    b"?",
    b" ",
    b"SUN",
    b"@",
    b"\x00",
    b"+99:99",
];

fn spec(random: &mut Random) -> ScheduleSpec {
    let one = |random: &mut Random, from: &[&'static str]| {
        let valid = *random.pick(from);
        if random.one_in(3) { hostile_text(random, valid, &PIECES) } else { valid.to_owned() }
    };
    let spans = ["1s", "90m", "0", "36500d"];
    let span = |text: String| duration::parse(&text).ok().map(Span);
    let mut spec = ScheduleSpec {
        timezone: random.one_in(2).then(|| one(random, &ZONES)),
        start: random.one_in(6).then(|| one(random, &INSTANTS)),
        end: random.one_in(6).then(|| one(random, &INSTANTS)),
        jitter: if random.one_in(6) { span(one(random, &spans)) } else { None },
        job: Some(JobSpec { kind: "work".to_owned(), ..JobSpec::default() }),
        ..ScheduleSpec::default()
    };
    match random.index(6) {
        0 => spec.every = span(one(random, &spans)),
        1 => spec.at = Some(OneOrMany::One(one(random, &INSTANTS))),
        _ => spec.cron = Some(one(random, &CRONS)),
    }
    spec
}

fn told(spec: &ScheduleSpec, timetable: &Timetable, after: Instant) -> Result<(), String> {
    let Some(next) = timetable.next(after) else { return Ok(()) };
    let (from, to) = timetable.interval(next);
    let sound =
        next > after && timetable.is_tick(next) && to == next && from <= next && timetable.fires_at(next) >= next;
    if !sound {
        return Err(format!("{spec:?} after {after}: {next}, {from} to {to}"));
    }
    let some = timetable.between(after, next + TimeDelta::days(400), 5).ticks;
    if some.first() != Some(&next) || !some.is_sorted() {
        return Err(format!("{spec:?} after {after}: {some:?}"));
    }
    if timetable.previous(next).is_some_and(|before| before >= next) {
        return Err(format!("{spec:?}: a tick before {next} that is not"));
    }
    Ok(())
}

#[test]
fn whatever_a_schedule_says_its_ticks_go_forward_or_it_is_refused() {
    let instants = ["1970-01-01T00:00:00Z", "2026-03-29T00:59:59Z", "2026-10-25T00:30:00Z", "2199-12-31T23:59:59Z"];
    let instants = instants.map(|text| text.parse::<Instant>().expect("an instant"));
    Target { name: "schedules", ordinary: 2_000, share: 50 }.feed(|random| {
        let spec = spec(random);
        if let Err(error) = spec.check() {
            return crate::in_words(&error);
        }
        let timetable = Timetable::compile("fuzzed", &spec).map_err(|error| format!("checked, and yet: {error}"))?;
        if plainly(&spec).is_empty() {
            return Err(format!("nothing is said of {spec:?}"));
        }
        instants.iter().try_for_each(|after| told(&spec, &timetable, *after))?;
        Ok(true)
    });
}
