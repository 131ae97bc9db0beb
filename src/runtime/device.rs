//! Opening a device: the one file that knows both the ACL library and the simulator.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::ffi::{c_void, CStr};
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::handle::{check, current_context, restore_context, Driver, Handle};
use crate::acl;
use crate::driver::{codes, mem_attr, AclTable};
use crate::hccl;
#[cfg(feature = "sim")]
use crate::sim;
use crate::{Error, Result, Soc};

/// A device with its context. Clones are the same device; it is released when the last of them and of everything made
/// on it is gone.
///
/// Beside another library that uses ACL in this process: a call on a device leaves the thread's current context as it
/// found it, `aclFinalize` and `aclrtResetDeviceForce` are never called, and each `aclrtResetDevice` undoes one own
/// `aclrtSetDevice`, which ACL counts.
///
/// A forked child of the process cannot use it: every call returns an error of kind `Unsupported`, and drops do nothing.
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
    backend: Backend,
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

/// A device that was found, or the reason why none was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceReport {
    /// Name for [`Device::open`], for example `sim:0` or `npu:1`; `npu` when no NPU was found.
    pub name: String,
    /// The SoC when the device can be opened, else why it cannot.
    pub soc: Result<&'static Soc>,
    /// Is it the simulator? An `npu` is when the ACL library is the drop-in library of this crate.
    pub is_simulated: bool,
}

/// Which implementation of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    #[cfg(feature = "sim")]
    Simulator,
    Npu,
}

impl Backend {
    fn prefix(self) -> &'static str {
        match self {
            #[cfg(feature = "sim")]
            Backend::Simulator => "sim",
            Backend::Npu => "npu",
        }
    }

    /// The drop-in library of this crate stands in the place of a driver and says so.
    fn is_simulated(self) -> bool {
        match self {
            #[cfg(feature = "sim")]
            Backend::Simulator => true,
            Backend::Npu => acl::library().is_ok_and(acl::Library::is_simulated),
        }
    }

    /// Refuses wrong values of the variables that describe a simulated device, in their own words instead of a driver's.
    fn check_environment(self, number: i32) -> Result<()> {
        match self {
            #[cfg(feature = "sim")]
            Backend::Simulator => sim::check_environment(number),
            Backend::Npu => {
                let _ = number;
                Ok(())
            }
        }
    }

    fn table(self) -> Result<&'static AclTable> {
        match self {
            #[cfg(feature = "sim")]
            Backend::Simulator => Ok(sim::acl_table()),
            Backend::Npu => Ok(acl::library()?.table()),
        }
    }

    /// Searched for when the first communicator is asked for.
    fn hccl_table(self) -> Result<&'static crate::driver::hccl::HcclTable> {
        match self {
            #[cfg(feature = "sim")]
            Backend::Simulator => Ok(sim::hccl_table()),
            Backend::Npu => Ok(hccl::library()?.table()),
        }
    }
}

fn parse(name: &str) -> Result<(Backend, i32)> {
    let (prefix, number) = name.split_once(':').unwrap_or((name, "0"));
    let backend = match prefix {
        #[cfg(feature = "sim")]
        "sim" => Some(Backend::Simulator),
        #[cfg(not(feature = "sim"))]
        "sim" => return Err(no_simulator(name)),
        "npu" => Some(Backend::Npu),
        _ => None,
    };
    match (backend, number.parse()) {
        (Some(backend), Ok(number)) if number >= 0 => Ok((backend, number)),
        _ => Err(Error::invalid(format!("device {name:?} given, \"sim\", \"sim:N\" or \"npu:N\" wanted"))),
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
fn initialize(table: &AclTable, is_simulated: bool) -> Result<()> {
    // SAFETY: a null path is documented as "no configuration".
    match unsafe { (table.aclInit)(std::ptr::null()) } {
        codes::REPEAT_INITIALIZE => {
            // Fetches the text of the repeated call, so that it does not turn up in a later error.
            let _ = check(table, is_simulated, "aclInit", codes::REPEAT_INITIALIZE);
            Ok(())
        }
        code => check(table, is_simulated, "aclInit", code),
    }
}

/// Name that the driver gives to the SoC of the current device.
fn soc_name(table: &AclTable, is_simulated: bool) -> Result<String> {
    // SAFETY: takes no argument.
    let name = unsafe { (table.aclrtGetSocName)() };
    if name.is_null() {
        check(table, is_simulated, "aclrtGetSocName", codes::INTERNAL_ERROR)?;
    }
    // SAFETY: not null (a null was returned as an error above), so a string of the driver that it keeps.
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

impl Device {
    /// Opens a device: `sim` or `sim:N` for the simulator, `npu:N` for an NPU.
    ///
    /// `sim:0` is described by the environment: `FASTATTENTION_SIM_SOC` (default `Ascend910B2`),
    /// `FASTATTENTION_SIM_SEED`, `FASTATTENTION_SIM_THREADS` and `FASTATTENTION_SIM_RACES` (0 or 1). With
    /// `FASTATTENTION_SIM_DEVICES` = N it is so for `sim:0` to `sim:N-1`.
    ///
    /// # Errors
    /// `InvalidArgument` for another name and for a variable with a wrong value, `LibraryNotFound` without CANN, `DriverNotFound` with CANN but without the NPU's
    /// driver, `NoDevice` for a number that the driver does not know, `Unsupported` for a SoC that this crate does not
    /// describe and for the simulator in a build without the cargo feature `sim`, else `Driver`.
    pub fn open(name: &str) -> Result<Device> {
        let (backend, number) = parse(name)?;
        backend.check_environment(number)?;
        Self::open_on(backend.table()?, backend, number, None)
    }

    /// Makes a new simulated device and opens it.
    ///
    /// # Errors
    /// `Driver` when the host lacks the resources.
    #[cfg(feature = "sim")]
    pub fn simulated(config: sim::Config) -> Result<Device> {
        let (soc, table) = (config.soc, sim::acl_table());
        // Before the device is made: a forked child of a process that uses the simulator learns here that it cannot.
        initialize(table, true)?;
        Self::open_on(table, Backend::Simulator, sim::add_device(config), Some(soc))
    }

    /// As [`Self::simulated`], with only the functions that CANN 8.1 has: for tests of the code that does without.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn simulated_as_cann81(config: sim::Config) -> Result<Device> {
        static TABLE: std::sync::OnceLock<AclTable> = std::sync::OnceLock::new();
        let table = TABLE.get_or_init(|| sim::acl_table().without_later_functions());
        let soc = config.soc;
        initialize(table, true)?;
        Self::open_on(table, Backend::Simulator, sim::add_device(config), Some(soc))
    }

    /// Opens a device that another library of this process has set: its context, which is current in this thread, is
    /// used as it is. Nothing is initialised, set or reset, neither here nor when the last owner is dropped.
    ///
    /// Needed only where that library does not count its own use with `aclrtSetDevice`: [`Self::open`] beside a library
    /// that does is fine, since ACL counts both (acl-runtime.md 1.6).
    ///
    /// # Errors
    /// `InvalidArgument` when this thread's context is of another device than `name`, else as [`Self::open`].
    ///
    /// # Safety
    /// The context stays alive until the last owner of the device, and of everything made on it, is dropped.
    pub unsafe fn attach(name: &str) -> Result<Device> {
        let (backend, number) = parse(name)?;
        backend.check_environment(number)?;
        let (table, is_simulated) = (backend.table()?, backend.is_simulated());
        let mut current = 0;
        // SAFETY: the pointer is to a live integer.
        let code = unsafe { (table.aclrtGetDevice)(&raw mut current) };
        check(table, is_simulated, "aclrtGetDevice", code)?;
        if current != number {
            return Err(Error::invalid(format!(
                "Device::attach: {name:?} given, but the current context of this thread is of {}:{current}",
                backend.prefix()
            )));
        }
        Self::of_current_context(table, backend, number, None, false)
    }

    fn open_on(
        table: &'static AclTable,
        backend: Backend,
        number: i32,
        soc: Option<&'static Soc>,
    ) -> Result<Device> {
        let is_simulated = backend.is_simulated();
        initialize(table, is_simulated)?;
        let outer = current_context(table, is_simulated)?;
        // SAFETY: takes a number.
        let code = unsafe { (table.aclrtSetDevice)(number) };
        check(table, is_simulated, "aclrtSetDevice", code)?;
        let opened = Self::of_current_context(table, backend, number, soc, true);
        if opened.is_err() {
            // SAFETY: undoes the `aclrtSetDevice` above; its own failure would hide the reason that is returned.
            let _ = unsafe { (table.aclrtResetDevice)(number) };
        }
        let restored = restore_context(table, is_simulated, outer);
        opened.and_then(|device| restored.map(|()| device))
    }

    /// The device of the context that is current in this thread.
    fn of_current_context(
        table: &'static AclTable,
        backend: Backend,
        number: i32,
        soc: Option<&'static Soc>,
        is_set: bool,
    ) -> Result<Device> {
        let is_simulated = backend.is_simulated();
        let mut context = Handle::NULL;
        // SAFETY: the pointer is to a live handle.
        let code = unsafe { (table.aclrtGetCurrentContext)(&raw mut context.0) };
        check(table, is_simulated, "aclrtGetCurrentContext", code)?;
        let soc = match soc {
            Some(soc) => soc,
            None => Soc::named(&soc_name(table, is_simulated)?)?,
        };
        let name = format!("{}:{number}", backend.prefix());
        let driver = Driver::new(table, context, is_simulated);
        let checks = Checks::default();
        Ok(Device { inner: Arc::new(Inner { driver, backend, name, number, soc, is_set, checks }) })
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

    /// Is this the simulator?
    pub fn is_simulated(&self) -> bool {
        self.inner.driver.is_simulated
    }

    /// The `aclrtContext` that every call on this device is made in, for other code that calls ACL. It lives as long as
    /// the device; destroying it is undefined behaviour of the driver.
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
            "{what}: the plan is for {} with {} cores, {} is {} with {}",
            soc.name,
            soc.cube_cores,
            self.name(),
            own.name,
            own.cube_cores
        )))
    }

    /// Refuses an object of another device.
    pub(super) fn require_same(&self, other: &Device, what: &str) -> Result<()> {
        if Arc::ptr_eq(&self.inner, &other.inner) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} of device {} given, one of the same opened device ({}) wanted",
            other.name(),
            self.name()
        )))
    }

    /// The HCCL functions that go with the device.
    pub(super) fn hccl(&self) -> Result<&'static crate::driver::hccl::HcclTable> {
        self.inner.backend.hccl_table()
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

/// What can be opened on this machine, and why the rest cannot.
pub fn devices() -> Vec<DeviceReport> {
    let mut reports = vec![report("sim:0".into())];
    match npu_count() {
        Ok(0) => reports.push(DeviceReport {
            name: "npu".into(),
            soc: Err(Error::driver(
                crate::ErrorKind::NoDevice,
                codes::RT_NO_DEVICE,
                "the ACL library was loaded, and aclrtGetDeviceCount finds no NPU",
            )),
            is_simulated: false,
        }),
        Ok(count) => reports.extend((0..count).map(|n| report(format!("npu:{n}")))),
        Err(error) => reports.push(DeviceReport { name: "npu".into(), soc: Err(error), is_simulated: false }),
    }
    reports
}

fn report(name: String) -> DeviceReport {
    let device = Device::open(&name);
    let is_simulated = device.as_ref().is_ok_and(Device::is_simulated);
    DeviceReport { name, soc: device.map(|device| device.soc()), is_simulated }
}

fn npu_count() -> Result<u32> {
    let table = Backend::Npu.table()?;
    let is_simulated = Backend::Npu.is_simulated();
    initialize(table, is_simulated)?;
    let mut count = 0;
    // SAFETY: the pointer is to a live integer.
    let code = unsafe { (table.aclrtGetDeviceCount)(&raw mut count) };
    check(table, is_simulated, "aclrtGetDeviceCount", code)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[cfg(feature = "sim")]
    #[test]
    fn names_of_simulated_devices() {
        for (name, number) in [("sim", 0), ("sim:3", 3)] {
            let (backend, got) = parse(name).unwrap();
            assert!(backend == Backend::Simulator && got == number, "{name}");
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
        assert!(parse("npu:1").is_ok_and(|(b, n)| b == Backend::Npu && n == 1));
        for name in ["", "gpu", "npu:", "npu:-1", "npu:x", "npu:1:2"] {
            assert_eq!(parse(name).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        }
    }
}
