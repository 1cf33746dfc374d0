//! What a schedule's batches read, and what is known about it by other means than the product's.

use std::collections::BTreeSet;
use std::fmt::Write;

use gristmill_testkit::Random;

/// One input file: its text, and what each of its rows is.
#[derive(Debug, Clone)]
pub struct Input {
    /// CSV with a header.
    pub text: String,
    /// By row: its amount in hundredths, or `None` for a row that must be set aside.
    pub rows: Vec<Option<i64>>,
    /// Rows without a fault of their own that the program, the service or the table refuses.
    pub culprits: BTreeSet<u64>,
}

impl Input {
    /// So many rows, about one in twelve of them dirty, and at most so many culprits.
    pub fn new(rows: u64, culprits: u64, random: &mut Random) -> Self {
        let culprits: BTreeSet<u64> = (0..culprits).map(|_| random.below(rows)).collect();
        let mut input = Self { text: "id,amount,note\n".to_owned(), rows: Vec::new(), culprits };
        for id in 0..rows {
            let hundredths = i64::try_from(random.between(1, 99_999)).unwrap_or(1);
            let culprit = input.culprits.contains(&id);
            let dirt = if culprit { 36 } else { random.below(36) };
            let amount = match dirt {
                0 => "twelve".to_owned(),
                1 => String::new(),
                2 => format!("-{}.{:02}", hundredths / 100, hundredths % 100),
                _ => format!("{}.{:02}", hundredths / 100, hundredths % 100),
            };
            let note = match culprit {
                true => "culprit",
                false if random.percent(5) => "\"two\nlines, \"\"quoted\"\"\"",
                false => "plain",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(input.text, "{id},{amount},{note}");
            input.rows.push((dirt > 2 && !culprit).then_some(hundredths));
        }
        input
    }
}
