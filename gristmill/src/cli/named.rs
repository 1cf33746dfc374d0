//! Verbs over things that are named one by one: what cannot be done to some of them does not hide what was done to the
//! others, and a wrong id is never a success.

use gristmill_service::control::add;
use gristmill_service::control::dead::RedriveReport;
use gristmill_store::ControlReport;

use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Exit, Result};

/// How many of the failures are described.
const SHOWN_MAX: usize = 10;

/// What became of the things that were named.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// What was done, or would be.
    pub(super) done: ControlReport,
    /// To how many it cannot be done.
    failed: u64,
    /// The first of them, with why.
    reasons: Vec<CommandError>,
}

impl Named {
    /// Does something to each of them.
    ///
    /// # Errors
    ///
    /// The first error that is about more than the thing itself.
    pub(super) async fn each<T>(things: Vec<T>, mut verb: impl AsyncFnMut(T) -> Result<ControlReport>) -> Result<Self> {
        let mut named = Self::default();
        for thing in things {
            match verb(thing).await {
                Ok(report) => add(&mut named.done, report),
                Err(error) if matches!(error.exit, Exit::NotFound | Exit::Conflict) => named.fail(error),
                Err(error) => return Err(error),
            }
        }
        Ok(named)
    }

    /// It cannot be done to one of them.
    pub(super) fn fail(&mut self, error: CommandError) {
        self.failed += 1;
        if self.reasons.len() < SHOWN_MAX {
            self.reasons.push(error);
        }
    }

    /// Adds what was done to dead letters.
    pub(super) fn dead(self, report: RedriveReport) -> Self {
        let mut named = Self { done: report.redriven, failed: self.failed + report.refused, ..self };
        let conflicts = report.reasons.into_iter().map(|reason| CommandError::new(Exit::Conflict, reason));
        named.reasons.extend(conflicts);
        named
    }

    /// Prints what was done and what was not, and returns the exit code: 6 when it could be done to some only.
    ///
    /// # Errors
    ///
    /// When it could be done to none: not found if that is so of each of them, else a conflict.
    pub(super) fn report(self, context: &CommandContext, print: impl FnOnce(&ControlReport)) -> Result<Exit> {
        if self.failed > 0 && self.done.affected == 0 {
            return Err(self.refusal());
        }
        print(&self.done);
        if self.failed == 0 {
            return Ok(Exit::Success);
        }
        self.reasons.iter().for_each(|reason| context.output.error(&reason.message));
        let unsaid = self.failed.saturating_sub(self.reasons.len() as u64);
        if unsaid > 0 {
            context.output.error(&format!("and {unsaid} more"));
        }
        Ok(Exit::Partial)
    }

    fn refusal(self) -> CommandError {
        let missing = self.reasons.iter().all(|reason| reason.exit == Exit::NotFound);
        let exit = if missing { Exit::NotFound } else { Exit::Conflict };
        let mut text: Vec<&str> = self.reasons.iter().map(|reason| reason.message.as_str()).collect();
        let more = format!("and {} more", self.failed.saturating_sub(text.len() as u64));
        if self.failed > text.len() as u64 {
            text.push(&more);
        }
        let hint = self.reasons.iter().find_map(|reason| reason.hint.clone());
        CommandError { exit, message: text.join("\n"), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_to_none_is_not_found_only_if_none_is_there() {
        let missing = || CommandError::not_found("there is no job a").hint("see the list");
        let mut named = Named::default();
        named.fail(missing());
        named.fail(missing());
        assert_eq!(named.refusal().exit, Exit::NotFound);

        let mut named = Named::default();
        named.fail(missing());
        named.fail(CommandError::new(Exit::Conflict, "the job b is done"));
        let refusal = named.refusal();
        assert_eq!(refusal.exit, Exit::Conflict);
        assert_eq!(refusal.message, "there is no job a\nthe job b is done");
        assert_eq!(refusal.hint.as_deref(), Some("see the list"));
    }

    #[test]
    fn of_many_failures_the_first_are_described_and_the_others_counted() {
        let mut named = Named::default();
        (0..25).for_each(|at| named.fail(CommandError::not_found(format!("there is no job {at}"))));
        assert!(named.refusal().message.ends_with("there is no job 9\nand 15 more"));
    }
}
