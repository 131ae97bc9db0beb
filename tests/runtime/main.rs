//! The runtime layer over the simulated ACL and HCCL: what the functions do, what they refuse, and the safe
//! types above them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod acl_clients;
mod acl_launch;
mod acl_misuse;
mod acl_transfers;
mod captures;
mod copy_kernel;
#[cfg(unix)]
mod environment;
mod graphs;
mod hccl;
mod operands;
mod self_test;
