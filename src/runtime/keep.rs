//! The things that queued work keeps alive.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::event::Event;
use super::graph::Recording;

/// Something that must outlive queued work.
pub(super) type Keep = Arc<dyn Any + Send + Sync>;

/// What one submission uses. A launch of any operator but a merge fits without an allocation.
pub(super) type Keeps = SmallVec<[Keep; 16]>;

/// A thing that so many submissions have not used is worth a mark even if others hold it too: they may be
/// other streams, for which the same holds. A mark costs two calls of the driver, so one is made for each so
/// many submissions and not for each.
const STALE_AFTER: u64 = 8;

/// What queued work uses.
pub(super) struct Kept {
    /// By address, with the number of the last submission that uses it.
    things: HashMap<usize, (u64, Keep)>,
    pub(super) submissions: u64,
    /// The event that tells how far the stream is.
    pub(super) mark: Option<Event>,
    /// The event is recorded behind the submission of this number, and was not yet found reached.
    pub(super) marked: Option<u64>,
    /// The capture that takes what the stream is given.
    pub(super) recording: Option<Arc<Recording>>,
}

impl Default for Kept {
    fn default() -> Self {
        // Room before the first launch, so that it allocates no more than the others.
        let things = HashMap::with_capacity(16);
        Self { things, submissions: 0, mark: None, marked: None, recording: None }
    }
}

impl Kept {
    pub(super) fn keep(&mut self, things: Keeps) {
        self.submissions += 1;
        let number = self.submissions;
        self.things.extend(things.into_iter().map(|thing| (Arc::as_ptr(&thing).addr(), (number, thing))));
    }

    /// Takes out what no submission behind number `last` uses.
    pub(super) fn take(&mut self, last: u64) -> Vec<Keep> {
        self.things.extract_if(|_, (number, _)| *number <= last).map(|(_, (_, thing))| thing).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Is there something to gain: a thing that nobody else holds, or that is no longer used?
    pub(super) fn is_worth_a_mark(&self) -> bool {
        let is_stale = |number: u64| number + STALE_AFTER <= self.submissions;
        self.things.values().any(|(number, thing)| Arc::strong_count(thing) == 1 || is_stale(*number))
    }
}
