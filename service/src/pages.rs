//! Whole lists, page by page.

use gristmill_store::{Page, StoreError};

/// The rows of one page while a whole list is read: the most that a store returns.
pub const PAGE_ROWS: u32 = 1_000;

/// Reads a list to its end and passes each page to `take`. `key` returns the key of a row in the list.
///
/// # Errors
///
/// Store errors, and those of `take`; earlier pages have been taken.
pub async fn every<T, E: From<StoreError>>(
    mut read: impl AsyncFnMut(Page) -> Result<Vec<T>, StoreError>,
    key: impl Fn(&T) -> String,
    mut take: impl FnMut(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = None;
    loop {
        let rows = read(Page { after, limit: PAGE_ROWS }).await?;
        after = rows.last().filter(|_| rows.len() == PAGE_ROWS as usize).map(&key);
        take(rows)?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Reads a list to its end, and returns all of its rows.
///
/// # Errors
///
/// Store errors.
pub async fn all<T>(
    read: impl AsyncFnMut(Page) -> Result<Vec<T>, StoreError>,
    key: impl Fn(&T) -> String,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    every(read, key, |mut rows| {
        all.append(&mut rows);
        Ok::<_, StoreError>(())
    })
    .await?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of the numbers below `rows`, and how often it is requested until all of them are there.
    async fn read(rows: u32) -> (Vec<u32>, u32) {
        let mut asked = 0;
        let page = async |page: Page| {
            asked += 1;
            let from = page.after.map_or(0, |after| after.parse::<u32>().expect("a key") + 1);
            Ok((from..rows).take(page.limit as usize).collect())
        };
        let found = all(page, u32::to_string).await.expect("read");
        (found, asked)
    }

    #[tokio::test]
    async fn every_row_comes_once_and_in_order_whatever_the_last_page_holds() {
        for (rows, pages) in [(0, 1), (1, 1), (PAGE_ROWS - 1, 1), (PAGE_ROWS, 2), (2 * PAGE_ROWS + 7, 3)] {
            assert_eq!(read(rows).await, ((0..rows).collect(), pages), "{rows} rows");
        }
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_taken_ends_the_reading() {
        let mut asked = 0;
        let page = async |_: Page| {
            asked += 1;
            Ok(vec![0; PAGE_ROWS as usize])
        };
        let ended = every(page, i32::to_string, |_| Err(StoreError::Full("no room".to_owned()))).await;
        assert_eq!((ended.expect_err("full").to_string().contains("no room"), asked), (true, 1));
    }
}
