//! The walk that finds what an operation is carried out on: over jobs, items or batches, by its verb.

use gristmill_core::Instant;
use gristmill_core::operation::{OperationVerb, PREVIEW_READ_MAX, Subjects};
use gristmill_core::query::Query;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sought::{Sought, Target};
use super::walk::Walk;
use super::walk_batches::BatchWalk;
use super::walk_items::ItemWalk;
use crate::check;
use crate::error::{Result, StoreError};
use crate::operations::PREVIEW_SAMPLES;
use crate::sql::Sql;
use crate::{OperationPreview, Selection};

/// A walk under way.
#[derive(Debug)]
pub(super) enum Walking<'a> {
    Jobs(Walk<'a>),
    Items(ItemWalk<'a>),
    Batches(BatchWalk<'a>),
}

impl<'a> Walking<'a> {
    /// A walk that goes on from a place as it is stored.
    pub(super) fn new(
        tenant: &'a str,
        verb: OperationVerb,
        query: &Query,
        snapshot: Instant,
        place: Option<&str>,
    ) -> Result<Self> {
        let sought = Sought { tenant, verb, query: query.at(snapshot), snapshot };
        Ok(match verb.subjects() {
            Subjects::Jobs => Self::Jobs(Walk::new(sought, stored(place)?)),
            Subjects::Items => Self::Items(ItemWalk::new(sought, stored(place)?)),
            Subjects::Batches => Self::Batches(BatchWalk::new(sought, stored(place)?)),
        })
    }

    /// The next that match: at most so many, of at most so many rows that are read. Items are those of one batch.
    pub(super) async fn next<S: Sql>(&mut self, sql: &mut S, most: u32, rows: u32) -> Result<Vec<Target>, S::Fault> {
        match self {
            Self::Jobs(walk) => Ok(walk.next(sql, most, rows).await?.into_iter().map(Target::Job).collect()),
            Self::Items(walk) => walk.next(sql, most, rows).await,
            Self::Batches(walk) => Ok(walk.next(sql, most, rows).await?.into_iter().map(Target::Batch).collect()),
        }
    }

    /// Whether nothing is left behind the place.
    pub(super) fn over(&self) -> bool {
        match self {
            Self::Jobs(walk) => walk.over,
            Self::Items(walk) => walk.over,
            Self::Batches(walk) => walk.over,
        }
    }

    fn read(&self) -> u32 {
        match self {
            Self::Jobs(walk) => walk.read,
            Self::Items(walk) => walk.read,
            Self::Batches(walk) => walk.read,
        }
    }

    /// Where it is, to be stored.
    pub(super) fn place(&self) -> Result<String> {
        match self {
            Self::Jobs(walk) => written(&walk.place),
            Self::Items(walk) => written(&walk.place),
            Self::Batches(walk) => written(&walk.place),
        }
    }
}

fn written(place: &impl Serialize) -> Result<String> {
    check::json(place)
}

fn stored<P: DeserializeOwned + Default>(place: Option<&str>) -> Result<P> {
    let place = place.map(serde_json::from_str).transpose();
    Ok(place.map_err(|error| StoreError::Database(format!("the place of an operation: {error}")))?.unwrap_or_default())
}

/// Counts what an operation would select now.
pub(crate) async fn preview<S: Sql>(sql: &mut S, selection: &Selection) -> Result<OperationPreview, S::Fault> {
    selection.check()?;
    let now = sql.now().await?;
    let snapshot = selection.snapshot.unwrap_or(now).min(now);
    let Selection { tenant, verb, query, .. } = selection;
    let mut walk = Walking::new(tenant, *verb, query, snapshot, None)?;
    let (mut matches, mut samples) = (0_u64, Vec::new());
    while !walk.over() && walk.read() < PREVIEW_READ_MAX {
        let found = walk.next(sql, u32::MAX, PREVIEW_READ_MAX).await?;
        samples.extend(found.iter().take(PREVIEW_SAMPLES - samples.len()).map(Target::to_string));
        matches += found.len() as u64;
    }
    Ok(OperationPreview { snapshot, matches, more: !walk.over(), samples })
}
