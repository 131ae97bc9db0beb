//! What the tests of `fastattention` share.
//!
//! - [`cases`], [`data`]: the table of attention problems, and the operands of each.
//! - [`device`]: where a test runs, the simulator or what `FA_DEVICE` names.
//! - [`run`], [`compare`]: a case on a device and on the references, and the one rule of tolerances.
//! - [`kernels`]: kernels whose text a test writes.
//! - [`acl`]: a simulated device through the C functions.
//! - [`collectives`]: what collectives of HCCL give.
//! - [`recorder`]: an ACL library that records its calls.
//! - [`child`]: processes that end within a bound.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod acl;
pub mod cases;
pub mod child;
pub mod collectives;
pub mod compare;
pub mod data;
pub mod device;
pub mod kernels;
pub mod recorder;
pub mod run;
pub mod serving;
