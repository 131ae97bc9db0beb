//! Memory: of devices, pinned on the host, and what copies and fills it.

mod copy;
mod device;
mod end;
mod fill;
mod pinned;

pub(super) use copy::{copy_async, Copy, Rows};
pub(crate) use device::find_device;
pub(super) use device::{alloc, alloc_on, free, info, location_of, Location};
pub(super) use end::device_range;
pub(super) use fill::Fill;
pub(super) use pinned::{alloc_host, free_host};

/// Bytes that a copy between host and device moves through a buffer at once.
const CHUNK: usize = 1 << 16;
