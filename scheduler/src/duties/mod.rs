//! The duties, one file each, and the registry that gives each its rhythm.
//!
//! A duty is a plain function, or a plain struct where it keeps something in hand, that tests call directly. A new duty
//! is a file here, a key of [`DutySettings`](crate::settings::DutySettings) and a line in [`all`].
//!
//! * [`promote`], [`relay`], [`rescue`], [`probe`]: jobs on their way to a worker.
//! * [`age`], [`late`]: jobs and batches that have waited for too long.
//! * [`events`]: what was published is given its order, and delivered.
//! * `operations`: the steps of operations over many jobs. `history`: what has passed, by minute and hour.
//! * [`reconcile`], [`plans`], [`spools`], [`copies`], `prune`: what was left behind. `audit`: its heads are signed.
//! * `schedules`, `watch`, [`sync`]: runs that start by themselves, and the configuration that says so.
//! * `lead`: leadership. [`returned`]: messages that the broker gave up on, which has no rhythm but follows a stream.

pub mod age;
mod audit;
pub mod copies;
pub mod events;
mod history;
pub mod late;
mod lead;
mod operations;
pub mod plans;
pub mod probe;
pub mod promote;
mod prune;
pub mod reconcile;
pub mod relay;
pub mod rescue;
pub mod returned;
mod schedules;
pub mod spools;
pub mod sync;
mod watch;

use std::sync::Arc;

use gristmill_service::failure_budget::FailureBudgets;

use crate::duty::Duty;
use crate::leadership::Leadership;
use crate::running::SchedulerOptions;

/// Every duty of a scheduler with these options.
pub(crate) fn all(options: &SchedulerOptions, leadership: &Arc<Leadership>) -> Vec<Box<dyn Duty>> {
    let (store, dispatcher) = (&options.store, &options.dispatcher);
    let (every, settings) = (&options.settings.duties, &options.settings);
    let (rows_max, budgets) = (settings.rows_max, Arc::new(FailureBudgets::new(store.clone())));
    let common = || Common { store: Arc::clone(store), dispatcher: dispatcher.clone() };
    let mut duties: Vec<Box<dyn Duty>> = vec![
        Box::new(lead::Lead::new(leadership)),
        Box::new(promote::Promote { common: common(), every: every.promote.0, rows_max }),
        Box::new(relay::Relay::new(common(), every.relay.0, rows_max)),
        Box::new(rescue::Rescue { common: common(), every: every.rescue.0, rows_max, budgets: Arc::clone(&budgets) }),
        Box::new(probe::Probe { common: common(), every: every.probe.0, prober: probe::Prober::default() }),
        Box::new(reconcile::Reconcile { common: common(), every: every.reconcile.0, budgets }),
        Box::new(age::Age { common: common(), every: every.age.0, rows_max }),
        Box::new(late::Late { common: common(), every: every.late.0 }),
        Box::new(plans::Plans { common: common(), every: every.plans.0 }),
        Box::new(copies::CopiesDuty { common: common(), every: every.copies.0 }),
        Box::new(spools::Spools { common: common(), every: every.spools.0, keep: settings.copy_keep.0 }),
        Box::new(audit::Audit {
            common: common(),
            every: every.audit.0,
            settings: options.audit.clone(),
            retention: options.retention.settings.clone(),
        }),
        Box::new(events::Events::new(common(), every.events.0, options.schedules.clone())),
        Box::new(operations::Operations::new(common(), every.operations.0, options.retention.clone())),
        Box::new(history::History::new(common(), every.history.0, options.retention.settings.clone())),
        Box::new(prune::Prune::new(common(), every.prune.0, options.retention.clone(), options.schedules.clone())),
    ];
    if let Some(context) = &options.schedules {
        duties.push(Box::new(sync::Sync::new(common(), every.schedules.0, context.clone())));
        duties.push(Box::new(schedules::Schedules::new(common(), every.schedules.0, context.clone(), leadership)));
        duties.push(Box::new(watch::Watch::new(common(), every.watch.0, context.clone())));
    }
    duties
}

/// What every duty works on.
pub(crate) struct Common {
    store: gristmill_store::StoreHandle,
    dispatcher: gristmill_service::dispatcher::Dispatcher,
}
