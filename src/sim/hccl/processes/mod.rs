//! Ranks in other processes of this machine.
//!
//! A communicator is kept in the process that made its root info, the owner. Each rank elsewhere, a peer, has one
//! connection to it, through a Unix-domain socket ([`endpoint`]), and two threads there: one reads what the peer says
//! ([`owner`]), one does it, as a rank of the owner's process would ([`session`]). So there is one mechanism for meeting, comparing,
//! reducing and failing, `Group`, and ranks of one process and of several are mixed at will.
//!
//! Messages ([`protocol`]) go through the socket; the bytes of device memory through memory that the two processes share
//! ([`staging`]), a piece of 1 MiB at a time. Nothing in shared memory is followed or waited for, and no lock is in it:
//! a process that ends at any moment, or is killed, closes its end of the socket, which the other side sees at once, and
//! leaves nothing locked. What comes from the other process is checked before it is used.
//!
//! The folder with the socket is removed when all ranks have joined, or have failed to.

#[cfg(unix)]
mod endpoint;
#[cfg(unix)]
mod owner;
#[cfg(unix)]
mod peer;
#[cfg(unix)]
mod protocol;
#[cfg(unix)]
mod region;
#[cfg(unix)]
mod session;
#[cfg(unix)]
mod staging;
#[cfg(unix)]
mod system;

#[cfg(not(unix))]
mod unsupported;

#[cfg(unix)]
pub(super) use {endpoint::Endpoint, peer::join_remote};

#[cfg(not(unix))]
pub(super) use unsupported::{join_remote, Endpoint};
