//! Ranks in other processes of this machine.
//!
//! A communicator is kept in the process that made its root info, the keeper. Each rank elsewhere, a visitor, has one
//! connection to it, through a Unix-domain socket ([`door`]), and two threads there: one reads what the visitor says
//! ([`keeper`]), one does it, as a rank of the keeper's process would ([`attendant`]). So there is one mechanism for meeting, comparing,
//! reducing and failing, `Group`, and ranks of one process and of several are mixed at will.
//!
//! Words ([`words`]) go through the socket; the bytes of device memory through memory that the two processes share
//! ([`staging`]), a piece of 1 MiB at a time. Nothing in shared memory is followed or waited for, and no lock is in it:
//! a process that ends at any moment, or is killed, closes its end of the socket, which the other side sees at once, and
//! leaves nothing locked. What comes from the other process is checked before it is used.
//!
//! The folder with the socket is removed when all ranks have joined, or have failed to.

#[cfg(unix)]
mod attendant;
#[cfg(unix)]
mod door;
#[cfg(unix)]
mod keeper;
#[cfg(unix)]
mod region;
#[cfg(unix)]
mod staging;
#[cfg(unix)]
mod system;
#[cfg(unix)]
mod visitor;
#[cfg(unix)]
mod words;

#[cfg(not(unix))]
mod elsewhere;

#[cfg(unix)]
pub(super) use {door::Door, visitor::visit};

#[cfg(not(unix))]
pub(super) use elsewhere::{visit, Door};
