//! Small wrong kernels: each is reported as what it is, with both sides; and the right kernel beside it is
//! not.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure here fails the test")]

mod divergence;
mod exchange;
mod kernel;
mod memory;
mod races;
mod refused;
