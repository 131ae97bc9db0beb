//! Ranks in other processes of this machine.
//!
//! A communicator is kept in the process that made its root info, the owner. Each rank elsewhere, a peer, has
//! one connection to it, through a Unix-domain socket ([`endpoint`]), and two threads there: one reads what
//! the peer says ([`owner`]), one does it, as a rank of the owner's process would ([`session`]). So there is
//! one mechanism for meeting, comparing, reducing and failing, `RankGroup`, and ranks of one process and of
//! several are mixed at will.
//!
//! Messages ([`protocol`]) go through the socket ([`line`]); the bytes of device memory through memory that
//! the two processes share ([`staging`]), a piece of 1 MiB at a time. Nothing in shared memory is followed or
//! waited for, and no lock is in it: a process that ends at any moment, or is killed, is seen to end by the
//! other side at once, also when a forked child of it keeps the socket open, and leaves nothing locked. What
//! comes from the other process is checked before it is used; the memory comes as a descriptor whose length
//! nobody can change.
//!
//! Both ends ask the system who is at the other one: processes of another user are not talked to. The folder
//! of the socket is private. It is removed when all ranks of all root infos of the process have joined, or
//! have failed to.

#[cfg(target_os = "linux")]
mod endpoint;
#[cfg(target_os = "linux")]
mod line;
#[cfg(target_os = "linux")]
mod owner;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod region;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod staging;
#[cfg(target_os = "linux")]
mod system;

#[cfg(not(target_os = "linux"))]
mod unsupported;

#[cfg(target_os = "linux")]
pub(super) use {endpoint::Endpoint, peer::join_remote};

#[cfg(not(target_os = "linux"))]
pub(super) use unsupported::{join_remote, Endpoint};
