//! The C functions themselves: they check pointers, take handles apart and call the modules beside this one.

#![allow(unsafe_code, reason = "C functions with pointer arguments")]
#![allow(non_snake_case, reason = "C names")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the contract of every function here is the vendor's: pointers are null or valid for what the C \
              signature says, until the function returns or, for asynchronous functions, until the stream gets there"
)]

mod client;
mod device;
mod graph;
mod kernel;
mod memory;
mod stream;

pub(super) use client::*;
pub(super) use device::*;
pub(super) use graph::*;
pub(super) use kernel::*;
pub(super) use memory::*;
pub(super) use stream::*;
