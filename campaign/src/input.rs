//! What a schedule's batches read, and what is known about it by other means than the product's.

use std::fmt::Write;

use gristmill_testkit::Random;

/// One input file: its text, and what each of its rows is.
#[derive(Debug, Clone)]
pub struct Input {
    /// CSV with a header.
    pub text: String,
    /// By row: its amount in hundredths, or `None` for a row that must be set aside.
    pub rows: Vec<Option<i64>>,
}

impl Input {
    /// So many rows, about one in twelve of them dirty.
    pub fn new(rows: u64, random: &mut Random) -> Self {
        let mut input = Self { text: "id,amount,note\n".to_owned(), rows: Vec::new() };
        for id in 0..rows {
            let hundredths = i64::try_from(random.between(1, 99_999)).unwrap_or(1);
            let dirt = random.below(36);
            let amount = match dirt {
                0 => "twelve".to_owned(),
                1 => String::new(),
                2 => format!("-{}.{:02}", hundredths / 100, hundredths % 100),
                _ => format!("{}.{:02}", hundredths / 100, hundredths % 100),
            };
            let note = if random.percent(5) { "\"two\nlines, \"\"quoted\"\"\"" } else { "plain" };
            // Writing to a text cannot fail.
            let _ = writeln!(input.text, "{id},{amount},{note}");
            input.rows.push((dirt > 2).then_some(hundredths));
        }
        input
    }
}
