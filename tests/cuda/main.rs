//! What the CUDA runtime plans and launches: in the interpreter of PTX here, and on a GPU where
//! `FA_CUDA_DEVICE` names one.
//!
//! `cargo test --features cuda --test cuda` needs neither. For a GPU elsewhere the one binary that `cargo
//! test --no-run --features cuda --test cuda` names can be copied: it reads no file, and `FA_CUDA_DEVICE=0
//! cuda-... --nocapture gpu` runs every problem there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that prints what it ran, and fails by panics"
)]

mod absent;
mod gpu;
mod interpreter;
mod packed;
mod serving;
mod table;
