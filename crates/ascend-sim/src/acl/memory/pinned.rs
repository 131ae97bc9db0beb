//! Pinned host memory.

#![allow(unsafe_code, reason = "says which threads may have host memory that C callers point to")]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ascend_sys::codes;

use crate::acl::border::{refuse, Outcome};

/// One cache line: the alignment of pinned memory.
#[derive(Clone)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "bytes for the client, reached by pointer")] [u8; 64]);

/// Memory of `aclrtMallocHost`. A queued copy keeps it, so that freeing it too early cannot crash the
/// simulator.
pub(super) struct HostAllocation {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
    _lines: Vec<Line>,
}

// SAFETY: the memory is owned and has no thread affinity.
unsafe impl Send for HostAllocation {}
// SAFETY: this type gives out the address and length only; who may touch the bytes when is the client's
// contract with the C functions, as it is with `malloc`.
unsafe impl Sync for HostAllocation {}

static PINNED: Mutex<BTreeMap<usize, Arc<HostAllocation>>> = Mutex::new(BTreeMap::new());

fn pinned() -> MutexGuard<'static, BTreeMap<usize, Arc<HostAllocation>>> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocates pinned host memory, zeroed.
pub(in crate::acl) fn alloc_host(len: usize) -> Outcome<*mut u8> {
    if len == 0 {
        return refuse(codes::INVALID_PARAM, "size = 0 given, at least 1 byte wanted");
    }
    let mut lines = Vec::new();
    if lines.try_reserve_exact(len.div_ceil(64)).is_err() {
        return refuse(codes::RT_MEMORY_ALLOCATION, format!("the host has no {len} bytes"));
    }
    lines.resize(len.div_ceil(64), Line([0; 64]));
    let base = NonNull::from(lines.as_mut_slice()).cast::<u8>();
    pinned().insert(base.addr().get(), Arc::new(HostAllocation { base, len, _lines: lines }));
    Ok(base.as_ptr())
}

pub(in crate::acl) fn free_host(address: usize) -> Outcome {
    let freed = pinned().remove(&address);
    match freed {
        Some(_) => Ok(()),
        None => refuse(
            codes::RT_PARAM_INVALID,
            format!("{address:#x} given, a pointer of aclrtMallocHost that is not freed wanted"),
        ),
    }
}

pub(super) fn find_pinned(address: usize) -> Option<Arc<HostAllocation>> {
    let pinned = pinned();
    let (base, allocation) = pinned.range(..=address).next_back()?;
    (address < base + allocation.len).then(|| Arc::clone(allocation))
}
