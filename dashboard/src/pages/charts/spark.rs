//! A line of counts, small enough for a table.

use maud::{Markup, html};

use super::plot::short;

/// The size of the picture.
const WIDE: f64 = 120.0;
const HIGH: f64 = 24.0;

/// An area under counts that follow each other. Its title says in words what it shows; the table around it has the number.
pub fn spark(title: &str, counts: &[u64]) -> Markup {
    let most = counts.iter().copied().max().unwrap_or(0);
    html! {
        svg class="spark" viewBox={ "0 0 " (WIDE) " " (HIGH) } preserveAspectRatio="none" role="img" aria-label=(title) {
            title { (title) }
            path class="c-grid" d={ "M0 " (HIGH - 0.5) "H" (WIDE) } {}
            @if most > 0 { path class="c-area" d=(area(counts, most)) {} }
        }
    }
}

fn area(counts: &[u64], most: u64) -> String {
    let step = WIDE / counts.len().max(1) as f64;
    let mut path = format!("M0 {HIGH}");
    for (at, count) in counts.iter().enumerate() {
        let y = (HIGH - 1.0) * (1.0 - *count as f64 / most as f64) + 1.0;
        path.push_str(&format!("V{}H{}", short(y), short(step * (at + 1) as f64)));
    }
    path.push_str(&format!("V{HIGH}Z"));
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_count_reaches_the_top_and_none_lies_at_the_bottom() {
        assert_eq!(area(&[0, 10, 5, 0], 10), "M0 24V24H30V1H60V12.5H90V24H120V24Z");
        let shown = spark("Done in the last hour: 15", &[0, 10, 5, 0]).into_string();
        assert!(shown.contains("<title>Done in the last hour: 15</title>"), "{shown}");
        assert!(!spark("Nothing", &[0, 0]).into_string().contains("c-area"));
        assert!(!spark("Nothing", &[]).into_string().contains("NaN"));
    }
}
