//! Who is shown what the stages make of items: a trial keeps it, a chunk has no use for it and pays nothing.

use serde_json::Value;

use super::{ItemInFlight, State};

/// What is shown while items go through the stages.
pub(super) trait Observer {
    /// What was seen of one item on the threads for items.
    type Seen: Default + Send + 'static;

    /// A stage that looks at nothing but the item has made this of it.
    fn see(seen: &mut Self::Seen, stage: &'static str, item: &Value);

    /// The item at this place has gone through all of these stages, or has ended in one of them.
    fn prepared(&mut self, place: usize, seen: Self::Seen, state: &State);

    /// All items have gone through this stage.
    fn passed(&mut self, stage: &'static str, travellers: &[ItemInFlight]);
}

/// What the stages make is not looked at.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    type Seen = ();

    fn see((): &mut (), _stage: &'static str, _item: &Value) {}

    fn prepared(&mut self, _place: usize, (): (), _state: &State) {}

    fn passed(&mut self, _stage: &'static str, _travellers: &[ItemInFlight]) {}
}
