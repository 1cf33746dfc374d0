//! The statements whose cost must not grow with the history, in the words of each database.

use crate::sql::operations::{undo, walk, walk_batches, walk_items};
use crate::sql::{expiry, prune};
use crate::sqlite::sql::in_our_words;

/// A statement of retention.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What it does.
    pub name: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: String,
    /// How many parameters it has on PostgreSQL.
    pub parameters: usize,
}

/// Every look and every deletion.
pub fn retention_statements() -> Vec<Planned> {
    planned(expiry::STATEMENTS.into_iter().chain(prune::STATEMENTS))
}

/// What the steps of operations read.
pub fn operation_statements() -> Vec<Planned> {
    let walks = walk::STATEMENTS.into_iter().chain(walk_items::STATEMENTS).chain(walk_batches::STATEMENTS);
    planned(walks.chain(undo::STATEMENTS))
}

fn planned(all: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<Planned> {
    all.map(|(name, postgres)| {
        let parameters = (1..10).take_while(|number| postgres.contains(&format!("${number}"))).count();
        Planned { name, postgres, sqlite: in_our_words(postgres, parameters), parameters }
    })
    .collect()
}
