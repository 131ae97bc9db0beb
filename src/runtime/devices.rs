//! Which devices there are.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use super::device::{initialize, Device};
use super::kinds::NPU;
use crate::driver::codes;
use crate::{DriverCode, Error, Result, Soc};

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
    /// Are its kernels for the host's own cores? `soc` is the one that plans are made for then.
    pub is_host: bool,
}

/// What can be opened on this machine, and why the rest cannot.
pub fn devices() -> Vec<DeviceReport> {
    let mut reports = vec![report("sim:0".into())];
    match npu_count() {
        Ok(0) => reports.push(no_npu(Error::driver(
            crate::ErrorKind::NoDevice,
            DriverCode::Acl(codes::RT_NO_DEVICE),
            "the ACL library was loaded, and aclrtGetDeviceCount finds no NPU",
        ))),
        Ok(count) => reports.extend((0..count).map(|n| report(format!("npu:{n}")))),
        Err(error) => reports.push(no_npu(error)),
    }
    #[cfg(feature = "cpu")]
    reports.push(report_of_host());
    reports
}

fn no_npu(error: Error) -> DeviceReport {
    DeviceReport { name: "npu".into(), soc: Err(error), is_simulated: false, is_host: false }
}

fn report(name: String) -> DeviceReport {
    let device = Device::open(&name);
    let is_simulated = device.as_ref().is_ok_and(Device::has_model_time);
    let is_host = device.as_ref().is_ok_and(Device::runs_on_host);
    DeviceReport { name, soc: device.map(|device| device.soc()), is_simulated, is_host }
}

/// Of `cpu:0`, which is not opened to be listed: that would start its threads.
#[cfg(feature = "cpu")]
fn report_of_host() -> DeviceReport {
    let name = "cpu:0".to_owned();
    match super::kinds::described_host() {
        Some(soc) => DeviceReport { name, is_simulated: false, is_host: soc.is_ok(), soc },
        None => report(name),
    }
}

fn npu_count() -> Result<u32> {
    let acl = NPU.acl()?;
    initialize(acl)?;
    let mut count = 0;
    // SAFETY: the pointer is to a live integer.
    let code = unsafe { (acl.table.aclrtGetDeviceCount)(&raw mut count) };
    acl.check("aclrtGetDeviceCount", code)?;
    Ok(count)
}
