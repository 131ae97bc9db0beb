//! Device memory as the C functions name it.

use std::sync::Arc;

use ascend_sys::{codes, mem_attr};

use super::pinned::find_pinned;
use crate::acl::border::{refuse, Outcome};
use crate::acl::device::{self, Context, SimDevice};
use crate::engine::{Allocation, NoRoom};

/// The device allocation that contains `address`, on any device.
pub(crate) fn find_device(address: u64) -> Option<(Arc<SimDevice>, Arc<dyn Allocation>)> {
    device::all().into_iter().find_map(|d| {
        let allocation = d.engine().find(address)?;
        Some((d, allocation))
    })
}

/// Where a pointer points, for `aclrtPointerGetAttributes`.
pub(in crate::acl) enum Location {
    Device(i32),
    Pinned,
    Unknown,
}

pub(in crate::acl) fn location_of(address: usize) -> Location {
    match find_device(address as u64) {
        Some((device, _)) => Location::Device(device.id()),
        None if find_pinned(address).is_some() => Location::Pinned,
        None => Location::Unknown,
    }
}

/// Allocates on the device of the current context.
///
/// The size is not rounded up as CANN does (to 32 bytes plus 32): an access past the end must show here.
pub(in crate::acl) fn alloc(context: &Context, len: usize) -> Outcome<u64> {
    if len == 0 {
        return refuse(codes::INVALID_PARAM, "size = 0 given, at least 1 byte wanted");
    }
    alloc_on(&context.device, len as u64)
}

/// Allocates on a device, or tells which of device and host has no room.
pub(in crate::acl) fn alloc_on(device: &SimDevice, len: u64) -> Outcome<u64> {
    let (engine, device) = (device.engine(), device.id());
    engine.alloc(len).or_else(|why| {
        let text = match why {
            NoRoom::OnDevice { free } => {
                format!("{len} bytes wanted, {free} of {} bytes free on device {device}", engine.capacity())
            }
            NoRoom::OnHost => format!(
                "{len} bytes wanted for device {device}, which has them: the host, whose memory the simulator takes, has not"
            ),
        };
        refuse(codes::RT_MEMORY_ALLOCATION, text)
    })
}

/// ASSUMPTION(free-unknown-code): 107000 for a pointer that is no allocation.
pub(in crate::acl) fn free(address: u64) -> Outcome {
    let wrong = |what: &str| {
        refuse(
            codes::RT_PARAM_INVALID,
            format!("{address:#x} given, {what}; a pointer of aclrtMalloc wanted"),
        )
    };
    match find_device(address) {
        None => wrong("where nothing is allocated (freed before?)"),
        Some((_, a)) if a.base() != address => {
            wrong(&format!("byte {} of an allocation of {} bytes", address - a.base(), a.size()))
        }
        Some((device, _)) if device.engine().free(address) => Ok(()),
        Some(_) => wrong("which another thread freed at the same time"),
    }
}

/// Free and total bytes for an `aclrtMemAttr`.
pub(in crate::acl) fn info(context: &Context, attr: u32) -> Outcome<(u64, u64)> {
    let engine = context.device.engine();
    match attr {
        // HBM and its huge and normal pages: one pool here.
        1 | 4 | 5 => Ok((engine.capacity() - engine.used(), engine.capacity())),
        // DDR and its pages: a 910B has none.
        0 | 2 | 3 => Ok((0, 0)),
        6..=mem_attr::LAST => refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            format!("attr = {attr}: peer and 1 GiB pages are not simulated"),
        ),
        _ => refuse(
            codes::RT_INVALID_MEMORY_TYPE,
            format!("attr = {attr} given, 0 to {} wanted", mem_attr::LAST),
        ),
    }
}
