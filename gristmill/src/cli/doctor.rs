//! `gristmill doctor`: finds out what is wrong with the surroundings and how to repair it.

use clap::Args;
use gristmill_service::documents::{DoctorDocument, FindingDocument as Finding, ReconcileDocument};

use crate::cli::context::CommandContext;
use crate::cli::doctor_checks::run_checks;
use crate::cli::output::{Format, one_line};
use crate::exit_code::{Exit, Result};

/// Find out what is wrong with the surroundings and how to mend it
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill doctor
  gristmill --store postgres://app@db/app --broker amqp://app@mq/%2f doctor --json
  gristmill doctor --reconcile --dry-run

Looks at the store, its migrations, who works, what waits, the broker, the clocks, the disks and the mail
service, and changes nothing. Exit code 9 when something is wrong.")]
pub(crate) struct Doctor {
    /// Instead, compare every counter with what it counts, and mend what is wrong, as the scheduler does every minute
    #[arg(long)]
    reconcile: bool,
    /// Say what would be mended, and change nothing
    #[arg(short = 'n', long, requires = "reconcile")]
    dry_run: bool,
}

impl Doctor {
    pub(super) async fn run(&self, context: &CommandContext) -> Result<Exit> {
        if self.reconcile {
            return reconcile(context, self.dry_run).await;
        }
        let document = DoctorDocument::from(run_checks(context).await);
        let (well, findings) = (document.ok, &document.findings);
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain => context.output.list(findings, &[], |finding: &Finding, _| {
                let remedy = finding.remedy.clone().unwrap_or_else(|| "-".to_owned());
                vec![finding.what.to_owned(), state(finding).to_owned(), finding.found.clone(), remedy]
            }),
            // No table: one long finding would push every line off the screen.
            Format::Table => findings.iter().for_each(|finding| print(context, finding)),
        }
        Ok(if well { Exit::Success } else { Exit::Problems })
    }
}

/// reconciling on demand.
async fn reconcile(context: &CommandContext, dry_run: bool) -> Result<Exit> {
    let report = context.service().await?.reconcile(&context.order(dry_run)).await?;
    let well = report.findings.is_empty();
    match context.output.format {
        Format::Json => context.output.document(&ReconcileDocument::new(dry_run, &report)),
        Format::Plain | Format::Table => {
            report.findings.iter().for_each(|finding| context.output.line(&one_line(finding)));
            let outcome = match (well, dry_run) {
                (true, _) => "all counters are what they count",
                (false, true) => "a dry run: nothing was changed",
                (false, false) => "all of it is corrected",
            };
            context.output.note(&format!("{} batches under way were looked at; {outcome}", report.batches));
        }
    }
    Ok(if well { Exit::Success } else { Exit::Problems })
}

fn state(finding: &Finding) -> &'static str {
    if finding.ok { "ok" } else { "problem" }
}

fn print(context: &CommandContext, finding: &Finding) {
    context.output.line(&format!("{:10}  {:7}  {}", finding.what, state(finding), one_line(&finding.found)));
    if let Some(remedy) = &finding.remedy {
        context.output.line(&format!("{:10}  {:7}  to mend it: {}", "", "", one_line(remedy)));
    }
}
