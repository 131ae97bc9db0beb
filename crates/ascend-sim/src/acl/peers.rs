//! Which devices exchange data with which (CANN's API reference, device management; acl-runtime.md 1.6). All
//! simulated devices are in one server, so that each can reach every other once that is enabled.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::device::{self, SimDevice};

/// The devices that a device may reach.
#[derive(Default)]
pub(super) struct Peers(Mutex<BTreeSet<i32>>);

impl Peers {
    fn set(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all, as a reset of the device does.
    pub(super) fn clear(&self) {
        self.set().clear();
    }
}

/// Refuses what are not two devices.
pub(super) fn check_pair(id: i32, peer: i32) -> Outcome {
    device::device(id)?;
    device::device(peer)?;
    if id == peer {
        return refuse(
            codes::RT_INVALID_DEVICE,
            format!("peer = {peer} given, another device than {id} wanted"),
        );
    }
    Ok(())
}

/// Enabling twice is as once.
pub(super) fn enable(device: &SimDevice, peer: i32) -> Outcome {
    check_pair(device.id(), peer)?;
    device.peers.set().insert(peer);
    Ok(())
}

/// ASSUMPTION(peer-disabled-code): 107000 for what is not enabled.
pub(super) fn disable(device: &SimDevice, peer: i32) -> Outcome {
    check_pair(device.id(), peer)?;
    if !device.peers.set().remove(&peer) {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("peer = {peer} given, a device that device {} has access to wanted", device.id()),
        );
    }
    Ok(())
}

/// Checks a copy from the memory of one device to that of another.
///
/// ASSUMPTION(peer-copy): access in one of the two directions is enough, and 107000 without it. The manual
/// says that access has a direction, and not which one a copy takes.
pub(super) fn check_copy(from: &SimDevice, to: &SimDevice) -> Outcome {
    let enabled = |a: &SimDevice, b: &SimDevice| a.peers.set().contains(&b.id());
    if from.id() == to.id() || enabled(from, to) || enabled(to, from) {
        return Ok(());
    }
    refuse(
        codes::RT_PARAM_INVALID,
        format!(
            "a copy from device {} to device {} given, aclrtDeviceEnablePeerAccess between them wanted before",
            from.id(),
            to.id()
        ),
    )
}
