//! The data movement of an operation, once all its ranks are there.
//!
//! Everything goes through [`Region`]: nothing else here knows where a rank's memory is.

use std::collections::BTreeSet;
use std::ops::Range;

use super::buffers::{bytes, Buffers, Region};
use super::failure::Failure;
use super::operation::{Kind, Operation};
use crate::config::ReduceOrder;
use crate::engine::{try_zeroed, Contents};
use crate::reduce::{reduce, ReduceOp, ReduceRounding};

/// Bytes that move at once. A multiple of every element.
const CHUNK: u64 = 1 << 20;

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

/// Executes collective or transfer `number`. `parts` are in order of rank and agree
/// ([`Operation::difference`]).
///
/// This is the one place that moves data: kind, bytes ([`Operation::buffer_bytes`]) and ranks are known here,
/// and nothing is read before all of them are ready.
///
/// # Errors
/// When a rank in another process is lost, or the host has no memory for the data; results may then be there
/// in part.
pub(super) fn execute(parts: &[Part], arithmetic: Arithmetic, number: u64) -> Result<(), Failure> {
    let Some(first) = parts.first() else { return Ok(()) };
    let operation = first.operation;
    let one = operation.count * operation.data_type.size_bytes();
    if one == 0 || parts.iter().all(|part| !part.buffers.has_data) {
        return Ok(());
    }
    let order = arithmetic.order_of(parts.len(), number);
    let reduced = |op, range: Range<u64>| {
        let inputs: Result<Vec<Contents>, Failure> =
            order.iter().map(|&i| sent(&parts[i]).load(range.clone())).collect();
        reduce_contents(&operation, op, arithmetic.rounding, &inputs?)
    };
    match operation.kind {
        Kind::AllReduce(op) => chunks(one, |range| {
            let result = reduced(op, range.clone())?;
            receivers(parts).try_for_each(|to| to.store(range.start, &result))
        }),
        // A rank's result may lie on what another rank's result is made of: in place, all is read before
        // anything is written.
        Kind::ReduceScatter(op) => {
            let ranks = 0..parts.len() as u64;
            let results: Result<Vec<Contents>, Failure> =
                ranks.map(|rank| reduced(op, rank * one..(rank + 1) * one)).collect();
            receivers(parts).zip(&results?).try_for_each(|(to, result)| to.store(0, result))
        }
        Kind::AllGather => {
            let pieces: Result<Vec<Contents>, Failure> =
                parts.iter().map(|part| sent(part).load(0..one)).collect();
            let pieces = pieces?;
            receivers(parts).try_for_each(|to| {
                (0u64..).zip(&pieces).try_for_each(|(rank, piece)| to.store(rank * one, piece))
            })
        }
        Kind::Broadcast { .. } | Kind::Send { .. } | Kind::Recv { .. } => {
            let Some(from) = parts.iter().find_map(|part| part.buffers.send.as_ref()) else { return Ok(()) };
            chunks(one, |range| {
                let contents = from.load(range.clone())?;
                receivers(parts).try_for_each(|to| to.store(range.start, &contents))
            })
        }
        Kind::Barrier => Ok(()),
    }
}

fn sent(part: &Part) -> &Region {
    part.buffers.send.as_ref().unwrap_or_else(|| unreachable!("every rank of this collective sends"))
}

fn receivers(parts: &[Part]) -> impl Iterator<Item = &Region> {
    parts.iter().filter_map(|part| part.buffers.recv.as_ref())
}

fn chunks(len: u64, mut visit: impl FnMut(Range<u64>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut at = 0;
    while at < len {
        let end = len.min(at + CHUNK);
        visit(at..end)?;
        at = end;
    }
    Ok(())
}

/// An element of the result is unwritten when that of any rank is.
fn reduce_contents(
    operation: &Operation,
    op: ReduceOp,
    rounding: ReduceRounding,
    inputs: &[Contents],
) -> Result<Contents, Failure> {
    let size = bytes(operation.data_type.size_bytes());
    let unset: BTreeSet<usize> = inputs.iter().flat_map(|c| c.unset.iter().map(|at| at / size)).collect();
    let slices: Vec<&[u8]> = inputs.iter().map(|c| c.bytes.as_slice()).collect();
    let len = slices.first().map_or(0, |s| s.len());
    let mut out = try_zeroed(len).ok_or_else(|| Failure::no_memory(len))?;
    reduce(operation.data_type, op, rounding, &slices, &mut out);
    let unset = unset.into_iter().flat_map(|element| element * size..(element + 1) * size).collect();
    Ok(Contents { bytes: out, unset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::DataType;

    #[test]
    fn an_element_that_one_rank_never_wrote_is_unwritten_in_the_result() {
        let operation =
            Operation { kind: Kind::AllReduce(ReduceOp::Sum), count: 4, data_type: DataType::Int16 };
        let of = |unset: &[usize]| Contents { bytes: vec![1; 8], unset: unset.to_vec() };
        let inputs = [of(&[]), of(&[3]), of(&[2, 7])];
        let got = reduce_contents(&operation, ReduceOp::Sum, ReduceRounding::EachStep, &inputs).unwrap();
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
