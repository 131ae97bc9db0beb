//! The HCCL functions, in process, over simulated devices: ranks are threads of one process or of several
//! ([`processes`]), each with a device of its own.
//!
//! An operation is announced to its communicator when it is called ([`group`]), is queued on an ordinary
//! stream ([`communicator`]), and happens when the streams of all its ranks have reached it, at once and for
//! all ([`transfer`]). Ranks that disagree, fail, leave or do not come end the communicator with one text for
//! everybody ([`failure`]). What they take on the links of a server is known to a
//! [`Timeline`](super::time::Timeline) only; the transfer buffers of the genuine library are not allocated.
//!
//! A count of 0 takes part like any other; the genuine library returns at once.

mod bootstrap;
mod buffers;
mod comm_config;
mod communicator;
mod config;
mod exports;
mod failure;
mod group;
mod home;
mod member;
mod operation;
mod processes;
mod root;
mod transfer;

use ascend_sys::hccl::HcclTable;
use ascend_sys::{hccl_functions, table_from_module};

/// The simulated functions.
pub(crate) fn table() -> &'static HcclTable {
    static TABLE: HcclTable = hccl_functions!(table_from_module(HcclTable: self::exports));
    &TABLE
}
