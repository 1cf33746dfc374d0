//! The arithmetic of schedules, against tables that an independent implementation made, and at the edges.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_core::Instant;
use gristmill_core::definition::OneOrMany;
use gristmill_core::duration::Span;
use gristmill_core::schedule::{Note, ScheduleSpec, Timetable, describe};

/// See `schedule/make_ticks.py`, which made it.
const TICKS: &str = include_str!("schedule/ticks.txt");

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).expect("an instant").to_utc()
}

fn cron(cron: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec { cron: Some(cron.to_owned()), timezone: Some(zone.to_owned()), ..ScheduleSpec::default() }
}

fn timetable(spec: &ScheduleSpec) -> Timetable {
    Timetable::compile("nightly", spec).expect("a schedule")
}

fn after(spec: &ScheduleSpec, from: &str, count: usize) -> Vec<String> {
    let found = timetable(spec).between(at(from), at("2100-01-01T00:00:00Z"), count);
    found.ticks.iter().map(|tick| tick.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)).collect()
}

/// The ticks of one line of the table, in seconds since 1970.
fn expected(first: &str, steps: &str) -> Vec<i64> {
    let mut ticks = vec![first.parse::<i64>().expect("seconds")];
    for step in steps.split(' ').filter(|step| !step.is_empty()) {
        let (seconds, often) = step.split_once('x').unwrap_or((step, "1"));
        for _ in 0..often.parse::<usize>().expect("a count") {
            ticks.push(ticks[ticks.len() - 1] + seconds.parse::<i64>().expect("seconds"));
        }
    }
    ticks
}

/// The zone whose rules have changed since the table was made, and when the new ones differ from the old.
const CHANGED: (&str, &str) = ("Africa/Casablanca", "2026-09-20T00:00:00Z");

#[test]
fn ticks_agree_with_an_independent_implementation_over_five_zones_and_two_years() {
    let (from, until) = (at("2024-12-31T23:59:59Z"), at("2026-12-31T23:59:59Z"));
    let (mut lines, mut compared) = (0, 0);
    for line in TICKS.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [zone, expression, _, count, first, steps] = fields[..] else { panic!("six fields: {line}") };
        let mut expected = expected(first, steps);
        assert_eq!(expected.len().to_string(), count, "the table itself: {zone} {expression}");
        let until = if zone == CHANGED.0 { at(CHANGED.1) } else { until };
        expected.retain(|tick| *tick <= until.timestamp());
        let found = timetable(&cron(expression, zone)).between(from, until, usize::MAX).ticks;
        let found: Vec<i64> = found.iter().map(DateTime::timestamp).collect();
        let differs = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert_eq!(differs, None, "{zone} {expression} (time zone database {})", gristmill_core::schedule::tzdb().0);
        assert_eq!(expected.len(), found.len(), "{zone} {expression}");
        (lines, compared) = (lines + 1, compared + found.len());
    }
    assert!(lines == 65 && compared > 480_000, "{lines} lines, {compared} ticks");
}

#[test]
fn backwards_is_forwards_reversed() {
    for zone in ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"] {
        for expression in ["30 2 * * *", "*/15 * * * *", "15,45 1-3 * * *", "0 0 1 * *", "10 * * * * *", "0 3 L * *"] {
            let timetable = timetable(&cron(expression, zone));
            for around in
                ["2026-03-29T00:30:00Z", "2026-10-25T01:17:00Z", "2026-11-01T06:10:00Z", "2026-04-04T15:20:00Z"]
            {
                let forwards =
                    timetable.between(at(around) - TimeDelta::hours(3), at(around) + TimeDelta::hours(3), 500);
                for pair in forwards.ticks.windows(2) {
                    assert_eq!(timetable.previous(pair[1]), Some(pair[0]), "{zone} {expression}");
                    let between = pair[0] + (pair[1] - pair[0]) / 2;
                    assert_eq!(timetable.previous(between), Some(pair[0]), "{zone} {expression}");
                    assert_eq!(timetable.next(between), Some(pair[1]), "{zone} {expression}");
                    assert_eq!(timetable.interval(pair[1]), (pair[0], pair[1]), "{zone} {expression}");
                    assert!(timetable.is_tick(pair[0]) && !timetable.is_tick(pair[0] + TimeDelta::milliseconds(1)));
                }
            }
        }
    }
}

#[test]
fn the_missing_hour_runs_once_at_the_first_instant_after_it() {
    let spec = cron("*/20 1 * * *", "Europe/London");
    // On 29 March 2026 the clock goes from 01:00 to 02:00.
    let expected = ["2026-03-28T01:40:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"];
    assert_eq!(after(&spec, "2026-03-28T01:30:00Z", 3), expected);
    let timetable = timetable(&spec);
    assert_eq!(timetable.note(at(expected[0])), None);
    assert_eq!(timetable.note(at(expected[1])), Some(Note::Moved));
}

#[test]
fn the_repeated_hour_runs_once_and_that_is_the_first() {
    let spec = cron("30 1 * * *", "Europe/London");
    // On 25 October 2026 the clock shows 01:30 at 00:30 and at 01:30 UTC.
    let expected = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    assert_eq!(after(&spec, "2026-10-24T12:00:00Z", 2), expected);
    assert_eq!(after(&spec, "2026-10-25T00:30:00Z", 1), expected[1..], "asked in the second pass of the hour");
    assert_eq!(timetable(&spec).note(at(expected[0])), Some(Note::First));
}

#[test]
fn what_is_the_same_every_hour_follows_elapsed_time() {
    let spec = cron("0 * * * *", "Europe/London");
    let expected = ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"];
    assert_eq!(after(&spec, "2026-10-24T23:30:00Z", 3), expected);
    assert_eq!(timetable(&spec).note(at(expected[1])), Some(Note::Again));
    let spec = cron("30 * * * *", "Europe/London");
    assert_eq!(after(&spec, "2026-03-29T00:00:00Z", 2), ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
}

#[test]
fn a_day_that_never_was_is_made_up_for() {
    // Samoa had no 30 December 2011.
    let expected = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"];
    assert_eq!(after(&cron("0 12 * * *", "Pacific/Apia"), "2011-12-29T00:00:00Z", 3), expected);
}

#[test]
fn intervals_follow_utc_from_their_start() {
    let every = |seconds| Some(Span(Duration::from_secs(seconds)));
    let spec =
        ScheduleSpec { every: every(5_400), timezone: Some("Europe/London".to_owned()), ..ScheduleSpec::default() };
    let expected = ["2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T03:00:00Z"];
    assert_eq!(after(&spec, "2026-03-28T23:59:00Z", 3), expected);
    let spec =
        ScheduleSpec { every: every(7), start: Some("2026-01-01T00:00:03Z".to_owned()), ..ScheduleSpec::default() };
    assert_eq!(after(&spec, "2020-01-01T00:00:00Z", 2), ["2026-01-01T00:00:03Z", "2026-01-01T00:00:10Z"]);
    let timetable = timetable(&spec);
    assert_eq!(timetable.previous(at("2026-01-01T00:00:10Z")), Some(at("2026-01-01T00:00:03Z")));
    assert_eq!(timetable.previous(at("2026-01-01T00:00:03Z")), None);
    let (from, to) = timetable.interval(at("2026-01-01T00:00:03Z"));
    assert_eq!(to - from, TimeDelta::seconds(7), "the first run, too, stands for a whole interval");
}

#[test]
fn instants_are_read_on_the_zones_clock_and_come_once_each() {
    let list = ["2026-12-24T18:00", "2026-12-01T00:00:00Z", "2026-12-24T18:00"].map(str::to_owned);
    let spec = ScheduleSpec {
        at: Some(OneOrMany::Many(list.into())),
        timezone: Some("America/New_York".to_owned()),
        ..ScheduleSpec::default()
    };
    assert_eq!(after(&spec, "2026-01-01T00:00:00Z", 9), ["2026-12-01T00:00:00Z", "2026-12-24T23:00:00Z"]);
}

#[test]
fn start_and_end_bound_the_ticks_and_belong_to_them() {
    let spec = ScheduleSpec {
        start: Some("2026-06-01T02:00:00Z".to_owned()),
        end: Some("2026-06-03T02:00:00Z".to_owned()),
        ..cron("0 2 * * *", "UTC")
    };
    let expected = ["2026-06-01T02:00:00Z", "2026-06-02T02:00:00Z", "2026-06-03T02:00:00Z"];
    assert_eq!(after(&spec, "2020-01-01T00:00:00Z", 9), expected);
    let timetable = timetable(&spec);
    assert_eq!(timetable.previous(at("2030-01-01T00:00:00Z")), Some(at(expected[2])));
    assert_eq!(timetable.previous(at(expected[0])), None);
    assert_eq!(
        timetable.interval(at(expected[0])).0,
        at("2026-05-31T02:00:00Z"),
        "the interval reaches back before it"
    );
}

#[test]
fn a_stretch_of_ticks_is_capped_and_says_so() {
    let timetable = timetable(&cron("* * * * * *", "UTC"));
    let found = timetable.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T01:00:00Z"), 100);
    assert_eq!((found.ticks.len(), found.more), (100, true));
    let found = timetable.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:10Z"), 10);
    assert_eq!((found.ticks.len(), found.more), (10, false));
}

#[test]
fn jitter_is_the_same_for_everybody_and_never_reaches_its_bound() {
    let spec = ScheduleSpec { jitter: Some(Span(Duration::from_secs(30))), ..cron("0 * * * *", "UTC") };
    let (one, other) = (timetable(&spec), Timetable::compile("weekly", &spec).expect("a schedule"));
    let ticks = one.between(at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"), 1_000).ticks;
    let wait = |timetable: &Timetable, tick: Instant| (timetable.fires_at(tick) - tick).num_milliseconds();
    let waits: Vec<i64> = ticks.iter().map(|tick| wait(&one, *tick)).collect();
    assert!(waits.iter().all(|wait| (0..30_000).contains(wait)));
    let mean = waits.iter().sum::<i64>() / i64::try_from(waits.len()).expect("a few");
    assert!((12_000..18_000).contains(&mean), "spread over the whole: {mean}");
    let again = timetable(&spec);
    assert!(ticks.iter().all(|tick| one.fires_at(*tick) == again.fires_at(*tick)));
    assert!(ticks.iter().filter(|tick| wait(&one, **tick) == wait(&other, **tick)).count() < 10);
}

#[test]
fn the_usual_names_are_understood() {
    let first = |expression: &str| after(&cron(expression, "UTC"), "2026-02-10T12:00:00Z", 1)[0].clone();
    for (expression, expected) in [
        ("@daily", "2026-02-11T00:00:00Z"),
        ("@midnight", "2026-02-11T00:00:00Z"),
        ("@hourly", "2026-02-10T13:00:00Z"),
        ("@weekly", "2026-02-15T00:00:00Z"),
        ("@monthly", "2026-03-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("0 9 * * MON-FRI", "2026-02-11T09:00:00Z"),
        ("0 9 * FEB,mar tue", "2026-02-17T09:00:00Z"),
        ("0 9 L * *", "2026-02-28T09:00:00Z"),
        ("0 9 * * FRI#2", "2026-02-13T09:00:00Z"),
        ("0 9 * * FRI#L", "2026-02-27T09:00:00Z"),
        ("0 9 15W * *", "2026-02-16T09:00:00Z"),
        ("30 0 9 * * 7", "2026-02-15T09:00:30Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 13 * +FRI", "2026-02-13T00:00:00Z"),
    ] {
        assert_eq!(first(expression), expected, "{expression}");
    }
}

#[test]
fn what_is_wrong_is_named_at_its_key() {
    let text = |text: &str| Some(text.to_owned());
    let good = cron("0 2 * * *", "UTC");
    let each = [
        (ScheduleSpec::default(), "", "says no time"),
        (ScheduleSpec { every: Some(Span(Duration::from_secs(60))), ..good.clone() }, "", "more than one time"),
        (cron("61 2 * * *", "UTC"), "cron", "`61 2 * * *` is not a schedule"),
        (cron("0 0 30 2 *", "UTC"), "cron", "never comes"),
        (cron("0 2 * * *", "Europe/Lodon"), "timezone", "`Europe/Lodon` is not a time zone"),
        (ScheduleSpec { start: text("soon"), ..good.clone() }, "start", "`soon` is not an instant"),
        (ScheduleSpec { start: text("2026-01-02"), end: text("2026-01-01"), ..good.clone() }, "end", "before `start`"),
        (ScheduleSpec { every: Some(Span(Duration::from_millis(5))), ..ScheduleSpec::default() }, "every", "a second"),
        (ScheduleSpec { at: Some(OneOrMany::Many(Vec::new())), ..ScheduleSpec::default() }, "at", "1 to 1000"),
        (ScheduleSpec { missed_max: Some(0), ..good.clone() }, "missed_max", "1 to 1000"),
    ];
    for (spec, key, message) in each {
        let error = spec.check().expect_err(message);
        assert!(error.key == key && error.message.contains(message), "{error}");
    }
    good.check().expect("nothing is wrong with it");
    assert!(good.target().expect_err("no target").message.contains("starts nothing"));
}

#[test]
fn a_schedule_is_described_in_plain_language() {
    let said = |expression: &str| describe::plainly(&cron(expression, "Europe/London"));
    assert_eq!(said("0 2 * * *"), "at 02:00 every day, by the clock of Europe/London");
    assert_eq!(said("*/15 * * * MON-FRI"), "every 15 minutes, Monday to Friday, by the clock of Europe/London");
    assert_eq!(said("@monthly"), "at 00:00 on the first of every month, by the clock of Europe/London");
    let spec = ScheduleSpec {
        every: Some(Span(Duration::from_secs(90))),
        jitter: Some(Span(Duration::from_secs(5))),
        ..ScheduleSpec::default()
    };
    assert_eq!(describe::plainly(&spec), "every 1m30s, counted from 1970 in UTC, each up to 5s later");
    for expression in ["0 9 L * *", "0 9 * * FRI#2", "15,45 1-3 * JAN *"] {
        assert!(said(expression).len() > 40, "{}", said(expression));
    }
}

#[test]
fn a_clock_far_away_breaks_nothing() {
    let timetable = timetable(&cron("30 2 * * *", "Europe/London"));
    for year in [1600, 1847, 1970, 2400, 4998] {
        let around = chrono::NaiveDate::from_ymd_opt(year, 7, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
        let around: DateTime<Utc> = around.expect("a day").and_utc();
        assert!(timetable.next(around).is_some_and(|tick| tick > around), "{year}");
        assert!(timetable.previous(around).is_some_and(|tick| tick < around), "{year}");
    }
}

/// Found by `make fuzz SEED=4248`: looking for a clock change around such an instant overflowed.
#[test]
fn an_instant_beyond_the_year_9999_or_before_the_year_1_is_refused() {
    for start in ["-262143-01-01T00:00:00", "+262142-12-31T23:59:59", "-262143-01-01", "+10000-01-01T00:00:00Z"] {
        for zone in ["UTC", "Europe/Berlin"] {
            let spec = ScheduleSpec { start: Some(start.to_owned()), ..cron("0 2 * * *", zone) };
            let error = spec.check().expect_err(start).to_string();
            assert!(error.contains("is not an instant"), "{error}");
        }
    }
    let spec = ScheduleSpec { start: Some("9999-12-31T23:00:00".to_owned()), ..cron("0 2 * * *", "Europe/Berlin") };
    assert_eq!(timetable(&spec).next(at("2026-01-01T00:00:00Z")), None, "its first two o'clock is in the year 10000");
}
