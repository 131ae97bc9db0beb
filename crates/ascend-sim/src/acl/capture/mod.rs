//! Captures: what streams are given is kept in a graph and runs when the graph is executed.
//!
//! The rules are those of the open CANN runtime's documents (acl-runtime.md 1.8): the developer guide on
//! capturing one stream and several, the reference of the model running instance, and the list of return
//! codes. A capture begins on one stream, its origin. Another stream takes part from the moment when it waits
//! for an event that was recorded in the capture, and has to be joined to the origin by such an event before
//! the capture ends.

mod graph;

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ascend_sys::{capture_mode, codes};

use super::border::{refuse, Outcome};
use super::handles;
use super::stream::Stream;
pub(super) use graph::{Graph, Issued, Member};

/// Who may call functions that a capture cannot keep and that touch memory at once (`aclrtMemcpy`,
/// `aclrtMemcpy2d`, `aclrtMemset`). The strictest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// No thread.
    Global,
    /// Every thread but the one that captures.
    ThreadLocal,
    /// Every thread.
    Relaxed,
}

impl Mode {
    pub(super) fn of(code: u32) -> Outcome<Mode> {
        match code {
            capture_mode::GLOBAL => Ok(Mode::Global),
            capture_mode::THREAD_LOCAL => Ok(Mode::ThreadLocal),
            capture_mode::RELAXED => Ok(Mode::Relaxed),
            _ => refuse(codes::RT_PARAM_INVALID, format!("mode = {code} given, 0 to 2 wanted")),
        }
    }

    fn code(self) -> u32 {
        match self {
            Mode::Global => capture_mode::GLOBAL,
            Mode::ThreadLocal => capture_mode::THREAD_LOCAL,
            Mode::Relaxed => capture_mode::RELAXED,
        }
    }
}

/// The captures that go on; some may have ended with their contexts.
static ACTIVE: Mutex<Vec<Weak<Graph>>> = Mutex::new(Vec::new());

thread_local! {
    /// What `aclmdlRICaptureThreadExchangeMode` has set for this thread.
    static EXCHANGED: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Those of a context.
fn captures_of(context: u64) -> Vec<Arc<Graph>> {
    let mut active = active();
    active.retain(|graph| graph.upgrade().is_some_and(|graph| graph.is_capturing()));
    active.iter().filter_map(Weak::upgrade).filter(|graph| graph.context == context).collect()
}

fn active() -> MutexGuard<'static, Vec<Weak<Graph>>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the mode of the calling thread, and returns the one before.
pub(super) fn exchange(code: u32) -> Outcome<u32> {
    let mode = Mode::of(code)?;
    Ok(EXCHANGED.try_with(|own| own.replace(mode)).unwrap_or(Mode::Global).code())
}

/// Refuses a function that touches memory at once where a capture of the context forbids it.
///
/// The captures that forbid it end as invalid, as the developer guide says.
pub(super) fn allow_at_once(context: u64) -> Outcome {
    let captures = captures_of(context);
    let own = || captures.iter().filter(|capture| capture.is_of_this_thread());
    let of_context = captures.iter().map(|capture| capture.mode).min();
    let of_thread = own().map(|capture| capture.mode).min();
    let is_forbidden = match EXCHANGED.try_with(Cell::get).unwrap_or(Mode::Global) {
        Mode::Global => of_context == Some(Mode::Global) || of_thread == Some(Mode::ThreadLocal),
        Mode::ThreadLocal => of_thread.is_some_and(|mode| mode < Mode::Relaxed),
        Mode::Relaxed => false,
    };
    if !is_forbidden {
        return Ok(());
    }
    let text =
        "called while a stream is captured in a mode that forbids it; an asynchronous function, or the mode \
                RELAXED of aclmdlRICaptureThreadExchangeMode, wanted";
    for capture in captures.iter().filter(|c| c.mode == Mode::Global || c.is_of_this_thread()) {
        capture.invalidate(
            "a function that touches memory at once was called, which the mode of the capture forbids",
        );
    }
    refuse(codes::RT_CAPTURE_MODE_NOT_SUPPORT, text)
}

/// Refuses a wait for all streams of a context of which one is captured.
pub(super) fn refuse_device_wait(streams: &[Arc<Stream>]) -> Outcome {
    streams.iter().try_for_each(|stream| stream.refuse_captured("waiting for all streams of the context"))
}

/// Begins a capture.
pub(super) fn begin(stream: &Arc<Stream>, mode: Mode) -> Outcome {
    let graph = Graph::begin(stream, mode)?;
    active().push(Arc::downgrade(&graph));
    Ok(())
}

/// Ends a capture and returns the handle of its graph. After a refusal there is no capture and no graph any
/// more, except where the stream began none.
pub(super) fn end(stream: &Arc<Stream>) -> Outcome<*mut std::ffi::c_void> {
    let Some(Member { graph, branch }) = stream.capture() else {
        return refuse(
            codes::RT_STREAM_NOT_CAPTURED,
            "a stream that is not captured given, the one of aclmdlRICaptureBegin wanted",
        );
    };
    if branch != 0 {
        return refuse(
            codes::RT_STREAM_CAPTURE_UNMATCHED,
            "a stream that takes part in a capture given, the one of aclmdlRICaptureBegin wanted",
        );
    }
    active().retain(|other| other.as_ptr() != Arc::as_ptr(&graph));
    let ended = match graph.mode == Mode::Relaxed || graph.is_of_this_thread() {
        true => graph.finish(),
        false => {
            graph.invalidate("ended in another thread");
            refuse(
                codes::RT_STREAM_CAPTURE_WRONG_THREAD,
                "called in another thread than aclmdlRICaptureBegin; the same one, or the mode RELAXED, wanted",
            )
        }
    };
    graph.release_streams();
    match ended {
        Ok(()) => Ok(graph.handle()),
        Err(refusal) => {
            // Gone already when the context has ended.
            let _ = handles::take::<Graph>(graph.handle());
            Err(refusal)
        }
    }
}
