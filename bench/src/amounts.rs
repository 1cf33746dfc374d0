//! The input of the batch that is measured: 100,000 amounts, the same in each run.

use std::fmt::Write as _;
use std::path::Path;

use crate::fault::Result;

/// The items of one chunk.
pub const CHUNK_ITEMS: usize = 500;

/// The items of the batch: 200 chunks.
pub const ITEMS: usize = 100_000;

/// Amounts in cents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amounts(Vec<i64>);

impl Amounts {
    /// As many as a batch has, from 0.01 to 999.99.
    pub fn usual() -> Self {
        let amount = |item: usize| i64::try_from(item * 7_919 % 99_999).unwrap_or(0) + 1;
        Self((0..ITEMS).map(amount).collect())
    }

    /// Their sum in cents.
    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }

    /// Their sum as Gristmill writes it: without zeros at the end.
    pub fn total_text(&self) -> String {
        text(self.total())
    }

    /// Writes them as CSV.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut csv = "id,amount\n".to_owned();
        for (item, cents) in self.0.iter().enumerate() {
            writeln!(csv, "{item},{}.{:02}", cents / 100, cents % 100)?;
        }
        Ok(std::fs::write(path, csv)?)
    }

    /// Reads them back in chunks, without looking at anything but the amount.
    ///
    /// # Errors
    ///
    /// Those of the file, and when it is not what was written.
    pub fn read_chunks(path: &Path) -> Result<Vec<Vec<i64>>> {
        let csv = std::fs::read_to_string(path)?;
        let cents = |line: &str| {
            let (whole, rest) = line.split_once(',')?.1.split_once('.')?;
            Some(whole.parse::<i64>().ok()? * 100 + rest.parse::<i64>().ok()?)
        };
        let amounts: Option<Vec<i64>> = csv.lines().skip(1).map(cents).collect();
        let amounts = amounts.ok_or("a line holds no amount")?;
        Ok(amounts.chunks(CHUNK_ITEMS).map(<[i64]>::to_vec).collect())
    }
}

fn text(cents: i64) -> String {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_back_as_they_were_written() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let amounts = Amounts::usual();
        amounts.write(file.path()).expect("written");
        let chunks = Amounts::read_chunks(file.path()).expect("read");
        assert_eq!(chunks.len(), ITEMS / CHUNK_ITEMS);
        assert_eq!(Amounts(chunks.concat()), amounts);
    }

    #[test]
    fn a_sum_is_written_as_a_decimal_without_zeros_at_the_end() {
        assert_eq!([1_234, 1_230, 1_200, 5].map(text), ["12.34", "12.3", "12", "0.05"]);
    }
}
