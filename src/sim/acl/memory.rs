//! Memory: pinned host allocations, and copies between host and device with their checks.

#![allow(unsafe_code, reason = "reads and writes host memory that C callers point to")]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::border::{refuse, Outcome};
use super::device::{self, Context, SimDevice};
use super::flight::{Flight, Part};
use super::order;
use super::peers;
use super::stream::Stream;
use crate::driver::{codes, mem_attr, memcpy_kind};
use crate::sim::dav_c220::access::Uses;
use crate::sim::dav_c220::access::{Allocation, NoRoom};
use crate::sim::timeline::Step;
use crate::soc::Collective;
use crate::Soc;

/// Bytes that a copy between host and device moves through a buffer at once.
const CHUNK: usize = 1 << 16;

/// One cache line: the alignment of pinned memory.
#[derive(Clone)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "bytes for the client, reached by pointer")] [u8; 64]);

/// Memory of `aclrtMallocHost`. A queued copy keeps it, so that freeing it too early cannot crash the simulator.
pub(super) struct HostAllocation {
    base: NonNull<u8>,
    len: usize,
    _lines: Vec<Line>,
}

// SAFETY: the memory is owned and has no thread affinity.
unsafe impl Send for HostAllocation {}
// SAFETY: this type gives out the address and length only; who may touch the bytes when is the client's contract with
// the C functions, as it is with `malloc`.
unsafe impl Sync for HostAllocation {}

static PINNED: Mutex<BTreeMap<usize, Arc<HostAllocation>>> = Mutex::new(BTreeMap::new());

fn pinned() -> MutexGuard<'static, BTreeMap<usize, Arc<HostAllocation>>> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocates pinned host memory, zeroed.
pub(super) fn alloc_host(len: usize) -> Outcome<*mut u8> {
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

pub(super) fn free_host(address: usize) -> Outcome {
    let freed = pinned().remove(&address);
    match freed {
        Some(_) => Ok(()),
        None => refuse(
            codes::RT_PARAM_INVALID,
            format!("{address:#x} given, a pointer of aclrtMallocHost that is not freed wanted"),
        ),
    }
}

fn find_pinned(address: usize) -> Option<Arc<HostAllocation>> {
    let pinned = pinned();
    let (base, allocation) = pinned.range(..=address).next_back()?;
    (address < base + allocation.len).then(|| Arc::clone(allocation))
}

/// The device allocation that contains `address`, on any device.
pub(in crate::sim) fn find_device(address: u64) -> Option<(Arc<SimDevice>, Arc<Allocation>)> {
    device::all().into_iter().find_map(|d| {
        let allocation = d.memory.find(address)?;
        Some((d, allocation))
    })
}

/// Where a pointer points, for `aclrtPointerGetAttributes`.
pub(super) enum Place {
    Device(i32),
    Pinned,
    Unknown,
}

pub(super) fn place_of(address: usize) -> Place {
    match find_device(address as u64) {
        Some((device, _)) => Place::Device(device.id()),
        None if find_pinned(address).is_some() => Place::Pinned,
        None => Place::Unknown,
    }
}

/// Allocates on the device of the current context.
///
/// The size is not rounded up as CANN does (to 32 bytes plus 32): an access past the end must show here.
pub(super) fn alloc(context: &Context, len: usize) -> Outcome<u64> {
    if len == 0 {
        return refuse(codes::INVALID_PARAM, "size = 0 given, at least 1 byte wanted");
    }
    alloc_on(&context.device, len as u64)
}

/// Allocates on a device, or tells which of device and host has no room.
pub(super) fn alloc_on(device: &SimDevice, len: u64) -> Outcome<u64> {
    let (memory, device) = (&device.memory, device.id());
    memory.alloc(len).or_else(|why| {
        let text = match why {
            NoRoom::OnDevice { free } => {
                format!("{len} bytes wanted, {free} of {} bytes free on device {device}", memory.capacity())
            }
            NoRoom::OnHost => format!(
                "{len} bytes wanted for device {device}, which has them: the host, whose memory the simulator takes, has not"
            ),
        };
        refuse(codes::RT_MEMORY_ALLOCATION, text)
    })
}

/// ASSUMPTION(free-unknown-code): 107000 for a pointer that is no allocation.
pub(super) fn free(address: u64) -> Outcome {
    let wrong = |what: &str| {
        refuse(
            codes::RT_PARAM_INVALID,
            format!("{address:#x} given, {what}; a pointer of aclrtMalloc wanted"),
        )
    };
    match find_device(address) {
        None => wrong("where nothing is allocated (freed before?)"),
        Some((_, a)) if a.base() != address => {
            wrong(&format!("byte {} of an allocation of {} bytes", address - a.base(), a.len()))
        }
        Some((device, _)) if device.memory.free(address) => Ok(()),
        Some(_) => wrong("which another thread freed at the same time"),
    }
}

/// One end of a copy; device memory and pinned memory are kept alive by it.
pub(super) enum End {
    Device { device: Arc<SimDevice>, allocation: Arc<Allocation>, address: u64 },
    Host { pointer: *mut u8, pinned: Option<Arc<HostAllocation>> },
}

impl End {
    /// The use of `height` rows of `width` bytes of it, a pitch apart; host memory is not followed.
    fn part(&self, name: &'static str, [width, height, pitch]: [usize; 3], uses: Uses) -> Option<Part> {
        let End::Device { device, allocation, address } = self else { return None };
        let starts = (0..height as u64).map(|row| address + row * pitch as u64);
        Some(Part::of_rows(device.id(), allocation, starts.map(|at| at..at + width as u64), uses, name))
    }
}

// SAFETY: an `End` is used by one thread at a time, and a host pointer in it is valid for the copy on any thread: by the
// contract of the C copy functions until the stream is synchronised.
unsafe impl Send for End {}

/// Which memory an operand must be in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Device,
    Host,
    Any,
}

fn wants(kind: u32) -> Outcome<(Want, Want)> {
    Ok(match kind {
        memcpy_kind::HOST_TO_HOST => (Want::Host, Want::Host),
        memcpy_kind::HOST_TO_DEVICE => (Want::Device, Want::Host),
        memcpy_kind::DEVICE_TO_HOST => (Want::Host, Want::Device),
        memcpy_kind::DEVICE_TO_DEVICE => (Want::Device, Want::Device),
        memcpy_kind::DEFAULT => (Want::Any, Want::Any),
        _ => return refuse(codes::RT_PARAM_INVALID, format!("kind = {kind} given, 0 to 4 wanted")),
    })
}

/// Finds the memory of an operand and checks its range. A host pointer outside pinned memory cannot be checked.
///
/// ASSUMPTION(copy-range-code): 107000 for a range that leaves its allocation.
fn end(name: &str, pointer: *mut u8, len: usize, want: Want) -> Outcome<End> {
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
        if len as u64 > allocation.len() - at {
            return past(at, allocation.len());
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
pub(super) fn device_range(name: &str, pointer: *mut u8, len: usize) -> Outcome<(Arc<Allocation>, u64)> {
    match end(name, pointer, len, Want::Device)? {
        End::Device { allocation, address, .. } => Ok((allocation, address)),
        End::Host { .. } => unreachable!("`end` refuses host memory where device memory is wanted"),
    }
}

/// Rows of a copy: `height` of `width` bytes, a pitch apart on each side.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) dst_pitch: usize,
    pub(super) src_pitch: usize,
}

impl Rows {
    /// Bytes from the first to the last, pitches between them included.
    fn span(&self, pitch: usize) -> usize {
        let before = (self.height - 1).checked_mul(pitch);
        before.and_then(|before| before.checked_add(self.width)).unwrap_or(usize::MAX)
    }
}

/// A checked copy.
pub(super) struct Copy {
    dst: End,
    src: End,
    rows: Rows,
}

impl Copy {
    /// Checks a copy. The kind is advisory, as in CANN: what matters is where the pointers point, except that a
    /// pointer that must be device memory and is not is refused.
    pub(super) fn new(dst: *mut u8, dest_max: usize, src: *mut u8, len: usize, kind: u32) -> Outcome<Copy> {
        if len > dest_max {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("count = {len} given, at most destMax = {dest_max} wanted"),
            );
        }
        let (want_dst, want_src) = wants(kind)?;
        let (dst, src) = (end("dst", dst, len, want_dst)?, end("src", src, len, want_src)?);
        if let (End::Device { device: to, .. }, End::Device { device: from, .. }) = (&dst, &src) {
            peers::check_copy(from, to)?;
        }
        let rows = Rows { width: len, height: 1, dst_pitch: len, src_pitch: len };
        Ok(Copy { dst, src, rows })
    }

    /// Checks a copy of at least one row. It takes as long for any number of rows.
    pub(super) fn of_rows(dst: *mut u8, src: *mut u8, rows: Rows, kind: u32) -> Outcome<Copy> {
        let Rows { width, height, dst_pitch, src_pitch } = rows;
        let first = Copy::new(dst, width, src, width, kind)?;
        // The last row by itself, which gives the clearer text.
        let last = |start: *mut u8, pitch: usize| start.wrapping_add((height - 1).wrapping_mul(pitch));
        Copy::new(last(dst, dst_pitch), width, last(src, src_pitch), width, kind)?;
        let (want_dst, want_src) = wants(kind)?;
        end("dst", dst, rows.span(dst_pitch), want_dst)?;
        end("src", src, rows.span(src_pitch), want_src)?;
        Ok(Copy { rows, ..first })
    }

    /// What it uses of device memory.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let Rows { width, height, dst_pitch, src_pitch } = self.rows;
        let dst = self.dst.part("dst", [width, height, dst_pitch], Uses::WRITE);
        let src = self.src.part("src", [width, height, src_pitch], Uses::READ);
        dst.into_iter().chain(src)
    }

    pub(super) fn is_host_to_host(&self) -> bool {
        matches!((&self.dst, &self.src), (End::Host { .. }, End::Host { .. }))
    }

    /// May the copy run after the call returns? Not with pageable memory, whose owner may be gone by then.
    pub(super) fn may_be_asynchronous(&self) -> bool {
        [&self.dst, &self.src].iter().all(|end| !matches!(end, End::Host { pinned: None, .. }))
    }

    /// Copies.
    ///
    /// # Errors
    /// When the host has no memory for a part of the data.
    ///
    /// # Safety
    /// A host end is valid for the rows, for reading or for writing, and nobody changes it meanwhile.
    pub(super) unsafe fn perform(&self) -> Outcome {
        for row in 0..self.rows.height {
            // SAFETY: as this function's contract says.
            unsafe { self.perform_row(row * self.rows.dst_pitch, row * self.rows.src_pitch) }?;
        }
        Ok(())
    }

    /// Copies the row that starts so many bytes behind the first.
    ///
    /// # Safety
    /// As for [`Self::perform`].
    unsafe fn perform_row(&self, to: usize, from: usize) -> Outcome {
        let len = self.rows.width;
        match (&self.dst, &self.src) {
            (End::Device { allocation, address, .. }, End::Host { pointer, .. }) => {
                let pointer = pointer.cast_const().wrapping_add(from);
                order::reads(pointer, len);
                // SAFETY: readable for `len` bytes by this function's contract.
                let bytes = unsafe { std::slice::from_raw_parts(pointer, len) };
                allocation.write(*address + to as u64, bytes);
            }
            (End::Host { pointer, .. }, End::Device { allocation, address, .. }) => {
                let pointer = pointer.wrapping_add(to);
                order::writes(pointer, len);
                let mut buffer = vec![0; len.min(CHUNK)];
                for at in (0..len).step_by(CHUNK) {
                    let part = &mut buffer[..CHUNK.min(len - at)];
                    allocation.read(*address + (from + at) as u64, part);
                    // SAFETY: `at` lies inside the `len` bytes that this function's contract makes writable.
                    let to = unsafe { pointer.add(at) };
                    // SAFETY: the part ends inside those bytes, and `buffer` is new memory.
                    unsafe { part.as_ptr().copy_to_nonoverlapping(to, part.len()) };
                }
            }
            (
                End::Device { allocation: target, address: dst, .. },
                End::Device { allocation: source, address: src, .. },
            ) => {
                copy_on_device(target, *dst + to as u64, source, *src + from as u64, len)?;
            }
            (End::Host { pointer: dst, .. }, End::Host { pointer: src, .. }) => {
                let (dst, src) = (dst.wrapping_add(to), src.cast_const().wrapping_add(from));
                order::reads(src, len);
                order::writes(dst, len);
                // SAFETY: both valid for `len` bytes by this function's contract; `copy` allows an overlap.
                unsafe { src.copy_to(dst, len) };
            }
        }
        Ok(())
    }
}

/// Copies bytes, and for bytes that were never written that fact. Ranges may overlap, as in `memmove`.
fn copy_on_device(to: &Allocation, dst: u64, from: &Allocation, src: u64, len: usize) -> Outcome {
    // A copy may be as large as the device: it goes in parts, from the end that an overlap does not spoil.
    let count = len.div_ceil(CHUNK);
    for i in 0..count {
        let at = CHUNK * if src < dst { count - 1 - i } else { i };
        let part = CHUNK.min(len - at);
        let Some(contents) = from.load(src + at as u64, part) else {
            return refuse(
                codes::RT_MEMORY_ALLOCATION,
                format!("the host has no memory for {part} bytes of a copy"),
            );
        };
        to.store(dst + at as u64, &contents);
    }
    Ok(())
}

/// A checked fill.
pub(super) struct Fill {
    place: End,
    value: u8,
    len: usize,
}

impl Fill {
    /// Checks a fill of device memory or of pinned host memory, which the samples of the open runtime fill too.
    pub(super) fn new(pointer: *mut u8, max: usize, value: i32, len: usize) -> Outcome<Fill> {
        if len > max {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("count = {len} given, at most maxCount = {max} wanted"),
            );
        }
        let place = end("devPtr", pointer, len, Want::Any)?;
        if let End::Host { pinned: None, .. } = place {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!(
                    "devPtr = {:#x} given, device memory wanted, or that of aclrtMallocHost",
                    pointer.addr()
                ),
            );
        }
        // As memset: the low byte counts.
        Ok(Fill { place, value: value.to_le_bytes()[0], len })
    }

    /// The fill on a timeline.
    fn step(&self, soc: &Soc) -> Step {
        let bytes = self.len as u64;
        let us = match &self.place {
            End::Device { .. } => hbm_us(soc, 1, bytes),
            End::Host { .. } => 0.0,
        };
        Step::Copy { name: "fill", bytes, us }
    }

    /// Queues it.
    pub(super) fn submit(self, on: &Arc<Stream>) -> Outcome {
        let flight = Flight::queue(on);
        let work = move |stream: &Stream| {
            let flight = flight.start(stream);
            self.perform();
            flight.end_of("a fill", || {
                self.place.part("devPtr", [self.len, 1, 0], Uses::WRITE).into_iter().collect()
            })?;
            stream.log(|| self.step(stream.config().soc));
            Ok(())
        };
        on.submit(work).map(drop)
    }

    pub(super) fn perform(&self) {
        match &self.place {
            End::Device { allocation, address, .. } => {
                let bytes = vec![self.value; self.len.min(CHUNK)];
                for at in (0..self.len).step_by(CHUNK) {
                    allocation.write(address + at as u64, &bytes[..CHUNK.min(self.len - at)]);
                }
            }
            End::Host { pointer, .. } => {
                order::writes(*pointer, self.len);
                // SAFETY: `new` takes pinned memory only, whose range `end` has checked and whose allocation `place`
                // keeps; who else uses the bytes meanwhile is the client's contract, as for copies.
                unsafe { pointer.write_bytes(self.value, self.len) };
            }
        }
    }
}

/// Model time of `passes` times `bytes` between HBM and an engine that does nothing else.
pub(super) fn hbm_us(soc: &Soc, passes: u32, bytes: u64) -> f64 {
    f64::from(passes) * bytes as f64 / (soc.timing.memory.hbm_gbps * 1e3)
}

/// A copy on a timeline.
///
/// ASSUMPTION(copy-time): a copy within a device reads and writes HBM at its full rate, one between devices is a transfer over their
/// link, one from or to the host takes no time.
fn copy_step(copy: &Copy, soc: &Soc) -> Step {
    let bytes = copy.rows.width as u64 * copy.rows.height as u64;
    let us = match (&copy.dst, &copy.src) {
        (End::Device { device: to, .. }, End::Device { device: from, .. }) if to.id() == from.id() => {
            hbm_us(soc, 2, bytes)
        }
        (End::Device { .. }, End::Device { .. }) => soc.links.microseconds(Collective::SendRecv, bytes, 2),
        _ => 0.0,
    };
    Step::Copy { name: "copy", bytes, us }
}

/// Queues a copy, and waits for it where an end is pageable host memory (acl-runtime.md 1.6).
///
/// # Safety
/// As [`Copy::perform`], until the stream reaches it.
pub(super) unsafe fn copy_async(copy: Copy, stream: &Arc<Stream>) -> Outcome {
    if copy.is_host_to_host() {
        return refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            "an asynchronous copy from host to host is not supported",
        );
    }
    let wait = !copy.may_be_asynchronous();
    let flight = Flight::queue(stream);
    let number = stream.submit(move |stream: &Stream| {
        let flight = flight.start(stream);
        // SAFETY: by this function's contract; pageable memory is waited for below, pinned memory is kept by `copy`.
        unsafe { copy.perform() }?;
        flight.end_of("a copy", || copy.parts().collect())?;
        stream.log(|| copy_step(&copy, stream.config().soc));
        Ok(())
    })?;
    if wait {
        stream.wait_for(number)?;
    }
    Ok(())
}

/// Free and total bytes for an `aclrtMemAttr`.
pub(super) fn info(context: &Context, attr: u32) -> Outcome<(u64, u64)> {
    let memory = &context.device.memory;
    match attr {
        // HBM and its huge and normal pages: one pool here.
        1 | 4 | 5 => Ok((memory.capacity() - memory.used(), memory.capacity())),
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
