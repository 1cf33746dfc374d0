//! `gristmill doctor`: what is wrong with the surroundings and how to mend it.

use clap::Args;
use serde_json::json;

use crate::door::Door;
use crate::examine::{Finding, examine};
use crate::exit_code::{Exit, Result};
use crate::output::{Format, one_line};

/// Find out what is wrong with the surroundings and how to mend it
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill doctor
  gristmill --store postgres://app@db/app --broker amqp://app@mq/%2f doctor --json

Looks at the store, its migrations, the broker, the clocks, the disk and the mail service, and changes
nothing. Exit code 9 when something is wrong.")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(super) async fn run(&self, door: &Door) -> Result<Exit> {
        let findings = examine(door).await;
        let well = findings.iter().all(|finding| finding.ok);
        match door.output.format {
            Format::Json => door.output.document(&json!({ "ok": well, "findings": findings })),
            Format::Plain => door.output.list(&findings, &[], |finding: &Finding, _| {
                let mend = finding.mend.clone().unwrap_or_else(|| "-".to_owned());
                vec![finding.what.to_owned(), state(finding).to_owned(), finding.found.clone(), mend]
            }),
            // No table: one long finding would push every line off the screen.
            Format::Table => findings.iter().for_each(|finding| tell(door, finding)),
        }
        Ok(if well { Exit::Success } else { Exit::Problems })
    }
}

fn state(finding: &Finding) -> &'static str {
    if finding.ok { "ok" } else { "problem" }
}

fn tell(door: &Door, finding: &Finding) {
    door.output.line(&format!("{:10}  {:7}  {}", finding.what, state(finding), one_line(&finding.found)));
    if let Some(mend) = &finding.mend {
        door.output.line(&format!("{:10}  {:7}  to mend it: {}", "", "", one_line(mend)));
    }
}
