//! What an instruction costs the vector unit: its slope, and conflicts of UB banks (dav-c220.md 1.5, 5.3).

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::bank::{self, Blocks};
use super::cost::Cost;
use crate::access::{Addr, Elem, Instr, OpInfo, Space, Stop, Strided, VectorOperands};
use ascend_soc::{Timing, VectorOp};

/// Costs that are kept. A kernel issues the same instructions on the same buffers over and over.
const KEPT: usize = 1 << 16;

/// The costs of vector instructions of one kernel, each computed once: banks make it long.
#[derive(Debug)]
pub(super) struct VectorCosts {
    timing: &'static Timing,
    known: FxHashMap<Key, Cost>,
}

/// All that the cost of an instruction depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    op: *const OpInfo,
    elems: [Elem; 2],
    args: SmallVec<[u64; 10]>,
    mask: [u64; 2],
    counter_mode: bool,
}

impl Key {
    fn new(instr: &Instr) -> Self {
        Self {
            op: std::ptr::from_ref(instr.op),
            elems: [instr.elem, instr.elem_dst],
            args: SmallVec::from_slice(&instr.args[..instr.num_args as usize]),
            mask: instr.regs.mask,
            counter_mode: instr.regs.counter_mode,
        }
    }
}

impl VectorCosts {
    pub(super) fn new(timing: &'static Timing) -> Self {
        Self { timing, known: FxHashMap::default() }
    }

    /// Cost of a vector instruction at the rate of an entry of `timing.vector.ops`; `None`: of
    /// `timing.vector.other`.
    pub(super) fn cost(
        &mut self,
        instr: &Instr,
        entry: Option<&str>,
        operands: &VectorOperands,
    ) -> Result<Cost, Stop> {
        let key = Key::new(instr);
        if let Some(cost) = self.known.get(&key) {
            return Ok(*cost);
        }
        let vector = &self.timing.vector;
        let op = match entry {
            None => vector.other,
            Some(entry) => vector.rate(entry).ok_or_else(|| {
                let mnemonic = instr.op.mnemonic;
                Stop::unsupported(format!(
                    "model time of {mnemonic}: timing.vector.ops has no entry {entry:?}"
                ))
            })?,
        };
        if self.known.len() == KEPT {
            self.known.clear();
        }
        let cost = cost(self.timing, instr, op, operands);
        self.known.insert(key, cost);
        Ok(cost)
    }
}

/// Lanes that the widest operand has in a repeat, and repeats with at least one active lane.
fn repeats(instr: &Instr, size: usize, repeat: Option<usize>) -> (usize, u64) {
    let lanes = 256 / size;
    if instr.regs.counter_mode {
        return (lanes, (instr.regs.mask[0] & 0xffff_ffff).div_ceil(lanes as u64));
    }
    (lanes, repeat.and_then(|at| instr.given(at)).unwrap_or(1) & 0xff)
}

/// Lanes up to the last active one, in normal mode.
fn active_lanes(instr: &Instr, lanes: usize) -> usize {
    if instr.regs.counter_mode {
        return lanes;
    }
    let mask = u128::from(instr.regs.mask[1]) << 64 | u128::from(instr.regs.mask[0]);
    lanes.min(128 - mask.leading_zeros() as usize)
}

fn cost(timing: &Timing, instr: &Instr, op: VectorOp, operands: &VectorOperands) -> Cost {
    let narrow = |elem: Elem| elem.bytes().max(1);
    let src_size = narrow(instr.elem);
    let dst_size = if instr.elem_dst == Elem::None { src_size } else { narrow(instr.elem_dst) };
    let size = src_size.max(dst_size);
    let (lanes, repeats) = repeats(instr, size, operands.repeat);
    let slope = if size >= 4 { op.b32 } else { op.b16 };
    let active = active_lanes(instr, lanes);
    let blocks = |operand: &Strided, size: usize| {
        let addr = instr.given(operand.address).and_then(Addr::decode).filter(|a| a.space == Space::Ub)?;
        let stride = |at: Option<usize>, dense: i64| {
            at.and_then(|at| instr.given(at)).map_or(dense, |s| (s & 0xffff).cast_signed())
        };
        Some(Blocks {
            start: addr.offset.div_euclid(32),
            block_stride: stride(operand.block_stride, 1),
            repeat_stride: stride(operand.repeat_stride, 8),
            count: (active * size).div_ceil(32) as i64,
        })
    };
    let dst = operands.dst.and_then(|dst| blocks(&dst, dst_size));
    let sources: Vec<Blocks> = operands.sources.iter().filter_map(|src| blocks(src, src_size)).collect();
    let busy = bank::cycles(dst, &sources, repeats, slope) + op.head as f64;
    Cost { occupancy: busy.max(timing.vector.min_occupancy as f64), latency: op.latency as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::{Rate, Registers, MAX_ARGS};
    use crate::isa;
    use ascend_soc::Soc;

    fn timing() -> &'static Timing {
        &Soc::by_name("Ascend910B2").unwrap().timing
    }

    fn ub(at: u64) -> u64 {
        ((Space::Ub as u64) << 48) + at
    }

    fn instr(mnemonic: &str, elem: Elem, given: &[u64]) -> Instr {
        let mut args = [0; MAX_ARGS];
        args[..given.len()].copy_from_slice(given);
        let (op, num_args) = (isa::find(mnemonic).unwrap(), u32::try_from(given.len()).unwrap());
        let regs = Registers::at_entry(true);
        Instr { op, elem, elem_dst: Elem::None, args, num_args, regs, number: 0 }
    }

    /// As it is without anything kept.
    fn computed(instr: &Instr) -> Cost {
        let Rate::Vector { entry, operands } = instr.op.rate else {
            panic!("{instr:?} is no vector instruction")
        };
        VectorCosts::new(timing()).cost(instr, entry, operands).unwrap()
    }

    #[test]
    fn every_rate_has_an_instruction_and_every_instruction_a_rate() {
        let entry = |op: &OpInfo| match op.rate {
            Rate::Vector { entry, .. } => entry,
            _ => None,
        };
        let used: BTreeSet<&str> = isa::table().filter_map(entry).collect();
        for soc in Soc::all() {
            let listed: BTreeSet<&str> = soc.timing.vector.ops.keys().map(String::as_str).collect();
            assert_eq!(listed, used, "{}", soc.name);
        }
    }

    #[test]
    fn strides_and_repeats_are_the_operands_of_those_names() {
        for op in isa::table() {
            let Rate::Vector { operands, .. } = op.rate else { continue };
            let VectorOperands { names, repeat, dst, sources } = *operands;
            assert_eq!(repeat, names.iter().position(|name| *name == "repeat"), "{op:?}");
            for one in dst.iter().chain(sources) {
                let name = names[one.address];
                assert_eq!(dst.as_ref() == Some(one), name == "dst", "{op:?}: {name}");
                for (at, ends) in [
                    (one.block_stride, ["BlockStride", "Stride"]),
                    (one.repeat_stride, ["RepeatStride", "RepeatSize"]),
                ] {
                    let at = at.map(|at| names[at]);
                    let named = ends.iter().map(|end| format!("{name}{end}"));
                    let listed = named.clone().find(|name| names.contains(&name.as_str()));
                    assert_eq!(at, listed.as_deref(), "{op:?}: {name}");
                }
            }
        }
    }

    #[test]
    fn an_instruction_without_a_rate_is_refused() {
        let add = instr("vadd", Elem::F32, &[ub(0), ub(0), ub(0), 1, 1, 1, 1, 8, 8, 8]);
        let Rate::Vector { operands, .. } = add.op.rate else { panic!("{add:?} is no vector instruction") };
        let refused = VectorCosts::new(timing()).cost(&add, Some("vfoo"), operands).unwrap_err();
        let text = "Unsupported: model time of vadd: timing.vector.ops has no entry \"vfoo\"";
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn blocks_that_a_copy_writes_to_one_group_of_banks_follow_one_by_one() {
        let occupancy = |dst_stride: u64, src_stride: u64| {
            let args = [ub(0x10000), ub(0), 64, dst_stride, src_stride, 8, 8];
            computed(&instr("vcopy", Elem::U32, &args)).occupancy
        };
        assert_eq!(occupancy(1, 1), 64.0);
        assert_eq!(occupancy(1, 16), 8.0 * 64.0, "reads");
        assert_eq!(occupancy(16, 1), 8.0 * 64.0, "writes");
    }

    #[test]
    fn a_reduction_writes_less_than_a_block_a_repeat() {
        let occupancy = |dst_repeat_stride: u64| {
            let args = [ub(0x10000), ub(0), 64, dst_repeat_stride, 1, 8];
            computed(&instr("vcgmax", Elem::F32, &args)).occupancy
        };
        assert_eq!(occupancy(1), occupancy(16));
    }

    #[test]
    fn kept_costs_are_those_that_are_computed() {
        let mut costs = VectorCosts::new(timing());
        let add = |at: u64, repeat: u64| {
            instr("vadd", Elem::F32, &[ub(at), ub(0), ub(0x4000), repeat, 1, 1, 1, 8, 8, 8])
        };
        let mut half = add(0x10000, 64);
        half.regs.mask[0] = 1;
        let mut counted = add(0x10000, 64);
        (counted.regs.counter_mode, counted.regs.mask) = (true, [640, 0]);
        let f16 = Instr { elem: Elem::F16, ..instr("vexp", Elem::F32, &[ub(0), ub(0), 64, 1, 1, 8, 8]) };
        let f32 = Instr { elem: Elem::F32, ..f16 };
        let all = [add(0x10000, 64), add(0x10000, 32), add(0x4020, 64), half, counted, f16, f32];
        for round in 0..2 {
            for (i, one) in all.iter().enumerate() {
                let Rate::Vector { entry, operands } = one.op.rate else { unreachable!("all are of V") };
                let kept = costs.cost(one, entry, operands).unwrap();
                assert_eq!(kept, computed(one), "instruction {i} in round {round}");
            }
        }
        assert_eq!(costs.known.len(), all.len());
    }
}
