//! A month of slots: a field for each day, in it a mark for each slot, its shape by what became of it.

use chrono::{Datelike, NaiveDate};
use gristmill_service::documents::SlotState;
use maud::{Markup, html};

/// The width and height of a day, and of the line of weekdays above.
const WIDE: usize = 100;
const HIGH: usize = 76;
const ABOVE: usize = 22;

/// How many marks a day has room for.
const MARKS_MAX: usize = 21;

/// How many of them stand beside each other.
const MARKS_WIDE: usize = 7;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A day with its slots, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The day, by the schedule's clock.
    pub date: NaiveDate,
    /// Whether it is today there.
    pub today: bool,
    /// What became of each of its slots.
    pub slots: Vec<SlotState>,
    /// Where the day leads.
    pub href: String,
}

/// What is said of a state.
pub fn word(state: SlotState) -> &'static str {
    match state {
        SlotState::OnTime => "on time",
        SlotState::Late => "late",
        SlotState::Missed => "missed",
        SlotState::Skipped => "skipped",
        SlotState::Waiting => "waiting",
        SlotState::Failed => "failed",
        SlotState::Backfilled => "caught up",
        SlotState::Manual => "by hand",
        SlotState::Planned => "planned",
        SlotState::Due => "due",
    }
}

/// The class of a mark, and its lines on a field of 12 by 12.
fn look(state: SlotState) -> (&'static str, &'static str) {
    match state {
        SlotState::OnTime => ("m-fill m-good", "M1 1h10v10H1z"),
        SlotState::Late => ("m-fill m-careful", "M1 1h10v10H1zM5.2 3v4.2h3.4V5.8H6.6V3z"),
        SlotState::Missed => ("m-line m-bad", "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M3 9l6-6"),
        SlotState::Skipped => ("m-line m-off", "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9"),
        SlotState::Waiting => ("m-line m-accent", "M1.8 1.8h8.4v8.4H1.8z"),
        SlotState::Failed => ("m-line m-bad", "M2 2l8 8M10 2l-8 8"),
        SlotState::Backfilled => ("m-fill m-good", "M6 11L1 5h3V1h4v4h3z"),
        SlotState::Manual => ("m-fill m-good", "M6 .5L11.5 6L6 11.5L.5 6z"),
        SlotState::Planned => ("m-fill m-wait", "M6 4a2 2 0 1 0 0 4a2 2 0 1 0 0-4"),
        SlotState::Due => ("m-line m-careful", "M6 1L11 6L6 11L1 6z"),
    }
}

/// How many slots of a day are in each state that there is.
pub fn counted(slots: &[SlotState]) -> Vec<(SlotState, usize)> {
    let count = |state: SlotState| slots.iter().filter(|slot| **slot == state).count();
    SlotState::ALL.into_iter().map(|state| (state, count(state))).filter(|(_, count)| *count > 0).collect()
}

/// What is said of a day.
fn said(day: &Day) -> String {
    let parts: Vec<String> =
        counted(&day.slots).into_iter().map(|(state, count)| format!("{count} {}", word(state))).collect();
    let parts = if parts.is_empty() { "no slot".to_owned() } else { parts.join(", ") };
    format!("{}: {parts}", day.date)
}

/// A mark by itself, for legends and tables.
pub fn mark(state: SlotState) -> Markup {
    let (class, path) = look(state);
    html! { svg class="mark-of" viewBox="0 0 12 12" aria-hidden="true" { path class=(class) fill-rule="evenodd" d=(path) {} } }
}

/// What each mark means, of those that are there.
pub fn legend(days: &[Day]) -> Markup {
    let all: Vec<SlotState> = days.iter().flat_map(|day| day.slots.iter().copied()).collect();
    html! { ul class="legend" { @for (state, _) in counted(&all) { li { (mark(state)) (word(state)) } } } }
}

/// The month. Its days follow each other.
pub fn month(title: &str, days: &[Day]) -> Markup {
    let before = days.first().map_or(0, |day| day.date.weekday().num_days_from_monday() as usize);
    let weeks = (before + days.len()).div_ceil(7);
    let size = format!("0 0 {} {}", 7 * WIDE, ABOVE + weeks * HIGH);
    html! {
        // A browser may count links within a picture as nothing that the keyboard reaches.
        div class="scroll" tabindex="0" role="group" aria-label=(title) {
            svg class="heat month" viewBox=(size) role="group" aria-label=(title) data-columns="7" {
                title { (title) }
                @for (at, weekday) in WEEKDAYS.iter().enumerate() {
                    text class="m-text" x=(at * WIDE + 6) y="14" { (weekday) }
                }
                @for (at, day) in days.iter().enumerate() {
                    (field(day, (before + at) % 7 * WIDE, ABOVE + (before + at) / 7 * HIGH))
                }
            }
        }
    }
}

fn field(day: &Day, x: usize, y: usize) -> Markup {
    let class = if day.today { "m-day m-today" } else { "m-day" };
    html! {
        // Its name is its title: a label beside it would have to contain the number that is seen as well.
        a href=(day.href) {
            title { (said(day)) }
            rect class=(class) x=(x + 1) y=(y + 1) width=(WIDE - 2) height=(HIGH - 2) rx="6" {}
            text class="m-text" x=(x + 8) y=(y + 17) { (day.date.day()) }
            @if day.slots.len() <= MARKS_MAX { (marks(&day.slots, x + 8, y + 24)) } @else { (shares(&day.slots, x + 8, y + 30)) }
        }
    }
}

fn marks(slots: &[SlotState], x: usize, y: usize) -> Markup {
    // Few marks are easier to see when they are larger.
    let (step, wide) = if slots.len() <= 4 { (20, 4) } else { (12, MARKS_WIDE) };
    let size = if slots.len() <= 4 { 1.5 } else { 0.92 };
    html! {
        @for (at, state) in slots.iter().enumerate() {
            @let (class, path) = look(*state);
            @let place = format!("translate({} {}) scale({size})", x + at % wide * step, y + at / wide * (step + 3));
            path class=(class) fill-rule="evenodd" transform=(place) d=(path) {}
        }
    }
}

/// Where there are too many slots for marks: how many, and the share of each state.
fn shares(slots: &[SlotState], x: usize, y: usize) -> Markup {
    let room = WIDE - 16;
    let parts = counted(slots);
    let mut from = 0;
    let widths = parts.iter().map(|(state, count)| {
        let width = (count * room / slots.len()).max(2).min(room - from.min(room));
        from += width;
        (*state, from - width, width)
    });
    let widths: Vec<(SlotState, usize, usize)> = widths.collect();
    html! {
        @for (state, from, width) in widths {
            rect class=(look(state).0.replace("m-line", "m-fill")) x=(x + from) y=(y) width=(width) height="14" {}
        }
        text class="m-text" x=(x) y=(y + 31) { (slots.len()) " slots" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(slots: &[SlotState]) -> Vec<Day> {
        let date = |day: u32| NaiveDate::from_ymd_opt(2026, 11, day).expect("a date");
        (1..=30)
            .map(|day| Day { date: date(day), today: day == 7, slots: slots.to_vec(), href: format!("?day={day}") })
            .collect()
    }

    #[test]
    fn every_day_is_a_field_under_its_weekday() {
        let shown = month("November", &days(&[SlotState::OnTime])).into_string();
        assert_eq!(shown.matches("<rect").count(), 30);
        // The first is a Sunday: six weeks are touched.
        assert!(shown.contains("viewBox=\"0 0 700 478\""), "{shown}");
        assert!(shown.contains("2026-11-30: 1 on time"));
        assert_eq!(shown.matches("m-today").count(), 1);
    }

    #[test]
    fn no_two_states_look_the_same() {
        for one in SlotState::ALL {
            for other in SlotState::ALL.into_iter().filter(|other| *other != one) {
                assert_ne!(look(one), look(other), "{one} and {other}");
                assert_ne!(word(one), word(other));
            }
        }
    }

    #[test]
    fn many_slots_become_shares_within_their_field() {
        let mut slots = vec![SlotState::OnTime; 1_400];
        slots.push(SlotState::Failed);
        let shown = shares(&slots, 0, 0).into_string();
        assert!(shown.contains("1401 slots") && shown.contains("m-bad"), "{shown}");
        assert_eq!(counted(&slots), [(SlotState::OnTime, 1_400), (SlotState::Failed, 1)]);
    }
}
