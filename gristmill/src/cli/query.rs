//! `--query`: what a list is asked for, in the one language for all of them.

use clap::Args;
use gristmill_core::query::{BatchQuery, DeadQuery, JobQuery, QuarantineQuery, Query};

use crate::cli::context::CommandContext;
use crate::exit_code::Result;

/// The query of a list, as a flag.
macro_rules! asked {
    ($($(#[$about:meta])* $name:ident: $query:ident, $help:literal;)*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Args)]
            pub(super) struct $name {
                #[doc = $help]
                #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
                query: Option<$query>,
            }

            impl $name {
                /// The query as of now: what says how long ago says when.
                ///
                /// # Errors
                ///
                /// When the store or the server does not say what time it is.
                pub(super) async fn as_of_now(&self, context: &CommandContext) -> Result<Query> {
                    as_of_now(context, self.query.as_ref().map(|query| &query.0)).await
                }
            }
        )*
    };
}

asked! {
    /// Of jobs.
    JobAsked: JobQuery, "Only what matches, such as 'state:retry kind:import* attempts>=3 age>1h' (docs/query.md)";
    /// Of dead letters.
    DeadAsked: DeadQuery, "Only what matches, such as 'kind:import* error:\"no route\" ended:2026-11-19..' (docs/query.md)";
    /// Of batches.
    BatchAsked: BatchQuery, "Only what matches, such as 'state:halted name:retail created:2026-11-19..' (docs/query.md)";
    /// Of quarantined items.
    QuarantineAsked: QuarantineQuery, "Only what matches, such as 'stage:parse reason:\"not a number\"' (docs/query.md)";
}

async fn as_of_now(context: &CommandContext, query: Option<&Query>) -> Result<Query> {
    match query {
        None => Ok(Query::default()),
        Some(query) if query.depends_on_now() => Ok(query.at(context.backend().await?.now().await?)),
        Some(query) => Ok(query.clone()),
    }
}
