//! `aclrtReduceAsync`: a reduction of two ranges of one device's memory, with the arithmetic of the
//! collectives.

use std::sync::Arc;

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::flight::Part;
use super::memory;
use super::stream::Stream;
use crate::engine::{Allocation, Uses};
use crate::reduce::{reduce, DataType, ReduceOp, ReduceRounding};
use crate::timeline::TimedWork;

/// Bytes that are reduced at once; a multiple of every element.
const CHUNK: usize = 1 << 16;

type Range = (Arc<dyn Allocation>, u64);

/// A checked reduction.
pub(super) struct Reduction {
    dst: Range,
    src: Range,
    len: usize,
    op: ReduceOp,
    data_type: DataType,
}

impl Reduction {
    /// `kind` is an `aclrtReduceKind`, `data_type` an `aclDataType`.
    pub(super) fn new(dst: *mut u8, src: *mut u8, bytes: u64, kind: u32, data_type: i32) -> Outcome<Self> {
        let op = match kind {
            10 => ReduceOp::Sum,
            11 => ReduceOp::Max,
            12 => ReduceOp::Min,
            _ => {
                return refuse(
                    codes::RT_PARAM_INVALID,
                    format!("kind = {kind} given, SUM 10, MAX 11 or MIN 12 wanted"),
                );
            }
        };
        let (data_type, size) = match data_type {
            0 => (DataType::Fp32, 4),
            1 => (DataType::Fp16, 2),
            2 => (DataType::Int8, 1),
            3 => (DataType::Int32, 4),
            6 => (DataType::Int16, 2),
            27 => (DataType::Bfp16, 2),
            _ => {
                return refuse(
                    codes::RT_PARAM_INVALID,
                    format!(
                        "type = {data_type} given, FLOAT 0, FLOAT16 1, INT8 2, INT32 3, INT16 6 or BF16 27 wanted"
                    ),
                );
            }
        };
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        if len == 0 || len % size != 0 {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("count = {bytes} bytes given, a multiple of {size} above 0 wanted"),
            );
        }
        let range = |name, pointer| memory::device_range(name, pointer, len);
        Ok(Self { dst: range("dst", dst)?, src: range("src", src)?, len, op, data_type })
    }

    pub(super) fn submit(self, on: &Arc<Stream>) -> Outcome {
        on.dispatch_flight(move |stream, flight, _| {
            let flight = flight.start(stream);
            self.perform();
            flight.end_of("a reduction", || self.parts(stream.device.id()).into())?;
            let bytes = self.len as u64;
            // Two operands are read, one is written.
            let us = stream.device.engine().memory_us(3 * bytes);
            stream.log(|| TimedWork::Copy { name: "reduction", bytes, us });
            Ok(())
        })
    }

    /// What it uses of device memory.
    fn parts(&self, device: i32) -> [Part; 2] {
        let part = |(allocation, address): &Range, uses, name| {
            Part::of_range(device, allocation.as_ref(), *address..*address + self.len as u64, uses, name)
        };
        [part(&self.dst, Uses::WRITE, "dst"), part(&self.src, Uses::READ, "src")]
    }

    fn perform(&self) {
        let mut buffers = [(); 3].map(|()| vec![0; self.len.min(CHUNK)]);
        for at in (0..self.len).step_by(CHUNK) {
            let len = CHUNK.min(self.len - at);
            let [a, b, out] = buffers.each_mut().map(|buffer| &mut buffer[..len]);
            self.dst.0.read(self.dst.1 + at as u64, a);
            self.src.0.read(self.src.1 + at as u64, b);
            reduce(self.data_type, self.op, ReduceRounding::EachStep, &[a, b], out);
            self.dst.0.write(self.dst.1 + at as u64, out);
        }
    }
}
