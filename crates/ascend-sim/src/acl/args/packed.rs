//! Arguments as a launch takes them.

use std::sync::Arc;

use ascend_sys::{codes, PlaceHolderInfo};

use super::given::{word, Given};
use crate::acl::border::{refuse, Outcome, Refusal};
use crate::acl::device::SimDevice;
use crate::acl::memory;

/// Arguments in the form that a launch takes.
pub(in crate::acl) struct Packed {
    pub(in crate::acl) slots: Vec<u64>,
    /// Device memory with the slots and the placeholder data; freed when the launch has ended.
    _block: Option<DeviceBlock>,
}

/// Device memory of one launch.
struct DeviceBlock {
    device: Arc<SimDevice>,
    base: u64,
}

impl Drop for DeviceBlock {
    fn drop(&mut self) {
        self.device.engine().free(self.base);
    }
}

/// Puts a block on the device where placeholders point into it, and patches their slots: (slot, byte of the
/// data).
pub(super) fn pack_bytes(
    mut bytes: Vec<u8>,
    num_slots: usize,
    place_holders: &[(usize, usize)],
    device: &Arc<SimDevice>,
) -> Outcome<Packed> {
    let mut block = None;
    if !place_holders.is_empty() {
        let base = memory::alloc_on(device, bytes.len() as u64)
            .map_err(|r| Refusal { text: format!("argument block: {}", r.text), ..r })?;
        let Some(allocation) = device.engine().find(base) else {
            return refuse(codes::RT_MEMORY_ALLOCATION, "argument block: freed by another thread");
        };
        block = Some(DeviceBlock { device: Arc::clone(device), base });
        for &(slot, data) in place_holders {
            bytes[slot * 8..slot * 8 + 8].copy_from_slice(&(base + data as u64).to_le_bytes());
        }
        allocation.write(base, &bytes);
    }
    let slots = bytes[..num_slots * 8].chunks_exact(8).map(word).collect();
    Ok(Packed { slots, _block: block })
}

/// Arguments of `aclrtLaunchKernelWithHostArgs`: a block laid out by the caller.
pub(in crate::acl) fn pack_host_args(
    given: &Given<'_>,
    num_slots: usize,
    place_holders: &[PlaceHolderInfo],
    device: &Arc<SimDevice>,
) -> Outcome<Packed> {
    if given.len() < num_slots * 8 {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("argsSize = {} given, at least {num_slots} slots of 8 bytes wanted", given.len()),
        );
    }
    let bytes = given.bytes();
    let mut patches = Vec::new();
    for (i, p) in place_holders.iter().enumerate() {
        let (slot, data) = (p.addrOffset as usize, p.dataOffset as usize);
        if slot % 8 != 0 || slot / 8 >= num_slots || data >= bytes.len() {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("placeholder {i} = {{addrOffset {slot}, dataOffset {data}}} given, one of {num_slots} slots of 8 bytes and data inside {} bytes wanted", bytes.len()),
            );
        }
        patches.push((slot / 8, data));
    }
    pack_bytes(bytes.to_vec(), num_slots, &patches, device)
}
