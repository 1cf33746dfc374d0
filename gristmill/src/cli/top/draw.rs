//! How it looks. What is wrong is said in words and shapes, and in colour besides.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Row, Table};
use ratatui::{Frame, Terminal};
use tokio::time::Instant;

use super::glance::Glance;
use super::screen::{List, Screen, settled};
use crate::cli::output::{grouped, one_line, relative};

/// From then on what is shown is called old.
const STALE: Duration = Duration::from_secs(10);

/// How wide a bar is.
const BAR: u64 = 16;

const CALM: Style = Style::new().add_modifier(Modifier::DIM);
const GOOD: Style = Style::new().fg(Color::Green);
const CAREFUL: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Draws the screen.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, now: Instant) {
    let area = frame.area();
    let heights = heights(screen, area.height.saturating_sub(3));
    let [head, summary, queues, batches, workers, _, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(heights[0]),
        Constraint::Length(heights[1]),
        Constraint::Length(heights[2]),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(screen, now), head);
    frame.render_widget(summed_up(screen), summary);
    if let Some(glance) = screen.glance() {
        draw_queues(frame, queues, screen, glance);
        draw_batches(frame, batches, screen, glance);
        draw_workers(frame, workers, screen, glance);
    }
    let text = "q leave   p hold still   Tab another list   \u{2191}\u{2193} move in it";
    frame.render_widget(Line::styled(text, CALM), keys);
}

/// One screen as lines, as high as it needs to be.
///
/// # Errors
///
/// None: nothing is written.
pub(super) fn printed(screen: &Screen, width: u16) -> Result<Vec<String>, Infallible> {
    let height = wanted(screen).iter().sum::<u16>() + 3;
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    let now = Instant::now();
    let drawn = terminal.draw(|frame| draw(frame, screen, now))?;
    let row = |y| (0..width).map(|x| drawn.buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    // The keys are of no use on paper.
    Ok((0..height.saturating_sub(1)).map(row).collect())
}

/// How many lines each list would take: its rows, their heading, and the line above.
fn wanted(screen: &Screen) -> [u16; 3] {
    let rows =
        screen.glance().map_or([0; 3], |glance| [glance.queues.len(), glance.batches.len(), glance.workers.len()]);
    rows.map(|rows| u16::try_from(rows).unwrap_or(u16::MAX).clamp(1, 1_000) + 2)
}

/// How many lines each list gets: what it wants while there is room, else a fair share of it.
fn heights(screen: &Screen, room: u16) -> [u16; 3] {
    let wanted = wanted(screen);
    let (mut given, mut left) = ([0_u16; 3], room);
    // The smallest first: what they do not need is shared by the others.
    let mut order = [0, 1, 2];
    order.sort_by_key(|list| wanted[*list]);
    for (served, list) in (0_u16..).zip(order) {
        given[list] = wanted[list].min(left / (3 - served));
        left -= given[list];
    }
    given
}

fn header<'a>(screen: &Screen, now: Instant) -> Line<'a> {
    let age = screen.age(now);
    let state = match (&screen.trouble, age) {
        (Some(why), _) => Span::styled(format!("\u{2715} {}", one_line(why)), BAD),
        (None, _) if screen.held => Span::styled("\u{2016} held still", CAREFUL),
        (None, Some(age)) if age >= STALE => Span::styled(format!("\u{25b2} {} s old", age.as_secs()), CAREFUL),
        (None, Some(_)) => Span::styled("\u{25cf} live", GOOD),
        (None, None) => Span::styled("looking\u{2026}", CALM),
    };
    let at = screen.glance().map(|glance| glance.at.to_rfc3339_opts(SecondsFormat::Secs, true));
    Line::from(vec![
        Span::styled("gristmill ", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("{}  {}  ", one_line(&screen.place), one_line(&screen.tenant))),
        Span::styled(format!("{}  ", at.unwrap_or_default()), CALM),
        state,
    ])
}

fn summed_up<'a>(screen: &Screen) -> Line<'a> {
    let Some(glance) = screen.glance() else { return Line::default() };
    let sum = |of: fn(&gristmill_store::QueueView) -> u64| glance.queues.iter().map(|row| of(&row.queue)).sum::<u64>();
    let (waiting, running, dead) = (sum(|queue| queue.queued), sum(|queue| queue.running), sum(|queue| queue.dead));
    let alive = glance.workers.iter().filter(|worker| worker.state == "alive" && worker.slots > 0);
    let slots: u64 = alive.clone().map(|worker| u64::from(worker.slots)).sum();
    let workers = alive.count();
    let of_slots = Span::raw(format!("{} of {} slots run   ", grouped(running), grouped(slots)));
    let waits = Span::raw(format!("{} wait   ", grouped(waiting)));
    let dead = Span::styled(format!("{} dead   ", grouped(dead)), if dead > 0 { BAD } else { CALM });
    let who = match (workers, waiting) {
        (0, 1..) => Span::styled("\u{2715} no worker is alive", BAD),
        (0, 0) => Span::styled("no worker is alive", CALM),
        (1, _) => Span::raw("1 worker"),
        (workers, _) => Span::raw(format!("{workers} workers")),
    };
    Line::from(vec![of_slots, waits, dead, who])
}

/// A list with its heading, from the first row that is shown.
fn list<'a, const N: usize>(
    (screen, which): (&Screen, List),
    (title, heading): (&str, [&'a str; N]),
    rows: impl Iterator<Item = Row<'a>>,
    widths: [u16; N],
) -> Table<'a> {
    let chosen = screen.chosen == which;
    let title = if chosen { format!("\u{25b8} {title} ") } else { format!("  {title} ") };
    let style = if chosen { Style::new().add_modifier(Modifier::BOLD) } else { CALM };
    let block = Block::new().borders(Borders::TOP).border_style(CALM).title(Span::styled(title, style));
    let heading = Row::new(heading).style(CALM);
    Table::new(rows.skip(screen.first(which)), widths.map(Constraint::Length)).header(heading).block(block)
}

fn draw_queues(frame: &mut Frame<'_>, area: Rect, screen: &Screen, glance: &Glance) {
    let rows = glance.queues.iter().map(|row| {
        let queue = &row.queue;
        let unhandled: u64 = row.unhandled.iter().map(|found| found.jobs).sum();
        let why = queue.pause.as_ref().and_then(|pause| pause.reason.as_deref());
        let (note, style) = match (why, queue.paused, unhandled) {
            (Some(why), true, _) => (format!("\u{2016} {}", one_line(why)), CAREFUL),
            (_, true, _) => ("\u{2016} paused".to_owned(), CAREFUL),
            (_, _, 1..) => (format!("\u{25b2} no worker for {}", grouped(unhandled)), BAD),
            _ => (String::new(), Style::new()),
        };
        let dead = Span::styled(grouped(queue.dead), if queue.dead > 0 { BAD } else { CALM });
        Row::new(vec![
            Span::raw(one_line(&queue.name)),
            Span::raw(grouped(queue.running)),
            Span::raw(grouped(queue.queued)),
            Span::raw(queue.oldest_queued_at.map_or("-".to_owned(), |since| age(since, glance.at))),
            Span::raw(grouped(queue.scheduled + queue.retry)),
            dead,
            Span::raw(each_second(screen.pace(&queue.name))),
            Span::styled(note, style),
        ])
    });
    let heading = ["QUEUE", "RUN", "WAIT", "OLDEST", "LATER", "DEAD", "ENDED/S", ""];
    let table = list((screen, List::Queues), ("Queues", heading), rows, [24, 8, 10, 7, 10, 8, 8, 30]);
    frame.render_widget(table, area);
}

fn draw_batches(frame: &mut Frame<'_>, area: Rect, screen: &Screen, glance: &Glance) {
    let rows = glance.batches.iter().map(|batch| {
        let counts = &batch.counts;
        let quarantined =
            Span::styled(grouped(counts.quarantined), if counts.quarantined > 0 { CAREFUL } else { CALM });
        let paused = if batch.paused { " \u{2016}" } else { "" };
        let row = Row::new(vec![
            Span::raw(one_line(&batch.name)),
            Span::raw(batch.id.to_string()),
            Span::raw(format!("{}{paused}", batch.state)),
            Span::raw(bar(settled(batch), counts.input)),
            Span::raw(grouped(counts.pending)),
            quarantined,
            Span::raw(each_second(screen.items(batch.id).filter(|_| !batch.state.is_final()))),
        ]);
        if batch.state.is_final() { row.style(CALM) } else { row }
    });
    let heading = ["BATCH", "ID", "STATE", "SETTLED", "LEFT", "SET ASIDE", "ITEMS/S"];
    let table = list((screen, List::Batches), ("Batches", heading), rows, [18, 36, 12, 21, 10, 9, 8]);
    frame.render_widget(table, area);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, screen: &Screen, glance: &Glance) {
    let rows = glance.workers.iter().map(|worker| {
        let style = match worker.state.as_str() {
            "alive" => GOOD,
            "lost" => BAD,
            _ => CALM,
        };
        Row::new(vec![
            Span::raw(one_line(&worker.host)),
            Span::raw(worker.pid.to_string()),
            Span::raw(worker.role.clone()),
            Span::styled(worker.state.clone(), style),
            Span::raw(if worker.slots == 0 {
                "-".to_owned()
            } else {
                format!("{} of {}", worker.running, worker.slots)
            }),
            Span::raw(relative(worker.seen_at, glance.at)),
            Span::raw(one_line(&if worker.queues.is_empty() { "all".to_owned() } else { worker.queues.join(",") })),
        ])
    });
    let heading = ["HOST", "PID", "ROLE", "STATE", "SLOTS", "SEEN", "QUEUES"];
    let table = list((screen, List::Workers), ("Workers", heading), rows, [24, 9, 10, 9, 12, 10, 30]);
    frame.render_widget(table, area);
}

/// How long something waits: `3s`.
fn age(since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    relative(since, now).trim_end_matches(" ago").to_owned()
}

fn each_second(pace: Option<u64>) -> String {
    pace.map_or("-".to_owned(), grouped)
}

/// A bar and a percentage, rounded down: it is full only when all of it is done.
fn bar(done: u64, all: u64) -> String {
    let part = |of: u64| (done.min(all) * of).checked_div(all).unwrap_or(0);
    let full = usize::try_from(part(BAR)).unwrap_or(0);
    let empty = usize::try_from(BAR).unwrap_or(0) - full;
    format!("{}{}{:>4}%", "\u{2588}".repeat(full), "\u{2591}".repeat(empty), part(100))
}

#[cfg(test)]
mod tests {
    use super::super::screen::tests::glance;
    use super::*;

    fn screen() -> Screen {
        let mut screen = Screen::new("sqlite:a.db", "main");
        let mut seen = glance(3);
        seen.queues[0].queue.dead = 2;
        seen.queues[0].queue.oldest_queued_at = Some(seen.at - chrono::TimeDelta::minutes(4));
        seen.queues[0].queue.name = "ma\u{1b}[31mil".to_owned();
        screen.saw(seen, Instant::now());
        screen
    }

    #[test]
    fn a_screen_shows_what_waits_what_is_dead_and_that_nobody_works() {
        let lines = printed(&screen(), 100).expect("lines");
        let text = lines.join("\n");
        assert!(lines[0].starts_with("gristmill sqlite:a.db  main  1970-01-12T13:46:40Z  \u{25cf} live"), "{text}");
        assert!(lines[1].contains("0 of 0 slots run   7 wait   2 dead   \u{2715} no worker is alive"), "{text}");
        let row = lines.iter().find(|line| line.starts_with("ma")).expect("the queue");
        assert!(!row.contains('\u{1b}'), "a name reaches no terminal as a command: {row}");
        let words: Vec<&str> = row.split_whitespace().skip(1).collect();
        assert_eq!(words, ["0", "7", "4m", "0", "2", "-"], "{row}");
    }

    #[test]
    fn every_list_has_its_share_of_a_small_terminal() {
        let mut many = glance(0);
        many.queues = (0..50).map(|_| many.queues[0].clone()).collect();
        let mut screen = Screen::new("sqlite:a.db", "main");
        screen.saw(many, Instant::now());
        assert_eq!(heights(&screen, 60), [52, 3, 3], "what others do not need");
        assert_eq!(heights(&screen, 20), [14, 3, 3]);
        assert_eq!(heights(&screen, 3), [1, 1, 1]);
        assert_eq!(heights(&screen, 0), [0, 0, 0]);
        let mut terminal = Terminal::new(TestBackend::new(20, 4)).expect("a terminal");
        terminal.draw(|frame| draw(frame, &screen, Instant::now())).expect("drawn");
    }

    #[test]
    fn what_is_old_or_held_says_so() {
        let (mut screen, later) = (screen(), Instant::now() + Duration::from_secs(42));
        assert!(header(&screen, later).to_string().ends_with("\u{25b2} 42 s old"));
        screen.held = true;
        assert!(header(&screen, later).to_string().ends_with("\u{2016} held still"));
        screen.missed("the server\nis away");
        assert!(header(&screen, later).to_string().contains("\u{2715} the server"));
        assert_eq!(header(&screen, later).to_string().lines().count(), 1);
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_done() {
        assert_eq!(bar(0, 0), format!("{}   0%", "\u{2591}".repeat(16)));
        assert!(bar(999, 1_000).ends_with(" 99%") && bar(999, 1_000).contains('\u{2591}'));
        assert!(bar(7, 7).ends_with("100%") && !bar(7, 7).contains('\u{2591}'));
    }
}
