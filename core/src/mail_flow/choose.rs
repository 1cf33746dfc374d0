//! Which of several relays takes a message: the lowest order first, by weight among those of one order.

/// A relay, as far as the choice is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Those of a higher order are used only when none of a lower one can be.
    pub order: u32,
    /// Its share among those of the same order, at least 1.
    pub weight: u32,
    /// Whether it can be used now.
    pub available: bool,
}

/// Chooses one by its place. `random` is a uniform draw from 0 to 1. `None` when none can be used.
pub fn choose(candidates: &[Candidate], random: f64) -> Option<usize> {
    let order = candidates.iter().filter(|one| one.available).map(|one| one.order).min()?;
    let open: Vec<(usize, u64)> = (0..)
        .zip(candidates)
        .filter(|(_, one)| one.available && one.order == order)
        .map(|(place, one)| (place, u64::from(one.weight.max(1))))
        .collect();
    let total: u64 = open.iter().map(|(_, weight)| weight).sum();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    let mut left = ((random.clamp(0.0, 1.0) * total as f64) as u64).min(total - 1);
    for (place, weight) in open {
        if left < weight {
            return Some(place);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(order: u32, weight: u32, available: bool) -> Candidate {
        Candidate { order, weight, available }
    }

    #[test]
    fn each_gets_its_share_by_weight() {
        let three = [one(1, 1, true), one(1, 3, true), one(1, 6, true)];
        let mut chosen = [0; 3];
        for step in 0..1_000 {
            chosen[choose(&three, f64::from(step) / 1_000.0).expect("one")] += 1;
        }
        assert_eq!(chosen, [100, 300, 600]);
        assert_eq!(choose(&three, 1.0), Some(2));
    }

    #[test]
    fn a_higher_order_is_for_when_no_lower_one_can_be_used() {
        for random in [0.0, 0.5, 1.0] {
            assert_eq!(choose(&[one(2, 9, true), one(1, 1, true), one(1, 9, false)], random), Some(1));
            assert_eq!(choose(&[one(2, 9, true), one(1, 1, false)], random), Some(0));
            assert_eq!(choose(&[one(1, 1, false)], random), None);
        }
        assert_eq!(choose(&[], 0.5), None);
    }
}
