//! What a launch tells of itself, with feature `tracing`: which plan was launched on what.
//!
//! Each launch of an operator is one event of level DEBUG with the target `fastattention::launch`. Its field
//! `launch` is one line of JSON: `operation`, `stream` (address of the driver's object), `plan` (as `to_json`
//! of the plan has it; the plan's text where it has none) and `operands`, each with `name`, `address`,
//! `bytes` (that the launch uses, from the first to one past the last) and `is_written`. Nothing is read from
//! the device. Where nobody listens, a launch asks for that and does nothing else. Copies, collectives and
//! the parts of a tensor-parallel layer are not told; its kernels are.

use super::{Named, Stream};
use crate::Result;

/// Tells of a launch that was not refused.
#[cfg(feature = "tracing")]
pub(crate) fn tell<N: AsRef<[Named]>>(
    operation: &str,
    stream: &Stream,
    plan: impl FnOnce() -> Result<String>,
    operands: impl FnOnce() -> N,
) {
    use serde_json::{json, Value};

    if !tracing::enabled!(target: "fastattention::launch", tracing::Level::DEBUG) {
        return;
    }
    // A text that is no JSON is the plan's own.
    let plan = plan().unwrap_or_else(|error| error.to_string());
    let plan = serde_json::from_str(&plan).unwrap_or(Value::String(plan));
    let operands: Vec<Value> = operands().as_ref().iter().map(Named::to_json).collect();
    let stream = format!("{:#x}", stream.as_raw().addr());
    let launch = json!({ "operation": operation, "stream": stream, "plan": plan, "operands": operands });
    tracing::debug!(target: "fastattention::launch", launch = %launch);
}

/// Without the feature there is nobody to tell.
#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn tell<N: AsRef<[Named]>>(
    _: &str,
    _: &Stream,
    _: impl FnOnce() -> Result<String>,
    _: impl FnOnce() -> N,
) {
}

#[cfg(all(test, feature = "tracing", feature = "sim"))]
mod tests;
