//! Notifies: a flag that one stream raises and another waits for and lowers (CANN's manual, notify management).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::border::{refuse, Outcome};
use super::stream::{self, Stream};
use crate::driver::codes;

pub(super) struct Notify {
    id: u32,
    context: u64,
    is_raised: AtomicBool,
}

impl Notify {
    pub(super) fn new(context: u64) -> Arc<Self> {
        static IDS: AtomicU32 = AtomicU32::new(0);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, context, is_raised: AtomicBool::new(false) })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Number of the context that the notify was created in.
    pub(super) fn context(&self) -> u64 {
        self.context
    }

    pub(super) fn record(self: &Arc<Self>, on: &Arc<Stream>) -> Outcome {
        let notify = Arc::clone(self);
        let work = move |_: &Stream| {
            notify.is_raised.store(true, Ordering::SeqCst);
            stream::ring();
            Ok(())
        };
        on.submit(work).map(drop)
    }

    /// Queues a wait, which lowers the notify when it ends.
    pub(super) fn wait_and_reset(self: &Arc<Self>, on: &Arc<Stream>, timeout: Option<Duration>) -> Outcome {
        let notify = Arc::clone(self);
        let work = move |stream: &Stream| {
            let lowered = || notify.is_raised.swap(false, Ordering::SeqCst);
            if stream.wait_unless_aborted_for(timeout, lowered) {
                return Ok(());
            }
            // ASSUMPTION(notify-timeout): the code of a wait that takes too long, on the stream that waits.
            refuse(
                codes::RT_WAIT_TIMEOUT,
                format!("notify {} was not recorded within {timeout:?}", notify.id),
            )
        };
        on.submit(work).map(drop)
    }
}
