//! Redrive items that are ticked, as they are: those of one batch together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use gristmill_core::id::BatchId;
use gristmill_store::{QuarantineWhich, StoreError};

use crate::gate::{Allowed, Result, perm};
use crate::pages::answer::Redirect;
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::number::counted;
use crate::pages::parts::selection::{self, Ticked};

/// The form to which the boxes belong.
pub(super) const TICKED: &str = "ticked";

/// How many items make a chunk: as over the API.
pub(super) const CHUNK: u64 = 500;

/// An item and its batch, as a box has them: `0198f9c1-….17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) batch: BatchId,
    pub(super) item: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.batch, self.item)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(batch, item)| Some((batch.parse().ok()?, item.parse().ok()?)));
        let (batch, item) = parts.ok_or_else(|| format!("`{text}` is no item of a batch"))?;
        Ok(Self { batch, item })
    }
}

pub(super) async fn redrive(caller: Allowed<perm::QuarantineMend>, mut form: Form) -> Result<Redirect> {
    let Ticked { values, change, next } = selection::ticked::<Place>(&mut form, "item", None)?;
    let mut batches: BTreeMap<BatchId, Vec<i64>> = BTreeMap::new();
    for place in values {
        batches.entry(place.batch).or_default().push(place.item);
    }
    let (order, mut redriven, mut refused) = (caller.order(&change), 0, Vec::new());
    for (batch, items) in batches {
        let which = QuarantineWhich { items, ..QuarantineWhich::default() };
        match caller.service().redrive_quarantine(&order, batch, which, CHUNK).await {
            Ok(report) => redriven += report.redriven,
            Err(StoreError::Conflict(why) | StoreError::NotFound(why)) => refused.push(why),
            Err(error) => return Err(error.into()),
        }
    }
    let done = format!("{} run again.", counted(redriven, "item", "items"));
    let flash = match refused.first() {
        Some(why) => {
            Flash::careful(format!("{done} Of {} not: {why}", counted(refused.len() as u64, "batch", "batches")))
        }
        None if redriven == 0 => Flash::careful(format!("{done} They were redriven already.")),
        None => Flash::done(done),
    };
    Ok(Redirect::to(next).saying(flash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { batch: BatchId(uuid::Uuid::from_u128(7)), item: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for odd in ["", "17", "x.17", "0198f9c1-7d3a-7e55-8d6b-0a1b2c3d4e5f.", "0198f9c1-7d3a-7e55-8d6b-0a1b2c3d4e5f.x"]
        {
            odd.parse::<Place>().expect_err(odd);
        }
    }
}
