//! Reductions of a repeat, of its blocks, and of its pairs (`dav-c220.md` 3.8).

#![allow(
    clippy::cast_possible_truncation,
    reason = "lane numbers are below 128 and running lane numbers below 2^32"
)]

use half::{f16, slice::HalfFloatSliceExt};

use super::vec_float::{maximum, minimum};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Operand, LANES};
use super::vec_value::{canonical, finish_f16, Types};
use crate::access::{
    range_text, Access, Addr, Elem, Exec, FaultKind, Instr, OpInfo, Semantic, Space, Stop, Strided,
    VectorOperands,
};

/// How two lanes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Max,
    Min,
}

impl Op {
    /// The value that changes no other, for lanes that do not take part.
    fn identity(self) -> f32 {
        match self {
            Op::Add => -0.0,
            Op::Max => f32::NEG_INFINITY,
            Op::Min => f32::INFINITY,
        }
    }
}

/// Combines neighbours until `groups` values are left: a binary tree in lane order.
///
/// ASSUMPTION(reduce-f16-rounding): each sum of half lanes is rounded to half; the documents give only the
/// tree.
fn tree(op: Op, elem: Elem, x: &mut [f32], groups: usize) {
    let mut n = x.len();
    while n > groups {
        n /= 2;
        for i in 0..n {
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            x[i] = match op {
                Op::Add => a + b,
                Op::Max => maximum(a, b),
                Op::Min => minimum(a, b),
            };
        }
        if elem == Elem::F16 && op == Op::Add {
            let mut h = [f16::ZERO; LANES];
            h[..n].convert_from_f32_slice(&x[..n]);
            h[..n].convert_to_f32_slice(&mut x[..n]);
        }
    }
}

/// Replaces lanes that do not take part.
fn fill_inactive(mask: u128, lanes: &Lanes, x: &mut [f32], value: f32) {
    if lanes.is_full(mask) {
        return;
    }
    for (lane, x) in x.iter_mut().enumerate() {
        if mask >> lane & 1 == 0 {
            *x = value;
        }
    }
}

/// A value's bytes in `elem`, in the low bits.
fn bits_of(elem: Elem, x: f32, inf_nan: bool) -> u64 {
    match elem {
        Elem::F16 => u64::from(finish_f16(f16::from_f32(x), inf_nan).to_bits()),
        _ => u64::from(canonical(x).to_bits()),
    }
}

/// Where a reduction puts the results of its repeats.
struct Results {
    addr: Addr,
    /// Bytes between the results of two repeats.
    stride: i64,
    /// Bytes of the result of one repeat.
    len: usize,
}

impl Results {
    /// Destination of `len` bytes a repeat, `rep` of them apart, aligned to `align`.
    fn new(exec: &Exec<'_>, len: usize, align: i64, rep: u64) -> Result<Results, Stop> {
        let dst = exec.address(0, Space::Ub)?;
        exec.require_aligned("dst", dst, align)?;
        Ok(Results { addr: dst, stride: (rep & 0xffff).cast_signed() * len as i64, len })
    }

    fn at(&self, r: u64) -> Addr {
        self.addr.plus(self.stride * r.cast_signed())
    }

    /// ASSUMPTION(reduce-in-place): a result may overwrite the source of its own or an earlier repeat (each
    /// repeat reads before it writes), not that of a later one; the documents have no rule of their own for
    /// reductions.
    fn check_overlap(&self, src: &Operand, lanes: &Lanes) -> Result<(), Stop> {
        for r in 0..lanes.repeats.saturating_sub(1) {
            let start = self.at(r).offset;
            if let Some(later) = src.first_repeat_within(lanes, r + 1, start, start + self.len as i64) {
                return Err(Stop::fault(
                    FaultKind::Overlap,
                    format!(
                        "dst of repeat {r}, {}, is src of repeat {later}",
                        range_text(Space::Ub, start, self.len as u64)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Declares all results as written, whole.
    fn check_write(&self, exec: &mut Exec<'_>, lanes: &Lanes) -> Result<(), Stop> {
        exec.touch_strided("dst", self.addr, self.len as u64, self.stride, lanes.repeats, Access::Write)?;
        for r in 0..lanes.repeats {
            exec.mark(self.at(r), self.len, true);
        }
        Ok(())
    }

    fn store(&self, exec: &mut Exec<'_>, r: u64, at: usize, elem: Elem, bits: u64) {
        let size = elem.bytes();
        exec.bytes_mut(self.at(r).plus(at as i64), size).copy_from_slice(&bits.to_le_bytes()[..size]);
    }
}

/// Operands `dst, src, repeat, dstRepeatStride, srcBlockStride, srcRepeatStride`; the source is checked.
fn source(exec: &mut Exec<'_>, instr: &Instr) -> Result<(Lanes, Operand), Stop> {
    Types::FLOATS.check(instr, instr.elem, instr.elem)?;
    let lanes = Lanes::new(instr, instr.elem);
    let src = Operand::of(exec, SOURCE, instr.elem)?;
    Ok((lanes, src))
}

/// `vcadd`: the sum of each repeat.
///
/// In mode 1 nothing is stored: the sum of all repeats goes to ACC_VAL.
fn run_sum(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let (lanes, src) = source(exec, instr)?;
    let elem = instr.elem;
    let accumulates = instr.args[6] != 0;
    let dst = Results::new(exec, elem.bytes(), elem.bytes() as i64, instr.args[3])?;
    src.check_read(exec, &lanes)?;
    if !accumulates {
        dst.check_overlap(&src, &lanes)?;
        dst.check_write(exec, &lanes)?;
    }
    let inf_nan = instr.regs.inf_nan();
    let mut total: Option<f32> = None;
    let mut x: F32s = [0.0; LANES];
    for r in 0..lanes.repeats {
        src.load_f32(exec, &lanes, r, &mut x);
        let x = &mut x[..lanes.per_repeat];
        fill_inactive(lanes.mask(r), &lanes, x, Op::Add.identity());
        tree(Op::Add, elem, x, 1);
        if accumulates {
            // ASSUMPTION(acc-val): repeats are added in order, in the element type, starting from the first.
            let mut pair = [total.unwrap_or(Op::Add.identity()), x[0]];
            tree(Op::Add, elem, &mut pair, 1);
            total = Some(pair[0]);
        } else {
            dst.store(exec, r, 0, elem, bits_of(elem, x[0], inf_nan));
        }
    }
    if let Some(total) = total {
        exec.vector.acc_val = bits_of(elem, total, inf_nan);
    }
    Ok(())
}

/// `Order_t`: what `vcmax` and `vcmin` store for a repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    ValueIndex,
    IndexValue,
    Value,
    Index,
}

impl Order {
    fn decode(raw: u64) -> Result<Order, Stop> {
        Ok(match raw {
            0 => Order::ValueIndex,
            1 => Order::IndexValue,
            2 => Order::Value,
            3 => Order::Index,
            _ => {
                let text = format!("order = {raw} is no Order_t; it is 0..=3");
                return Err(Stop::fault(FaultKind::Operand, text));
            }
        })
    }
}

/// First lane with the extreme value; NaN wins over numbers.
fn find(op: Op, mask: u128, x: &[f32]) -> usize {
    let mut best = mask.trailing_zeros() as usize;
    for lane in best + 1..x.len() {
        let better = match op {
            Op::Max => x[lane] > x[best],
            _ => x[lane] < x[best],
        };
        if mask >> lane & 1 == 1 && !x[best].is_nan() && (better || x[lane].is_nan()) {
            best = lane;
        }
    }
    best
}

/// `vcmax`, `vcmin`: the extreme value of each repeat and the number of its lane.
fn run_extreme(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let (lanes, src) = source(exec, instr)?;
    let elem = instr.elem;
    let order = Order::decode(instr.args[6])?;
    let size = elem.bytes();
    let len = match order {
        Order::ValueIndex | Order::IndexValue => 2 * size,
        Order::Value => size,
        Order::Index => 4,
    };
    let dst = Results::new(exec, len, len as i64, instr.args[3])?;
    src.check_read(exec, &lanes)?;
    dst.check_overlap(&src, &lanes)?;
    dst.check_write(exec, &lanes)?;
    let index_elem = if size == 2 { Elem::U16 } else { Elem::U32 };
    let inf_nan = instr.regs.inf_nan();
    let mut running: Option<(f32, u64)> = None;
    let mut x: F32s = [0.0; LANES];
    for r in 0..lanes.repeats {
        src.load_f32(exec, &lanes, r, &mut x);
        let lane = find(op, lanes.mask(r), &x[..lanes.per_repeat]);
        let (value, index) = (bits_of(elem, x[lane], inf_nan), lane as u64);
        match order {
            Order::ValueIndex => {
                dst.store(exec, r, 0, elem, value);
                dst.store(exec, r, size, index_elem, index);
            }
            Order::IndexValue => {
                dst.store(exec, r, 0, index_elem, index);
                dst.store(exec, r, size, elem, value);
            }
            Order::Value => dst.store(exec, r, 0, elem, value),
            Order::Index => dst.store(exec, r, 0, Elem::U32, index),
        }
        let old = running.map_or(x[lane], |(value, _)| value);
        if running.is_none() || find(op, 3, &[old, x[lane]]) == 1 {
            running = Some((x[lane], r * lanes.per_repeat as u64 + index));
        }
    }
    // MAX_MIN_CNT: value in the low word, index over all repeats in the high one (asc-devkit,
    // GetReduceRepeatMaxMinSpr.md).
    if let Some((value, index)) = running {
        exec.vector.max_min_cnt = index << 32 | bits_of(elem, value, inf_nan);
    }
    Ok(())
}

/// Reductions of `group` neighbouring lanes, whose results are packed; the destination stride counts whole
/// results.
fn run_groups(exec: &mut Exec<'_>, instr: &Instr, op: Op, group: usize, align: i64) -> Result<(), Stop> {
    let (lanes, src) = source(exec, instr)?;
    let elem = instr.elem;
    let size = elem.bytes();
    let groups = lanes.per_repeat / group;
    let dst = Results::new(exec, groups * size, align, instr.args[3])?;
    src.check_read(exec, &lanes)?;
    dst.check_overlap(&src, &lanes)?;
    for r in 0..lanes.repeats {
        let mask = lanes.mask(r);
        if lanes.is_full(mask) {
            exec.touch("dst", dst.at(r), dst.len as u64, Access::Write)?;
            exec.mark(dst.at(r), dst.len, true);
            continue;
        }
        for g in (0..groups).filter(|g| is_active(mask, group, *g)) {
            let at = dst.at(r).plus((g * size) as i64);
            exec.touch("dst", at, size as u64, Access::Write)?;
            exec.mark(at, size, true);
        }
    }
    let inf_nan = instr.regs.inf_nan();
    let mut x: F32s = [0.0; LANES];
    for r in 0..lanes.repeats {
        src.load_f32(exec, &lanes, r, &mut x);
        let mask = lanes.mask(r);
        let x = &mut x[..lanes.per_repeat];
        fill_inactive(mask, &lanes, x, op.identity());
        tree(op, elem, x, groups);
        for g in (0..groups).filter(|g| is_active(mask, group, *g)) {
            dst.store(exec, r, g * size, elem, bits_of(elem, x[g], inf_nan));
        }
    }
    Ok(())
}

/// Has group `g` an active lane? Without one its result is not stored.
/// ASSUMPTION(pair-inactive): documented for `vcg*`; taken to hold for `vcpadd` too.
fn is_active(mask: u128, group: usize, g: usize) -> bool {
    mask >> (g * group) & ((1 << group) - 1) != 0
}

/// `vcgadd`, `vcgmax`, `vcgmin`: one value for each 32-byte block.
fn run_blocks(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let size = instr.elem.bytes().max(2);
    run_groups(exec, instr, op, 32 / size, 8 * size as i64)
}

const NAMES: &[&str] = &["dst", "src", "repeat", "dstRepeatStride", "srcBlockStride", "srcRepeatStride"];

/// The result of a repeat is less than a block.
const REDUCTION: &VectorOperands =
    &VectorOperands { names: NAMES, repeat: Some(2), dst: None, sources: &[SOURCE] };
const SOURCE: Strided = Strided::new(1, 4, 5);
const SUM: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "repeat", "dstRepeatStride", "srcBlockStride", "srcRepeatStride", "mode"],
    ..*REDUCTION
};
const EXTREME: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "repeat", "dstRepeatStride", "srcBlockStride", "srcRepeatStride", "order"],
    ..*REDUCTION
};

const fn op(mnemonic: &'static str, operands: &'static VectorOperands, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, operands, "dav-c220.md 3.8, 6.2", run)
}

pub(crate) static OPS: &[OpInfo] = &[
    op("vcadd", SUM, run_sum),
    op("vcmax", EXTREME, |e, i| run_extreme(e, i, Op::Max)),
    op("vcmin", EXTREME, |e, i| run_extreme(e, i, Op::Min)),
    op("vcgadd", REDUCTION, |e, i| run_blocks(e, i, Op::Add)),
    op("vcgmax", REDUCTION, |e, i| run_blocks(e, i, Op::Max)),
    op("vcgmin", REDUCTION, |e, i| run_blocks(e, i, Op::Min)),
    op("vcpadd", REDUCTION, |e, i| run_groups(e, i, Op::Add, 2, 32)),
];
