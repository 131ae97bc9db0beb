//! The cooperative store: what it plans, and what it computes however K and V are divided.
//!
//! The host is a device `cpu:N` in any case. The device is one, too, where bits are compared, and a simulated
//! one where results are compared with f64.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails; its tensors are small"
)]

mod memory;
mod plan;
mod random;
mod results;
mod run;
mod timeline;
