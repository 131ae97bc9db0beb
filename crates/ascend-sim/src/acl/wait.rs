//! How host threads wait for work that ends anywhere in the process.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::order;

/// Rings for every host thread that waits: a piece of work ended somewhere in the process.
static BELL: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// Wakes the waiting threads. Call it after the change that they wait for, holding no lock.
pub(crate) fn ring() {
    order::release(&BELL);
    // Taking the lock orders the change before the check of a thread that is about to sleep.
    drop(BELL.0.lock().unwrap_or_else(PoisonError::into_inner));
    BELL.1.notify_all();
}

/// For a piece of work whose end nobody waits for: a thread may see it all the same.
pub(super) fn ended() {
    order::release(&BELL);
}

/// Waits until `ready`; false when `timeout` passed first.
pub(crate) fn wait_until(timeout: Option<Duration>, ready: impl Fn() -> bool) -> bool {
    let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
    let mut guard = BELL.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !ready() {
        guard = match deadline {
            None => BELL.1.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                BELL.1.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
    order::acquire(&BELL);
    true
}

/// For a thread that saw without waiting that something has ended.
pub(super) fn seen() {
    order::acquire(&BELL);
}

/// Milliseconds as the C functions take them: -1 waits for ever.
pub(super) fn timeout_of(ms: i32) -> Outcome<Option<Duration>> {
    match u64::try_from(ms) {
        Ok(ms) => Ok(Some(Duration::from_millis(ms))),
        Err(_) if ms == -1 => Ok(None),
        Err(_) => refuse(codes::RT_PARAM_INVALID, format!("timeout = {ms} given, -1 or milliseconds wanted")),
    }
}
