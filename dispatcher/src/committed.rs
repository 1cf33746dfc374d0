//! What a commit of the store leaves behind for the dispatcher.

use gristmill_store::{
    CompleteReport, ControlReport, Dispatched, EnqueueReport, FireReport, LimitView, NotedEvent, OperationStep,
    PatchReport, ReconcileReport, RescueReport, WorkGuard,
};

/// The result of a transition, with what may now be published.
pub trait Committed {
    /// What the transition made claimable. Empty for a dry run.
    fn left(&self) -> &[Dispatched];
}

impl Committed for Dispatched {
    fn left(&self) -> &[Dispatched] {
        std::slice::from_ref(self)
    }
}

impl Committed for Option<Dispatched> {
    fn left(&self) -> &[Dispatched] {
        self.as_slice()
    }
}

impl Committed for Vec<Dispatched> {
    fn left(&self) -> &[Dispatched] {
        self
    }
}

impl Committed for Option<OperationStep> {
    fn left(&self) -> &[Dispatched] {
        self.as_ref().map_or(&[], |step| std::slice::from_ref(&step.dispatched))
    }
}

impl Committed for (LimitView, Dispatched) {
    fn left(&self) -> &[Dispatched] {
        std::slice::from_ref(&self.1)
    }
}

impl Committed for WorkGuard {
    fn left(&self) -> &[Dispatched] {
        std::slice::from_ref(&self.rescued)
    }
}

/// Reports that hold it in a field of that name.
macro_rules! committed {
    ($($report:ty),+) => {
        $(impl Committed for $report {
            fn left(&self) -> &[Dispatched] {
                std::slice::from_ref(&self.dispatched)
            }
        })+
    };
}

committed!(
    CompleteReport,
    ControlReport,
    EnqueueReport,
    FireReport,
    NotedEvent,
    PatchReport,
    ReconcileReport,
    RescueReport
);
