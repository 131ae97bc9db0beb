//! Notifies: a flag that one stream raises and another waits for and lowers (CANN's manual, notify
//! management).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::handles::Handled;
use super::stream::{Stream, Waited};
use super::wait;

pub(crate) struct Notify {
    id: u32,
    context: u64,
    is_raised: AtomicBool,
}

impl Handled for Notify {
    fn kind() -> &'static str {
        "a notify"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }
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

    pub(super) fn record(self: &Arc<Self>, on: &Arc<Stream>) -> Outcome {
        let notify = Arc::clone(self);
        let work = move |_: &Stream| {
            notify.is_raised.store(true, Ordering::SeqCst);
            wait::ring();
            Ok(())
        };
        on.dispatch_work(work)
    }

    /// Queues a wait, which lowers the notify when it ends.
    pub(super) fn wait_and_reset(self: &Arc<Self>, on: &Arc<Stream>, timeout: Option<Duration>) -> Outcome {
        on.refuse_on_timeline("a notify")?;
        let notify = Arc::clone(self);
        let work = move |stream: &Stream| loop {
            match stream.wait_unless_aborted(timeout, || notify.is_raised.load(Ordering::SeqCst)) {
                // Another stream may wait for the same notify; only one of them lowers it.
                Waited::Ready if !notify.is_raised.swap(false, Ordering::SeqCst) => {}
                Waited::Ready | Waited::Aborted => return Ok(()),
                // ASSUMPTION(notify-timeout): the code of a wait that takes too long, on the stream that
                // waits.
                Waited::TimedOut => {
                    return refuse(
                        codes::RT_WAIT_TIMEOUT,
                        format!(
                            "notify {} was not recorded within {:?}",
                            notify.id,
                            timeout.unwrap_or_default()
                        ),
                    );
                }
            }
        };
        on.dispatch_work(work)
    }
}
