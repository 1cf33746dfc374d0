//! The report as a table for people.

use crate::figure::Spread;
use crate::metric::{Contestant, Metric, Setup, Target};
use crate::report::{Report, With};

/// Three significant digits, whole numbers from a thousand on with commas.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size >= 1_000.0 => grouped(value.round()),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |s| format!("{} ({}–{})", number(s.median), number(s.min), number(s.max)))
}

/// What Gristmill should reach, in words.
fn target(metric: Metric, setup: Setup) -> String {
    match metric.target(setup) {
        None => "–".to_owned(),
        Some(Target::OfRaw(least)) => format!("≥ {} raw", number(least)),
        Some(Target::AtMost(most)) => format!("≤ {} {}", number(most), metric.unit()),
        Some(Target::OfMetric(other, least)) => format!("≥ {} × {}", number(least), other.title()),
    }
}

/// One line of cells for each metric of each set-up that was measured, under a line of headings.
fn cells(report: &Report) -> Vec<Vec<String>> {
    let headings = ["", "on", "unit", "raw", "gristmill", "peer", "of raw", "of peer", "to reach", "reached"];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    for (metric, setup) in Metric::ALL.into_iter().flat_map(|metric| Setup::ALL.map(|setup| (metric, setup))) {
        let of = |contestant| {
            let metric = if contestant == Contestant::Gristmill { metric } else { metric.raw() };
            report.find(metric, setup, contestant).and_then(|found| found.spread)
        };
        let sides = Contestant::ALL.map(of);
        if sides.iter().all(Option::is_none) {
            continue;
        }
        let ratio = |with| report.comparison(metric, setup, with).map_or("–".to_owned(), |c| number(c.ratio.median));
        let judged = report.comparisons.iter().filter(|c| (c.metric, c.setup) == (metric, setup));
        let reached = judged.filter_map(|c| c.reached).next();
        let mut line = vec![metric.title().to_owned(), setup.name().to_owned(), metric.unit().to_owned()];
        line.extend(sides.map(spread));
        line.extend([ratio(With::Raw), ratio(With::Peer), target(metric, setup)]);
        line.push(reached.map_or("–", |reached| if reached { "yes" } else { "no" }).to_owned());
        lines.push(line);
    }
    lines
}

/// The table in Markdown, its columns aligned.
pub fn table(report: &Report) -> String {
    let lines = cells(report);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(&format!("| {} |\n", padded.collect::<Vec<_>>().join(" | ")));
        if place == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            text.push_str(&format!("| {} |\n", rules.collect::<Vec<_>>().join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::options::Options;

    #[test]
    fn numbers_are_short_and_whole_ones_have_commas() {
        let written = [0.0, 0.123, 9.876, 12.34, 345.6, 1_000.0, 1_234_567.8, -1_234.0].map(number);
        assert_eq!(written, ["0.00", "0.12", "9.88", "12.3", "346", "1,000", "1,234,568", "-1,234"]);
        assert_eq!(number(f64::NAN), "–");
    }

    #[test]
    fn a_line_has_all_sides_their_ratios_and_whether_it_is_reached() {
        let mut report = Report::new(String::new(), Machine::default(), Options::default());
        for (round, raw) in [40_000.0, 60_000.0].into_iter().enumerate() {
            report.add(round, Metric::Drain, Setup::Postgres, Contestant::Raw, raw);
            report.add(round, Metric::Drain, Setup::Postgres, Contestant::Gristmill, 30_000.0);
        }
        report.compare();
        let text = table(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "headings, a rule, and one line for what was measured");
        let found: Vec<&str> = lines[2].split('|').map(str::trim).collect();
        let expected = [
            "drain, 1 worker",
            "postgres",
            "jobs/s",
            "50,000 (40,000–60,000)",
            "30,000 (30,000–30,000)",
            "–",
            "0.62",
            "–",
            "≥ 0.60 raw",
            "yes",
        ];
        assert_eq!(found[1..11], expected);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "columns are aligned");
    }
}
