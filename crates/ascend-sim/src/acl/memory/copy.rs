//! Copies between host and devices, and between devices.

#![allow(unsafe_code, reason = "reads and writes host memory that C callers point to")]

use std::sync::Arc;

use ascend_sys::codes;

use super::end::{end, wants, End};
use super::CHUNK;
use crate::acl::border::{refuse, Outcome};
use crate::acl::capture::Issued;
use crate::acl::device::SimDevice;
use crate::acl::flight::{Flight, Part};
use crate::acl::stream::Stream;
use crate::acl::{order, peers};
use crate::engine::{Allocation, Collective, Uses};
use crate::timeline::{HostPart, TimedWork};

/// Rows of a copy: `height` of `width` bytes, a pitch apart on each side.
#[derive(Clone, Copy)]
pub(in crate::acl) struct Rows {
    pub(in crate::acl) width: usize,
    pub(in crate::acl) height: usize,
    pub(in crate::acl) dst_pitch: usize,
    pub(in crate::acl) src_pitch: usize,
}

impl Rows {
    /// Bytes from the first to the last, pitches between them included.
    fn span(&self, pitch: usize) -> usize {
        let before = (self.height - 1).checked_mul(pitch);
        before.and_then(|before| before.checked_add(self.width)).unwrap_or(usize::MAX)
    }
}

/// A checked copy.
pub(in crate::acl) struct Copy {
    dst: End,
    src: End,
    rows: Rows,
}

impl Copy {
    /// Checks a copy. The kind is advisory, as in CANN: what matters is where the pointers point, except that
    /// a pointer that must be device memory and is not is refused.
    pub(in crate::acl) fn new(
        dst: *mut u8,
        dest_max: usize,
        src: *mut u8,
        len: usize,
        kind: u32,
    ) -> Outcome<Copy> {
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
    pub(in crate::acl) fn of_rows(dst: *mut u8, src: *mut u8, rows: Rows, kind: u32) -> Outcome<Copy> {
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

    pub(in crate::acl) fn is_host_to_host(&self) -> bool {
        matches!((&self.dst, &self.src), (End::Host { .. }, End::Host { .. }))
    }

    /// May the copy run after the call returns? Not with pageable memory, whose owner may be gone by then.
    pub(in crate::acl) fn may_be_asynchronous(&self) -> bool {
        [&self.dst, &self.src].iter().all(|end| !matches!(end, End::Host { pinned: None, .. }))
    }

    /// Copies.
    ///
    /// # Errors
    /// When the host has no memory for a part of the data.
    ///
    /// # Safety
    /// A host end is valid for the rows, for reading or for writing, and nobody changes it meanwhile.
    pub(in crate::acl) unsafe fn perform(&self) -> Outcome {
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
                copy_on_device(target.as_ref(), *dst + to as u64, source.as_ref(), *src + from as u64, len)?;
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
fn copy_on_device(to: &dyn Allocation, dst: u64, from: &dyn Allocation, src: u64, len: usize) -> Outcome {
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

/// A copy on a timeline.
///
/// ASSUMPTION(copy-time): a copy within a device reads and writes HBM at its full rate, one between devices
/// is a transfer over their link, one from or to the host takes what the rates of that link say, if there are
/// any, and no time else.
fn copy_step(copy: &Copy, device: &SimDevice) -> TimedWork {
    let engine = device.engine();
    let bytes = copy.rows.width as u64 * copy.rows.height as u64;
    if let Some(link) = device.config().host_link {
        let on_host = |part, rate: f64| TimedWork::Host { part, bytes, us: bytes as f64 / rate * 1e6 };
        match (&copy.dst, &copy.src) {
            (End::Host { .. }, End::Device { .. }) => return on_host(HostPart::Down, link.down_bytes_per_s),
            (End::Device { .. }, End::Host { .. }) => return on_host(HostPart::Up, link.up_bytes_per_s),
            _ => {}
        }
    }
    let us = match (&copy.dst, &copy.src) {
        (End::Device { device: to, .. }, End::Device { device: from, .. }) if to.id() == from.id() => {
            engine.memory_us(2 * bytes)
        }
        (End::Device { .. }, End::Device { .. }) => {
            engine.transfer_time(Collective::SendRecv, bytes, 2).alone_us
        }
        _ => 0.0,
    };
    TimedWork::Copy { name: "copy", bytes, us }
}

/// Queues a copy, and waits for it where an end is pageable host memory (acl-runtime.md 1.6).
///
/// # Safety
/// As [`Copy::perform`], until the stream reaches it.
pub(in crate::acl) unsafe fn copy_async(copy: Copy, stream: &Arc<Stream>) -> Outcome {
    if copy.is_host_to_host() {
        return refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            "an asynchronous copy from host to host is not supported",
        );
    }
    let is_pageable = !copy.may_be_asynchronous();
    if is_pageable && stream.capture().is_some() {
        return refuse(
            codes::RT_PARAM_INVALID,
            "pageable host memory given to a stream that is captured, memory of aclrtMallocHost wanted",
        );
    }
    let work = move |stream: &Stream, flight: Flight, _: Issued| {
        let flight = flight.start(stream);
        // SAFETY: by this function's contract; pageable memory is waited for below, pinned memory is kept by
        // `copy`.
        unsafe { copy.perform() }?;
        flight.end_of("a copy", || copy.parts().collect())?;
        stream.log(|| copy_step(&copy, &stream.device));
        Ok(())
    };
    if !is_pageable {
        return stream.dispatch_flight(work);
    }
    let number = {
        let (_turn, flight) = (stream.turn(), Flight::queue(stream));
        stream.submit(move |stream: &Stream| work(stream, flight, Issued::ByHost))?
    };
    stream.wait_for(number)
}
