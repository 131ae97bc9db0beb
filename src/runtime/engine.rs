//! The engines that devices are of: the one file that knows both the ACL library and the simulator.

use super::handle::Acl;
use crate::acl;
use crate::driver::hccl::HcclTable;
use crate::driver::AclTable;
use crate::hccl;
#[cfg(feature = "sim")]
use crate::sim;
use crate::Result;

/// What fills the tables of functions behind a device. Another engine is another value in [`ENGINES`].
#[derive(Debug)]
pub(super) struct Engine {
    /// Of the names of its devices.
    pub(super) prefix: &'static str,
    table: fn() -> Result<&'static AclTable>,
    /// Searched for when the first communicator is asked for.
    pub(super) hccl_table: fn() -> Result<&'static HcclTable>,
    /// Refuses wrong values of the variables that describe a device, in their own words instead of a
    /// driver's.
    pub(super) check_environment: fn(i32) -> Result<()>,
    /// Asked once the table is there.
    pub(super) properties: fn() -> Properties,
}

/// What callers of an engine ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    /// Are kernels checked while they run, and is a wrong one told in words?
    pub(super) verifies_kernels: bool,
    /// Is a launch timed by a model, and not by a clock?
    pub(super) has_model_time: bool,
    /// Were kernels and runtime made apart, so that the first launch has to show whether they agree?
    pub(super) needs_self_test: bool,
    /// Does it run the kernels' builds for the host, and not those for an NPU?
    pub(super) runs_host_builds: bool,
}

#[cfg(feature = "sim")]
pub(super) static SIMULATOR: Engine = Engine {
    prefix: "sim",
    table: || Ok(sim::acl_table()),
    hccl_table: || Ok(sim::hccl_table()),
    check_environment: sim::check_environment,
    properties: || SIMULATED,
};

pub(super) static NPU: Engine = Engine {
    prefix: "npu",
    table: || Ok(acl::library()?.table()),
    hccl_table: || Ok(hccl::library()?.table()),
    check_environment: |_| Ok(()),
    // The drop-in library of this crate stands in the place of a driver and says so.
    properties: || match acl::library() {
        Ok(library) if library.is_simulated() => SIMULATED,
        _ => Properties {
            verifies_kernels: false,
            has_model_time: false,
            needs_self_test: true,
            runs_host_builds: false,
        },
    },
};

/// All of them.
pub(super) static ENGINES: &[&Engine] = &[
    #[cfg(feature = "sim")]
    &SIMULATOR,
    &NPU,
];

const SIMULATED: Properties = Properties {
    verifies_kernels: true,
    has_model_time: true,
    needs_self_test: false,
    runs_host_builds: true,
};

impl Engine {
    /// Its ACL functions.
    pub(super) fn acl(&self) -> Result<Acl> {
        let table = (self.table)()?;
        Ok(self.acl_of(table))
    }

    /// Its ACL functions in another table.
    pub(super) fn acl_of(&self, table: &'static AclTable) -> Acl {
        Acl { table, explains_stops: (self.properties)().verifies_kernels }
    }
}
