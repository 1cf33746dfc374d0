//! Bars: shares of a whole side by side, as SVG, because a page has no styles of its own.

use maud::{Markup, html};

use super::number::count;

/// A share of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What it is, for the title.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// The class of its colour.
    pub class: &'static str,
}

/// A bar of shares. What is there is seen, however small its share is.
pub fn bar(label: &str, shares: &[Share]) -> Markup {
    let whole: u64 = shares.iter().map(|share| share.count).sum();
    let said: Vec<String> =
        shares.iter().filter(|share| share.count > 0).map(|share| format!("{} {}", share.count, share.name)).collect();
    let said = if said.is_empty() { "nothing yet".to_owned() } else { said.join(", ") };
    html! {
        svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={ (label) ": " (said) } {
            title { (label) ": " (said) }
            rect class="bar-rest" width="1000" height="10" {}
            @for (share, from, width) in placed(shares, whole) {
                rect class=(share.class) x=(from) width=(width) height="10" {}
            }
        }
    }
}

/// What the shares of a bar are, with how many each has.
pub fn legend(shares: &[Share]) -> Markup {
    html! {
        ul class="legend" {
            @for share in shares.iter().filter(|share| share.count > 0) {
                li {
                    svg viewBox="0 0 12 12" aria-hidden="true" { rect class=(share.class) width="12" height="12" {} }
                    (share.name) " " (count(share.count))
                }
            }
        }
    }
}

/// Where each share begins, and how wide it is, of 1000.
fn placed(shares: &[Share], whole: u64) -> Vec<(Share, u64, u64)> {
    const LEAST: u64 = 6;
    let there: Vec<Share> = shares.iter().filter(|share| share.count > 0).copied().collect();
    let width = |share: &Share| {
        let exact = u64::try_from(u128::from(share.count) * 1_000 / u128::from(whole.max(1))).unwrap_or(1_000);
        exact.max(LEAST)
    };
    // What the small ones get more, the largest gives.
    let excess = there.iter().map(width).sum::<u64>().saturating_sub(1_000);
    let largest = there.iter().enumerate().max_by_key(|(_, share)| share.count).map(|(at, _)| at);
    let mut from = 0;
    let place = |(at, share): (usize, Share)| {
        let width = width(&share).saturating_sub(if Some(at) == largest { excess } else { 0 });
        from += width;
        (share, from - width, width)
    };
    there.into_iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(count: u64) -> Share {
        Share { name: "x", count, class: "ok" }
    }

    #[test]
    fn shares_fill_the_bar_and_the_smallest_is_seen() {
        let widths = |counts: &[u64]| {
            let shares: Vec<Share> = counts.iter().copied().map(share).collect();
            placed(&shares, counts.iter().sum()).into_iter().map(|(_, from, width)| (from, width)).collect::<Vec<_>>()
        };
        assert_eq!(widths(&[1, 1]), [(0, 500), (500, 500)]);
        assert_eq!(widths(&[999_999, 1]), [(0, 994), (994, 6)]);
        assert_eq!(widths(&[1, 999_999]), [(0, 6), (6, 994)]);
        assert_eq!(widths(&[0, 5]), [(0, 1_000)]);
        assert_eq!(widths(&[]), []);
        assert_eq!(widths(&[u64::MAX / 2, u64::MAX / 2]), [(0, 500), (500, 500)], "no sum runs over");
    }
}
