//! Fills.

#![allow(unsafe_code, reason = "writes host memory that C callers point to")]

use std::sync::Arc;

use ascend_sys::codes;

use super::end::{end, End, Want};
use super::CHUNK;
use crate::acl::border::{refuse, Outcome};
use crate::acl::order;
use crate::acl::stream::Stream;
use crate::engine::{Engine, Uses};
use crate::timeline::TimedWork;

/// A checked fill.
pub(in crate::acl) struct Fill {
    place: End,
    value: u8,
    len: usize,
}

impl Fill {
    /// Checks a fill of device memory or of pinned host memory, which the samples of the open runtime fill
    /// too.
    pub(in crate::acl) fn new(pointer: *mut u8, max: usize, value: i32, len: usize) -> Outcome<Fill> {
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
    fn step(&self, engine: &dyn Engine) -> TimedWork {
        let bytes = self.len as u64;
        let us = match &self.place {
            End::Device { .. } => engine.memory_us(bytes),
            End::Host { .. } => 0.0,
        };
        TimedWork::Copy { name: "fill", bytes, us }
    }

    /// Queues it.
    pub(in crate::acl) fn submit(self, on: &Arc<Stream>) -> Outcome {
        on.dispatch_flight(move |stream, flight, _| {
            let flight = flight.start(stream);
            self.perform();
            flight.end_of("a fill", || {
                self.place.part("devPtr", [self.len, 1, 0], Uses::WRITE).into_iter().collect()
            })?;
            stream.log(|| self.step(stream.device.engine()));
            Ok(())
        })
    }

    pub(in crate::acl) fn perform(&self) {
        match &self.place {
            End::Device { allocation, address, .. } => {
                let bytes = vec![self.value; self.len.min(CHUNK)];
                for at in (0..self.len).step_by(CHUNK) {
                    allocation.write(address + at as u64, &bytes[..CHUNK.min(self.len - at)]);
                }
            }
            End::Host { pointer, .. } => {
                order::writes(*pointer, self.len);
                // SAFETY: `new` takes pinned memory only, whose range `end` has checked and whose allocation
                // `place` keeps; who else uses the bytes meanwhile is the client's contract,
                // as for copies.
                unsafe { pointer.write_bytes(self.value, self.len) };
            }
        }
    }
}
