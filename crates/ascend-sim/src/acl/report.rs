//! Callbacks that run in a thread of the program: it subscribes to streams and calls `aclrtProcessReport` in
//! a loop (CANN's manual, execution control).

#![allow(unsafe_code, reason = "asks for the thread's number")]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::callback::Callback;
use super::stream::Stream;
use super::wait;

/// A callback that waits for its thread, and where work behind it sees that it is done.
struct Waiting {
    callback: Callback,
    is_done: Arc<AtomicBool>,
}

/// Who handles which stream, and what waits for whom. Threads are named by `pthread_self`, as the manual's
/// programs do.
#[derive(Default)]
struct Desk {
    thread_of_stream: HashMap<u64, u64>,
    waiting: HashMap<u64, VecDeque<Waiting>>,
}

static DESK: Mutex<Option<Desk>> = Mutex::new(None);

fn desk() -> MutexGuard<'static, Option<Desk>> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of the calling thread.
fn current_thread() -> u64 {
    // SAFETY: the call has no condition.
    unsafe { libc::pthread_self() }
}

pub(super) fn subscribe(thread: u64, stream: &Stream) -> Outcome {
    let mut desk = desk();
    let desk = desk.get_or_insert_default();
    match desk.thread_of_stream.get(&stream.number()) {
        Some(other) if *other != thread => refuse(
            codes::RT_STREAM_SUBSCRIBE,
            format!("thread {thread} given for a stream whose callbacks thread {other} handles"),
        ),
        _ => {
            desk.thread_of_stream.insert(stream.number(), thread);
            Ok(())
        }
    }
}

pub(super) fn unsubscribe(thread: u64, stream: &Stream) -> Outcome {
    let mut desk = desk();
    let desk = desk.get_or_insert_default();
    match desk.thread_of_stream.get(&stream.number()) {
        Some(current) if *current == thread => {
            desk.thread_of_stream.remove(&stream.number());
            Ok(())
        }
        _ => refuse(
            codes::RT_THREAD_SUBSCRIBE,
            format!("thread {thread} given, a thread that subscribed to this stream wanted"),
        ),
    }
}

/// Queues a callback; work behind it waits for it when `blocks`.
pub(super) fn launch(callback: Callback, blocks: bool, on: &Arc<Stream>) -> Outcome {
    let thread = desk().as_ref().and_then(|desk| desk.thread_of_stream.get(&on.number()).copied());
    let Some(thread) = thread else {
        return refuse(
            codes::RT_STREAM_NO_CALLBACK,
            "no thread handles the callbacks of this stream; aclrtSubscribeReport names one",
        );
    };
    let is_done = Arc::new(AtomicBool::new(false));
    let waiting = Waiting { callback, is_done: Arc::clone(&is_done) };
    let work = move |stream: &Stream| {
        let mut desk = desk();
        desk.get_or_insert_default().waiting.entry(thread).or_default().push_back(waiting);
        drop(desk);
        wait::ring();
        if blocks {
            stream.wait_unless_aborted(None, || is_done.load(Ordering::SeqCst));
        }
        Ok(())
    };
    on.submit_once("a callback of aclrtProcessReport", work)
}

/// Runs the callbacks that wait for the calling thread; waits for the first of them.
pub(super) fn process(timeout: Option<Duration>) -> Outcome {
    let thread = current_thread();
    let waiting = || {
        let mut desk = desk();
        desk.as_mut().and_then(|desk| desk.waiting.get_mut(&thread)?.pop_front())
    };
    let first = Mutex::new(None);
    let found = wait::wait_until(timeout, || {
        let callback = waiting();
        let is_some = callback.is_some();
        *first.lock().unwrap_or_else(PoisonError::into_inner) = callback;
        is_some
    });
    if !found {
        return refuse(
            codes::RT_REPORT_TIMEOUT,
            format!("no callback came within {:?}", timeout.unwrap_or_default()),
        );
    }
    let mut next = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = Ok(());
    while let Some(Waiting { callback, is_done }) = next {
        outcome = outcome.and(callback.run());
        is_done.store(true, Ordering::SeqCst);
        wait::ring();
        next = waiting();
    }
    outcome
}
