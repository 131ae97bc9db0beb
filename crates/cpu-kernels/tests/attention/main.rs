//! Attention on the host against f64, in many shapes, and against itself.

#![allow(clippy::unwrap_used, reason = "a test")]

mod case;
mod oracle;
mod refusals;
mod results;
mod table;
