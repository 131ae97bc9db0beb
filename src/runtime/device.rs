//! Opening a device.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::ffi::{c_void, CStr};
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::handle::{Acl, Driver, Handle};
#[cfg(feature = "cpu")]
use super::kinds::CPU;
#[cfg(feature = "sim")]
use super::kinds::SIMULATOR;
use super::kinds::{Kernels, Kind, Properties, KINDS};
use super::stream::TellTime;
#[cfg(feature = "cpu")]
use crate::cpu;
#[cfg(feature = "sim")]
use crate::driver::AclTable;
use crate::driver::{codes, mem_attr};
#[cfg(feature = "sim")]
use crate::sim;
use crate::{Error, Result, Soc};

/// A device with its context. Clones are the same device; it is released when the last of them and of
/// everything made on it is gone.
///
/// Beside another library that uses ACL in this process: a call on a device leaves the thread's current
/// context as it found it, `aclFinalize` and `aclrtResetDeviceForce` are never called, and each
/// `aclrtResetDevice` undoes one own `aclrtSetDevice`, which ACL counts.
///
/// A forked child of the process cannot use it: every call returns an error of kind `Unsupported`, and drops
/// do nothing.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

/// Outcomes of what operators check once for an opened device.
#[derive(Default)]
pub(crate) struct Checks {
    /// Flags between an AIC and its AIVs.
    pub(crate) group_flags: OnceLock<Result<()>>,
    /// The flag at which all AICs meet.
    pub(crate) all_core_flags: OnceLock<Result<()>>,
}

struct Inner {
    driver: Driver,
    kind: &'static Kind,
    properties: Properties,
    name: String,
    number: i32,
    soc: &'static Soc,
    /// Is there an `aclrtSetDevice` to undo?
    is_set: bool,
    checks: Checks,
}

/// Memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Bytes that are not allocated.
    pub free_bytes: usize,
    /// All bytes.
    pub total_bytes: usize,
}

fn parse(name: &str) -> Result<(&'static Kind, i32)> {
    let (prefix, number) = name.split_once(':').unwrap_or((name, "0"));
    #[cfg(not(feature = "sim"))]
    if prefix == "sim" {
        return Err(no_simulator(name));
    }
    let kind = KINDS.iter().copied().find(|kind| kind.prefix == prefix);
    match (kind, number.parse()) {
        (Some(kind), Ok(number)) if number >= 0 => Ok((kind, number)),
        _ => Err(Error::invalid(format!("device {name:?} given, {} wanted", wanted()))),
    }
}

/// The names that this build takes.
fn wanted() -> String {
    let names: Vec<_> = KINDS.iter().map(|kind| format!("\"{}:N\"", kind.prefix)).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// What a build without the simulator says of its devices.
#[cfg(not(feature = "sim"))]
fn no_simulator(name: &str) -> Error {
    let text = format!(
        "device {name:?} given, \"npu:N\" wanted: this build of fastattention has no simulator, which its cargo feature `sim` adds"
    );
    Error::new(crate::ErrorKind::Unsupported, text)
}

/// `aclInit`. A second call in the process is harmless, and `aclFinalize` is left to the end of the process.
pub(super) fn initialize(acl: Acl) -> Result<()> {
    // SAFETY: a null path is documented as "no configuration".
    match unsafe { (acl.table.aclInit)(std::ptr::null()) } {
        codes::REPEAT_INITIALIZE => {
            // Fetches the text of the repeated call, so that it does not turn up in a later error.
            let _ = acl.check("aclInit", codes::REPEAT_INITIALIZE);
            Ok(())
        }
        code => acl.check("aclInit", code),
    }
}

/// Name that the driver gives to the SoC of the current device.
fn soc_name(acl: Acl) -> Result<String> {
    // SAFETY: takes no argument.
    let name = unsafe { (acl.table.aclrtGetSocName)() };
    if name.is_null() {
        acl.check("aclrtGetSocName", codes::INTERNAL_ERROR)?;
    }
    // SAFETY: not null (a null was returned as an error above), so a string of the driver that it keeps.
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

impl Device {
    /// Opens a device: `sim` or `sim:N` for the simulator, `cpu` or `cpu:N` for the host's own cores, `npu:N`
    /// for an NPU.
    ///
    /// `sim:0` is described by the environment: `FASTATTENTION_SIM_SOC` (default `Ascend910B2`),
    /// `FASTATTENTION_SIM_SEED`, `FASTATTENTION_SIM_THREADS` and `FASTATTENTION_SIM_RACES` (0 or 1). With
    /// `FASTATTENTION_SIM_DEVICES` = N it is so for `sim:0` to `sim:N-1`. `cpu:0` to `cpu:63` are described
    /// by `FASTATTENTION_CPU_SOC`, for which plans are made (default `Ascend910B2`), and
    /// `FASTATTENTION_CPU_THREADS`.
    ///
    /// # Errors
    /// `InvalidArgument` for another name and for a variable with a wrong value, `LibraryNotFound` without
    /// CANN, `DriverNotFound` with CANN but without the NPU's driver, `NoDevice` for a number that the driver
    /// does not know, `Unsupported` for a SoC that this crate does not describe and for the simulator in a
    /// build without the cargo feature `sim`, else `Driver`.
    pub fn open(name: &str) -> Result<Device> {
        let (kind, number) = parse(name)?;
        (kind.check_environment)(number)?;
        Self::open_on(kind.acl()?, kind, number, None)
    }

    /// Makes a new device on the host's own cores and opens it.
    ///
    /// # Errors
    /// `Driver` when the host lacks the resources.
    #[cfg(feature = "cpu")]
    pub fn host(config: cpu::Config) -> Result<Device> {
        let (acl, soc) = (CPU.acl()?, config.soc);
        // Before the device is made: a forked child of a process that uses these functions learns here that
        // it cannot.
        initialize(acl)?;
        Self::open_on(acl, &CPU, cpu::add_device(config)?, Some(soc))
    }

    /// Makes a new simulated device and opens it.
    ///
    /// # Errors
    /// `Driver` when the host lacks the resources.
    #[cfg(feature = "sim")]
    pub fn simulated(config: sim::Config) -> Result<Device> {
        Self::add_simulated(SIMULATOR.acl()?, config)
    }

    /// As [`Self::simulated`], with only the functions that CANN 8.1 has: for tests of the code that does
    /// without.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn simulated_as_cann81(config: sim::Config) -> Result<Device> {
        static TABLE: std::sync::OnceLock<AclTable> = std::sync::OnceLock::new();
        let table = TABLE.get_or_init(|| sim::acl_table().without_later_functions());
        Self::add_simulated(SIMULATOR.acl_of(table), config)
    }

    #[cfg(feature = "sim")]
    pub(super) fn add_simulated(acl: Acl, config: sim::Config) -> Result<Device> {
        // Before the device is made: a forked child of a process that uses the simulator learns here that it
        // cannot.
        initialize(acl)?;
        let soc = config.soc;
        Self::open_on(acl, &SIMULATOR, sim::add_device(config), Some(soc))
    }

    /// Opens a device that another library of this process has set: its context, which is current in this
    /// thread, is used as it is. Nothing is initialised, set or reset, neither here nor when the last owner
    /// is dropped.
    ///
    /// Needed only where that library does not count its own use with `aclrtSetDevice`: [`Self::open`] beside
    /// a library that does is fine, since ACL counts both (acl-runtime.md 1.6).
    ///
    /// # Errors
    /// `InvalidArgument` when this thread's context is of another device than `name`, else as [`Self::open`].
    ///
    /// # Safety
    /// The context stays alive until the last owner of the device, and of everything made on it, is dropped.
    pub unsafe fn attach(name: &str) -> Result<Device> {
        let (kind, number) = parse(name)?;
        (kind.check_environment)(number)?;
        let acl = kind.acl()?;
        let own = (kind.number_of)(number)?;
        let mut current = 0;
        // SAFETY: the pointer is to a live integer.
        let code = unsafe { (acl.table.aclrtGetDevice)(&raw mut current) };
        acl.check("aclrtGetDevice", code)?;
        if current != own {
            let wanted = kind.name_of(current);
            return Err(Error::invalid(format!(
                "Device::attach: name = {name:?} given, {wanted:?} wanted, the device of this thread's current context"
            )));
        }
        Self::of_current_context(acl, kind, [number, own], None, false)
    }

    fn open_on(acl: Acl, kind: &'static Kind, number: i32, soc: Option<&'static Soc>) -> Result<Device> {
        initialize(acl)?;
        let own = (kind.number_of)(number)?;
        let outer = acl.current_context()?;
        // SAFETY: takes a number.
        let code = unsafe { (acl.table.aclrtSetDevice)(own) };
        acl.check("aclrtSetDevice", code)?;
        let opened = Self::of_current_context(acl, kind, [number, own], soc, true);
        if opened.is_err() {
            // SAFETY: undoes the `aclrtSetDevice` above; its own failure would hide the reason that is
            // returned.
            let _ = unsafe { (acl.table.aclrtResetDevice)(own) };
        }
        let restored = acl.restore_context(outer);
        opened.and_then(|device| restored.map(|()| device))
    }

    /// The device of the context that is current in this thread. `named` is its number in the name, `number`
    /// that of the ACL functions.
    fn of_current_context(
        acl: Acl,
        kind: &'static Kind,
        [named, number]: [i32; 2],
        soc: Option<&'static Soc>,
        is_set: bool,
    ) -> Result<Device> {
        let mut context = Handle::NULL;
        // SAFETY: the pointer is to a live handle.
        let code = unsafe { (acl.table.aclrtGetCurrentContext)(&raw mut context.0) };
        acl.check("aclrtGetCurrentContext", code)?;
        let soc = match soc {
            Some(soc) => soc,
            None => Soc::named(&soc_name(acl)?)?,
        };
        let name = format!("{}:{named}", kind.prefix);
        let (driver, properties) = (Driver::new(acl, context), (kind.properties)());
        let checks = Checks::default();
        Ok(Device { inner: Arc::new(Inner { driver, kind, properties, name, number, soc, is_set, checks }) })
    }

    /// Closes the device and tells what went wrong in a drop since the last call. Other owners keep it open.
    ///
    /// # Errors
    /// The first failure of a drop, or that of the release.
    pub fn close(self) -> Result<()> {
        match Arc::try_unwrap(self.inner) {
            Ok(mut inner) => {
                inner.release();
                inner.driver.latched()
            }
            Err(shared) => shared.driver.latched(),
        }
    }

    /// Name, as [`Self::open`] takes it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The SoC.
    pub fn soc(&self) -> &'static Soc {
        self.inner.soc
    }

    /// Are kernels checked while they run, as on the simulator? Then a wrong one is an error of kind
    /// `SimFault`.
    pub fn verifies_kernels(&self) -> bool {
        self.inner.properties.verifies_kernels
    }

    /// Is a launch timed by a model of the chip, as on the simulator? Then the time that passes on the host
    /// says nothing about it.
    pub fn has_model_time(&self) -> bool {
        self.inner.properties.has_model_time
    }

    /// What tells the clock of a device with model time how long a function of the host takes.
    pub(super) fn tell_host_time(&self) -> Option<TellTime> {
        self.inner.properties.tell_host_time
    }

    /// Are its kernels for the host's own cores, as on `cpu:N`? Then they cut the work in their own way, and
    /// the time that passes is that of the host.
    pub fn runs_on_host(&self) -> bool {
        match self.inner.properties.kernels {
            Kernels::Npu | Kernels::Simulator => false,
            #[cfg(feature = "cpu")]
            Kernels::Native => true,
        }
    }

    /// Were kernels and runtime made apart, so that the first launch has to show whether they agree?
    pub(crate) fn needs_self_test(&self) -> bool {
        self.inner.properties.needs_self_test
    }

    /// Which form of the kernels the device runs.
    pub(crate) fn kernels(&self) -> Kernels {
        self.inner.properties.kernels
    }

    /// The `aclrtContext` that every call on this device is made in, for other code that calls ACL. It lives
    /// as long as the device; destroying it is undefined behaviour of the driver.
    pub fn as_raw_context(&self) -> *mut c_void {
        self.driver().context.0
    }

    /// Waits for all work of the device's default context.
    ///
    /// # Errors
    /// What stopped the work.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: takes no argument.
        self.driver().call("aclrtSynchronizeDevice", |t| unsafe { (t.aclrtSynchronizeDevice)() })
    }

    /// Free and total memory.
    ///
    /// # Errors
    /// `Driver` when the driver cannot tell.
    pub fn memory_info(&self) -> Result<MemoryInfo> {
        let mut info = MemoryInfo { free_bytes: 0, total_bytes: 0 };
        let (free, total) = (&raw mut info.free_bytes, &raw mut info.total_bytes);
        self.driver().call("aclrtGetMemInfo", |t| {
            // SAFETY: both pointers are to fields of `info`.
            unsafe { (t.aclrtGetMemInfo)(mem_attr::HBM, free, total) }
        })?;
        Ok(info)
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.inner.driver
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.inner.checks
    }

    /// Refuses a plan that was made for another SoC.
    pub(crate) fn require_planned_for(&self, soc: &Soc, what: &str) -> Result<()> {
        let own = self.soc();
        if own == soc {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what}: a plan for {} with {} Cube cores given, one for device {} wanted, which is {} with {} Cube cores",
            soc.name,
            soc.cube_cores,
            self.name(),
            own.name,
            own.cube_cores
        )))
    }

    /// Refuses an object of another device.
    pub(crate) fn require_same(&self, other: &Device, what: &str) -> Result<()> {
        if Arc::ptr_eq(&self.inner, &other.inner) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} of another opened device ({}) given, one of this opened device ({}) wanted",
            other.name(),
            self.name()
        )))
    }

    /// The HCCL functions that go with the device.
    pub(super) fn hccl(&self) -> Result<&'static crate::driver::hccl::HcclTable> {
        (self.inner.kind.hccl_table)()
    }

    /// Do the same functions serve both devices?
    pub(super) fn has_library_of(&self, other: &Device) -> bool {
        std::ptr::eq(self.inner.kind, other.inner.kind)
    }

    /// Number of the device, as the driver counts.
    pub(super) fn number(&self) -> i32 {
        self.inner.number
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name()).field("soc", &self.soc().name).finish()
    }
}

impl Inner {
    fn release(&mut self) {
        if std::mem::take(&mut self.is_set) {
            let number = self.number;
            // SAFETY: takes a number. Undoes this device's own `aclrtSetDevice`.
            self.driver.release("aclrtResetDevice", |t| unsafe { (t.aclrtResetDevice)(number) });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error has nobody left to go to; `Device::close` tells it.
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[cfg(feature = "sim")]
    #[test]
    fn names_of_simulated_devices() {
        for (name, number) in [("sim", 0), ("sim:3", 3)] {
            let (kind, got) = parse(name).unwrap();
            assert_eq!((kind.prefix, got), ("sim", number), "{name}");
        }
        for name in ["sim:", "sim:-1", "sim:x"] {
            assert_eq!(parse(name).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        }
    }

    #[cfg(not(feature = "sim"))]
    #[test]
    fn a_build_without_the_simulator_names_the_feature() {
        let error = Device::open("sim").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("`sim`"), "{error}");
    }

    #[test]
    fn names_of_devices() {
        assert!(parse("npu:1").is_ok_and(|(kind, n)| kind.prefix == "npu" && n == 1));
        for name in ["", "gpu", "npu:", "npu:-1", "npu:x", "npu:1:2"] {
            assert_eq!(parse(name).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        }
    }
}
