//! Rules of the layout that the compiler cannot check (`docs/architecture.md`).
//!
//! - `layers`: which module may name which, and where unsafe code and the names of C functions stand.
//! - `kernels`: what kernel text may name, and that its lists agree with those of Rust.
//! - `citations`: assumptions, numbered sources, sources of instructions and rates.
//! - `manifests`: which package uses which, and what of other people's.
//! - `text`: widths, names of files, tables of performance.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod citations;
mod kernels;
mod layers;
mod manifests;
mod search;
mod text;
