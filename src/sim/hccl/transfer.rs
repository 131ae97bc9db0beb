//! The data movement of an operation, once all its ranks are there.
//!
//! Everything goes through [`Region`]: nothing else here knows where a rank's memory is.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;

use super::config::{ReduceOrder, ReduceRounding};
use super::failure::{refuse, result};
use super::operation::{Kind, Operation, ReduceOp};
use super::reduce::reduce;
use crate::sim::acl::border::Outcome;
use crate::sim::acl::device::SimDevice;
use crate::sim::acl::memory::find_device;
use crate::sim::memory::{Allocation, Contents};

/// Bytes that move at once. A multiple of every element.
const CHUNK: u64 = 1 << 20;

/// A range of device memory, which it keeps alive.
#[derive(Debug)]
pub(super) struct Region {
    allocation: Arc<Allocation>,
    address: u64,
    len: u64,
}

impl Region {
    /// Finds and checks `len` bytes at `pointer` on `device`.
    fn new(
        name: &str,
        pointer: *mut c_void,
        len: u64,
        alignment: u64,
        device: &SimDevice,
    ) -> Outcome<Region> {
        let address = pointer.addr() as u64;
        if pointer.is_null() {
            return refuse(result::PTR, format!("{name} = NULL given, {len} bytes of device memory wanted"));
        }
        let Some((owner, allocation)) = find_device(address) else {
            return refuse(
                result::PARA,
                format!("{name} = {address:#x} given, where no device memory is allocated (freed?); device memory wanted"),
            );
        };
        if owner.id() != device.id() {
            return refuse(
                result::PARA,
                format!(
                    "{name} = {address:#x} of device {} given, memory of device {} wanted",
                    owner.id(),
                    device.id()
                ),
            );
        }
        let at = address - allocation.base();
        if len > allocation.len() - at {
            return refuse(
                result::PARA,
                format!("{name}: {len} bytes at byte {at} of an allocation of {} bytes", allocation.len()),
            );
        }
        if !address.is_multiple_of(alignment) {
            return refuse(
                result::PARA,
                format!("{name} = {address:#x} given, an address aligned to {alignment} bytes wanted"),
            );
        }
        Ok(Region { allocation, address, len })
    }

    fn load(&self, range: Range<u64>) -> Contents {
        self.allocation.load(self.address + range.start, bytes(range.end - range.start))
    }

    fn store(&self, at: u64, contents: &Contents) {
        self.allocation.store(self.address + at, contents);
    }
}

fn bytes(len: u64) -> usize {
    usize::try_from(len).unwrap_or_else(|_| unreachable!("a range inside an allocation fits usize"))
}

/// The buffers of one rank; a buffer of 0 bytes is absent.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Is data moved? Not on a device that keeps time only.
    has_data: bool,
    send: Option<Region>,
    recv: Option<Region>,
}

/// Who uses the buffers: a rank of so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) rank: u32,
    pub(super) ranks: u32,
}

impl Buffers {
    /// Checks the buffers of `operation`. A pointer that the operation does not use is not looked at.
    pub(super) fn new(
        operation: &Operation,
        send: *mut c_void,
        recv: *mut c_void,
        seat: Seat,
        device: &SimDevice,
    ) -> Outcome<Buffers> {
        let (send_bytes, recv_bytes) = operation.buffer_bytes(seat.ranks, seat.rank);
        let region = |name: &str, pointer, len: Option<u64>| match len {
            None | Some(0) => Ok(None),
            Some(len) => Region::new(name, pointer, len, operation.alignment(), device).map(Some),
        };
        let (one_name, other_name) = match operation.kind {
            Kind::Broadcast { .. } => ("buf", "buf"),
            _ => ("sendBuf", "recvBuf"),
        };
        let buffers = Buffers {
            has_data: !device.config().is_dry(),
            send: region(one_name, send, send_bytes)?,
            recv: region(other_name, recv, recv_bytes)?,
        };
        buffers.check_overlap(operation, seat)?;
        Ok(buffers)
    }

    /// ASSUMPTION(hccl-in-place): in place is allowed with equal addresses, and with the rank's own part of the larger
    /// buffer; any other overlap is refused. The API reference does not say.
    fn check_overlap(&self, operation: &Operation, seat: Seat) -> Outcome {
        let (Some(send), Some(recv)) = (&self.send, &self.recv) else { return Ok(()) };
        let (a, b) = (send.address, recv.address);
        let apart = a + send.len <= b || b + recv.len <= a;
        let own = u64::from(seat.rank) * operation.count * operation.data_type.size_bytes();
        let in_place = match operation.kind {
            Kind::AllGather => a == b || a == b + own,
            Kind::ReduceScatter(_) => a == b || b == a + own,
            _ => a == b,
        };
        if apart || in_place {
            return Ok(());
        }
        refuse(
            result::PARA,
            format!(
                "sendBuf [{a:#x}, {:#x}) and recvBuf [{b:#x}, {:#x}) given, buffers apart or in place wanted",
                a + send.len,
                b + recv.len
            ),
        )
    }
}

/// How reductions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arithmetic {
    pub(super) rounding: ReduceRounding,
    pub(super) order: ReduceOrder,
}

impl Arithmetic {
    /// The ranks in the order in which collective `number` reduces them.
    fn order_of(self, ranks: usize, number: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..ranks).collect();
        if let ReduceOrder::Permuted(seed) = self.order {
            fastrand::Rng::with_seed(seed.wrapping_add(number)).shuffle(&mut order);
        }
        order
    }
}

/// One rank's operation with its buffers.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) rank: u32,
    pub(super) operation: Operation,
    pub(super) buffers: Buffers,
}

/// Executes collective or transfer `number`. `parts` are in order of rank and agree ([`Operation::difference`]).
///
/// This is the one place that moves data: kind, bytes ([`Operation::buffer_bytes`]) and ranks are known here, and
/// nothing is read before all of them are ready.
pub(super) fn execute(parts: &[Part], arithmetic: Arithmetic, number: u64) {
    let Some(first) = parts.first() else { return };
    let operation = first.operation;
    let one = operation.count * operation.data_type.size_bytes();
    if one == 0 || parts.iter().all(|part| !part.buffers.has_data) {
        return;
    }
    let order = arithmetic.order_of(parts.len(), number);
    let reduced = |op, range: Range<u64>| {
        let inputs: Vec<Contents> = order.iter().map(|&i| sent(&parts[i]).load(range.clone())).collect();
        reduce_contents(&operation, op, arithmetic.rounding, &inputs)
    };
    match operation.kind {
        Kind::AllReduce(op) => chunks(one, |range| {
            let result = reduced(op, range.clone());
            receivers(parts).for_each(|to| to.store(range.start, &result));
        }),
        // A rank's result may lie on what another rank's result is made of: in place, all is read before anything is written.
        Kind::ReduceScatter(op) => {
            let results: Vec<Contents> =
                (0..parts.len() as u64).map(|rank| reduced(op, rank * one..(rank + 1) * one)).collect();
            receivers(parts).zip(&results).for_each(|(to, result)| to.store(0, result));
        }
        Kind::AllGather => {
            let pieces: Vec<Contents> = parts.iter().map(|part| sent(part).load(0..one)).collect();
            for to in receivers(parts) {
                for (rank, piece) in (0u64..).zip(&pieces) {
                    to.store(rank * one, piece);
                }
            }
        }
        Kind::Broadcast { .. } | Kind::Send { .. } | Kind::Recv { .. } => {
            let Some(from) = parts.iter().find_map(|part| part.buffers.send.as_ref()) else { return };
            chunks(one, |range| {
                let contents = from.load(range.clone());
                receivers(parts).for_each(|to| to.store(range.start, &contents));
            });
        }
        Kind::Barrier => {}
    }
}

fn sent(part: &Part) -> &Region {
    part.buffers.send.as_ref().unwrap_or_else(|| unreachable!("every rank of this collective sends"))
}

fn receivers(parts: &[Part]) -> impl Iterator<Item = &Region> {
    parts.iter().filter_map(|part| part.buffers.recv.as_ref())
}

fn chunks(len: u64, mut visit: impl FnMut(Range<u64>)) {
    let mut at = 0;
    while at < len {
        let end = len.min(at + CHUNK);
        visit(at..end);
        at = end;
    }
}

/// An element of the result is unwritten when that of any rank is.
fn reduce_contents(
    operation: &Operation,
    op: ReduceOp,
    rounding: ReduceRounding,
    inputs: &[Contents],
) -> Contents {
    let size = bytes(operation.data_type.size_bytes());
    let unset: BTreeSet<usize> = inputs.iter().flat_map(|c| c.unset.iter().map(|at| at / size)).collect();
    let slices: Vec<&[u8]> = inputs.iter().map(|c| c.bytes.as_slice()).collect();
    let mut out = vec![0; slices.first().map_or(0, |s| s.len())];
    reduce(operation.data_type, op, rounding, &slices, &mut out);
    let unset = unset.into_iter().flat_map(|element| element * size..(element + 1) * size).collect();
    Contents { bytes: out, unset }
}

#[cfg(test)]
mod tests {
    use super::super::operation::DataType;
    use super::*;

    #[test]
    fn an_element_that_one_rank_never_wrote_is_unwritten_in_the_result() {
        let operation =
            Operation { kind: Kind::AllReduce(ReduceOp::Sum), count: 4, data_type: DataType::Int16 };
        let of = |unset: &[usize]| Contents { bytes: vec![1; 8], unset: unset.to_vec() };
        let inputs = [of(&[]), of(&[3]), of(&[2, 7])];
        let got = reduce_contents(&operation, ReduceOp::Sum, ReduceRounding::EachStep, &inputs);
        assert_eq!(got, Contents { bytes: vec![3; 8], unset: vec![2, 3, 6, 7] });
    }

    #[test]
    fn every_seed_gives_a_permutation() {
        for seed in 0..50 {
            let arithmetic =
                Arithmetic { rounding: ReduceRounding::EachStep, order: ReduceOrder::Permuted(seed) };
            let mut order = arithmetic.order_of(8, 3);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }
}
