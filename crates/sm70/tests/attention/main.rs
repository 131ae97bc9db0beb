//! The shipped Volta kernels, run from their PTX, against f64.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure here fails the test")]

mod broken;
mod compare;
mod counts;
mod launch;
mod layout;
mod mutated;
mod oracle;
mod problem;
mod right;
mod table;
mod tensors;
