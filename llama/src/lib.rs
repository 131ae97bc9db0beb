//! A small engine for Llama-like models, on the operators of `fastattention`.
//!
//! What is there, how it is used and how it is proved: `docs/llama.md`.

#[cfg(feature = "sim")]
pub mod bench;
pub mod engine;
pub mod files;
pub mod forward;
pub mod sampling;
pub mod serve;
pub mod text;

pub use fastattention::{Error, ErrorKind, Result};
