//! The streams that C functions name.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ascend_sys::codes;

use super::Stream;
use crate::acl::border::{refuse, Outcome};
use crate::acl::{capture, device, handles};

/// The stream that a C function names: null is the default stream of the current context.
pub(crate) fn of(handle: *mut c_void) -> Outcome<Arc<Stream>> {
    let context = device::current()?;
    if handle.is_null() {
        return Ok(Arc::clone(&context.default_stream));
    }
    let stream = handles::get::<Stream>(handle)?;
    if stream.context != context.number() {
        return refuse(
            codes::RT_STREAM_CONTEXT,
            format!(
                "a stream of another context given, one of the current context wanted (device {})",
                context.device.id()
            ),
        );
    }
    Ok(stream)
}

/// As [`of`], without the default stream, which its context owns.
pub(in crate::acl) fn explicit(handle: *mut c_void) -> Outcome<Arc<Stream>> {
    let stream = of(handle)?;
    if Arc::ptr_eq(&stream, &device::current()?.default_stream) {
        let given = if handle.is_null() { "NULL" } else { "the default stream" };
        return refuse(
            codes::INVALID_PARAM,
            format!("stream = {given} given, a stream of aclrtCreateStream wanted"),
        );
    }
    Ok(stream)
}

/// Waits for every stream of the current context.
///
/// ASSUMPTION(device-sync-timeout): a time-out has the code of a stream's.
pub(in crate::acl) fn synchronize_device(timeout: Option<Duration>) -> Outcome {
    let context = device::current()?;
    let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
    let mut streams = handles::all::<Stream>();
    streams.retain(|stream| stream.context == context.number());
    capture::refuse_device_wait(&streams)?;
    streams.push(Arc::clone(&context.default_stream));
    let mut first = Ok(());
    for stream in streams {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        first = first.and(stream.synchronize(left));
    }
    first
}
