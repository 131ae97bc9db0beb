//! Operands of copies and fills: where a pointer points, and whether its range lies there.

#![allow(unsafe_code, reason = "says which threads may have host memory that C callers point to")]

use std::sync::Arc;

use ascend_sys::{codes, memcpy_kind};

use super::device::find_device;
use super::pinned::{find_pinned, HostAllocation};
use crate::acl::border::{refuse, Outcome};
use crate::acl::device::SimDevice;
use crate::acl::flight::Part;
use crate::engine::{Allocation, Uses};

/// One end of a copy; device memory and pinned memory are kept alive by it.
pub(super) enum End {
    Device { device: Arc<SimDevice>, allocation: Arc<dyn Allocation>, address: u64 },
    Host { pointer: *mut u8, pinned: Option<Arc<HostAllocation>> },
}

impl End {
    /// The use of `height` rows of `width` bytes of it, a pitch apart; host memory is not followed.
    pub(super) fn part(
        &self,
        name: &'static str,
        [width, height, pitch]: [usize; 3],
        uses: Uses,
    ) -> Option<Part> {
        let End::Device { device, allocation, address } = self else { return None };
        let starts = (0..height as u64).map(|row| address + row * pitch as u64);
        Some(Part::of_rows(
            device.id(),
            allocation.as_ref(),
            starts.map(|at| at..at + width as u64),
            uses,
            name,
        ))
    }
}

// SAFETY: a host pointer in it is valid for the copy on any thread: by the contract of the C copy functions
// until the stream is synchronised, or until the graph that keeps the copy is destroyed.
unsafe impl Send for End {}
// SAFETY: as above. A graph that keeps an `End` uses it on the threads of the streams that run the graph; two
// at the same time only where the program runs it twice at the same time, whose copies then race as any two.
unsafe impl Sync for End {}

/// Which memory an operand must be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Device,
    Host,
    Any,
}

pub(super) fn wants(kind: u32) -> Outcome<(Want, Want)> {
    Ok(match kind {
        memcpy_kind::HOST_TO_HOST => (Want::Host, Want::Host),
        memcpy_kind::HOST_TO_DEVICE => (Want::Device, Want::Host),
        memcpy_kind::DEVICE_TO_HOST => (Want::Host, Want::Device),
        memcpy_kind::DEVICE_TO_DEVICE => (Want::Device, Want::Device),
        memcpy_kind::DEFAULT => (Want::Any, Want::Any),
        _ => return refuse(codes::RT_PARAM_INVALID, format!("kind = {kind} given, 0 to 4 wanted")),
    })
}

/// Finds the memory of an operand and checks its range. A host pointer outside pinned memory cannot be
/// checked.
///
/// ASSUMPTION(copy-range-code): 107000 for a range that leaves its allocation.
pub(super) fn end(name: &str, pointer: *mut u8, len: usize, want: Want) -> Outcome<End> {
    if pointer.is_null() {
        return refuse(codes::INVALID_PARAM, format!("{name} = NULL given, {len} bytes wanted"));
    }
    if isize::try_from(len).is_err() {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("{name}: {len} bytes given, at most {} wanted", isize::MAX),
        );
    }
    let address = pointer.addr();
    let past = |at: u64, size: u64| {
        refuse(
            codes::RT_PARAM_INVALID,
            format!("{name}: {len} bytes at byte {at} of an allocation of {size} bytes"),
        )
    };
    if let Some((device, allocation)) = find_device(address as u64) {
        let at = address as u64 - allocation.base();
        if len as u64 > allocation.size() - at {
            return past(at, allocation.size());
        }
        return Ok(End::Device { device, allocation, address: address as u64 });
    }
    if want == Want::Device {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("{name} = {address:#x} given, where no device memory is allocated (freed?); device memory wanted"),
        );
    }
    let pinned = find_pinned(address);
    if let Some(allocation) = &pinned {
        let at = address - allocation.base.addr().get();
        if len > allocation.len - at {
            return past(at as u64, allocation.len as u64);
        }
    }
    Ok(End::Host { pointer, pinned })
}

/// The allocation that holds a range of device memory, and the range's address.
pub(in crate::acl) fn device_range(
    name: &str,
    pointer: *mut u8,
    len: usize,
) -> Outcome<(Arc<dyn Allocation>, u64)> {
    match end(name, pointer, len, Want::Device)? {
        End::Device { allocation, address, .. } => Ok((allocation, address)),
        End::Host { .. } => unreachable!("`end` refuses host memory where device memory is wanted"),
    }
}
