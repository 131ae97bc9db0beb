//! The kinds of devices: the one file that knows the ACL library, the simulator and the host's kernels.

use super::handle::Acl;
use super::stream::TellTime;
use crate::acl;
#[cfg(feature = "cpu")]
use crate::cpu;
use crate::driver::hccl::HcclTable;
use crate::driver::AclTable;
use crate::hccl;
#[cfg(feature = "sim")]
use crate::sim;
use crate::Result;

/// What stands behind a device: tables of functions, and what callers ask. Another kind is another value in
/// [`KINDS`].
#[derive(Debug)]
pub(super) struct Kind {
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
    /// The number that the ACL functions know a device by, from that of its name.
    pub(super) number_of: fn(i32) -> Result<i32>,
    /// The other way; `None` for a device of another kind.
    named: fn(i32) -> Option<i32>,
}

/// What callers ask about a kind of device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Properties {
    /// Are kernels checked while they run, and is a wrong one told in words?
    pub(super) verifies_kernels: bool,
    /// Is a launch timed by a model, and not by a clock?
    pub(super) has_model_time: bool,
    /// Tells the device's clock how many microseconds a function of the host takes; `None` for a device whose
    /// time is that of the world.
    pub(super) tell_host_time: Option<TellTime>,
    /// Were kernels and runtime made apart, so that the first launch has to show whether they agree?
    pub(super) needs_self_test: bool,
    /// Which kernels it runs.
    pub(super) kernels: Kernels,
}

/// Which form of the kernels a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Those built for an NPU.
    Npu,
    /// Those built for the simulator.
    Simulator,
    /// Those in Rust, for the host's own cores.
    #[cfg(feature = "cpu")]
    Native,
}

#[cfg(feature = "sim")]
pub(super) static SIMULATOR: Kind = Kind {
    prefix: "sim",
    table: || Ok(sim::acl_table()),
    hccl_table: || Ok(sim::hccl_table()),
    check_environment: sim::check_environment,
    properties: || Properties { tell_host_time: Some(sim::time::host_function_takes), ..SIMULATED },
    number_of: simulated_number,
    named: simulated_name,
};

/// Its devices are among those of the simulator's runtime, whose numbers go on behind them.
#[cfg(feature = "cpu")]
pub(super) static CPU: Kind = Kind {
    prefix: "cpu",
    #[cfg(feature = "sim")]
    table: || Ok(sim::acl_table()),
    #[cfg(not(feature = "sim"))]
    table: || Ok(cpu::acl_table()),
    hccl_table: || Ok(cpu::hccl_table()),
    check_environment: |_| Ok(()),
    properties: || Properties {
        verifies_kernels: false,
        has_model_time: false,
        tell_host_time: None,
        needs_self_test: false,
        kernels: Kernels::Native,
    },
    number_of: cpu::number_of,
    named: cpu::named,
};

pub(super) static NPU: Kind = Kind {
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
            tell_host_time: None,
            needs_self_test: true,
            kernels: Kernels::Npu,
        },
    },
    number_of: Ok,
    named: Some,
};

/// All of them.
pub(super) static KINDS: &[&Kind] = &[
    #[cfg(feature = "sim")]
    &SIMULATOR,
    #[cfg(feature = "cpu")]
    &CPU,
    &NPU,
];

/// The SoC of `cpu:0`, as long as nothing has opened it.
#[cfg(feature = "cpu")]
pub(super) fn described_host() -> Option<Result<&'static crate::Soc>> {
    cpu::described(0)
}

const SIMULATED: Properties = Properties {
    verifies_kernels: true,
    has_model_time: true,
    // The drop-in library has a clock of its own.
    tell_host_time: None,
    needs_self_test: false,
    kernels: Kernels::Simulator,
};

impl Kind {
    /// The name of a device that the ACL functions of this kind know by this number.
    pub(super) fn name_of(&self, number: i32) -> String {
        let named = |kind: &Kind| Some(format!("{}:{}", kind.prefix, (kind.named)(number)?));
        let found = named(self).or_else(|| KINDS.iter().copied().find_map(named));
        found.unwrap_or_else(|| format!("device {number}"))
    }

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

/// Numbers of devices on the host are not those of simulated ones.
#[cfg(feature = "sim")]
fn simulated_number(number: i32) -> Result<i32> {
    simulated_name(number).ok_or_else(|| {
        let text = format!("device \"sim:{number}\" given, the number of a simulated device wanted");
        crate::Error::new(crate::ErrorKind::NoDevice, text)
    })
}

#[cfg(feature = "sim")]
fn simulated_name(number: i32) -> Option<i32> {
    #[cfg(feature = "cpu")]
    if cpu::named(number).is_some() {
        return None;
    }
    Some(number)
}
