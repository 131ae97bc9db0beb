//! The ACL functions, in process, over simulated devices.
//!
//! Devices are reference-counted, contexts belong to threads, streams are first-in first-out queues with a
//! thread each, handles are checked, and every refusal has a code of the vendor's and a text (acl-runtime.md
//! 1.5, 1.6, 6.1). Event times are host time, on a timeline too: how long the simulator took. What CANN's
//! manuals leave open is marked as assumption.

mod args;
pub(super) mod border;
mod callback;
mod capture;
pub(super) mod device;
mod event;
mod exports;
pub(super) mod flight;
pub(super) mod handles;
mod launch;
pub(super) mod memory;
mod notify;
mod order;
mod peers;
pub(crate) mod presented;
mod reduction;
mod report;
pub(super) mod stream;
#[cfg(test)]
mod tests;
mod value;
pub(super) mod wait;

use ascend_sys::{
    acl_functions, client_functions, codes, table_from_module, AclError, AclTable, ClientTable,
};

/// The simulated functions.
pub(crate) fn table() -> &'static AclTable {
    static TABLE: AclTable = acl_functions!(table_from_module(AclTable: self::exports));
    &TABLE
}

/// The simulated functions that this crate does not call.
pub(crate) fn client_table() -> &'static ClientTable {
    static TABLE: ClientTable = client_functions!(table_from_module(ClientTable: self::exports));
    &TABLE
}

/// Refuses the call of a function that is known and not simulated.
pub(crate) fn refuse_call(name: &'static str) -> AclError {
    border::call(name, || {
        border::refuse(codes::RT_FEATURE_NOT_SUPPORT, "the simulator does not have this function")
    })
}
