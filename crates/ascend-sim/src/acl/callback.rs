//! Functions of the program that streams and `aclrtProcessReport` call.
//!
//! How such a function may end is written in docs/dropin.md: by returning. A panic of a Rust program that
//! leaves it is an error of its work. A C++ exception or `pthread_exit` ends the process, as an exception
//! does that leaves a thread of C++: only C++ can catch it, and what the stream would do next cannot be left
//! out.

#![allow(unsafe_code, reason = "calls the program's functions")]

use std::any::Any;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};

use ascend_sys::codes;

use super::border::{refuse, Outcome};

/// A function of the program with its argument, on the way to the thread that calls it.
pub(super) struct Callback {
    function: unsafe extern "C-unwind" fn(*mut c_void),
    argument: *mut c_void,
}

// SAFETY: the functions that take a callback promise to call it on another thread, so their caller passes an
// argument that may be used there.
unsafe impl Send for Callback {}
// SAFETY: a graph that keeps the callback calls it on the threads of several streams; its caller has vouched
// for that by launching it into a capture.
unsafe impl Sync for Callback {}

impl Callback {
    /// # Safety
    /// `function` may be called with `argument` on any thread: once, or once for each execution of the graph
    /// that captures it.
    pub(super) unsafe fn new(function: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) -> Callback {
        // SAFETY: the two kinds of pointer differ in what may leave the function, of which the second allows
        // more.
        let function = unsafe {
            std::mem::transmute::<unsafe extern "C" fn(*mut c_void), unsafe extern "C-unwind" fn(*mut c_void)>(
                function,
            )
        };
        Callback { function, argument }
    }

    /// Calls it.
    ///
    /// # Errors
    /// When a panic left it.
    pub(super) fn run(&self) -> Outcome {
        let Callback { function, argument } = *self;
        // SAFETY: by the contract of `new`; who runs it does so once for each time that it was launched.
        let ended = catch_unwind(AssertUnwindSafe(|| unsafe { function(argument) }));
        ended.or_else(|panic| {
            let text = text_of(panic.as_ref());
            refuse(
                codes::RT_PARAM_INVALID,
                format!("a function of the program that was called back panicked: {text}"),
            )
        })
    }
}

/// Text of a caught panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}
