//! Comparisons and selection (`dav-c220.md` 3.9).

#![allow(clippy::cast_possible_truncation, reason = "byte and bit numbers of a repeat are below 256")]

use super::vec_forms::{
    self as forms, BINARY, BINARY_AND_MODE_NAMES, BINARY_NAMES, BINARY_OPERANDS, SCALAR_NAMES,
};
use super::vec_lanes::{counted, Lanes};
use super::vec_operand::{F32s, Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::{extend, scalar_f32, Types};
use crate::access::{
    range_text, Access, Addr, Elem, Exec, FaultKind, Instr, OpInfo, Semantic, Space, Stop, Strided,
    VectorOperands,
};

/// A comparison: the types that it takes, and the bits of the lanes that compare true.
#[derive(Clone, Copy)]
struct Relation {
    types: Types,
    floats: fn(&[f32], &[f32]) -> u128,
}

impl Relation {
    fn check_type(self, instr: &Instr) -> Result<(), Stop> {
        self.types.check(instr, instr.elem, instr.elem)
    }
}

/// Bits of the lanes of which `is` holds.
fn bits_of(a: &[f32], b: &[f32], is: impl Fn(f32, f32) -> bool) -> u128 {
    a.iter().zip(b).enumerate().fold(0, |bits, (i, (a, b))| bits | u128::from(is(*a, *b)) << i)
}

/// The second side of a comparison.
enum Side<'a> {
    Vector(&'a Operand),
    Scalar(u64),
}

/// Result bits of repeat `r`.
fn compare(
    exec: &Exec<'_>,
    relation: Relation,
    lanes: &Lanes,
    r: u64,
    src0: &Operand,
    src1: &Side<'_>,
) -> u128 {
    let n = lanes.per_repeat;
    // Only equality takes integers.
    if src0.elem == Elem::S32 {
        let (mut a, mut b): (Ints, Ints) = ([0; LANES], [0; LANES]);
        src0.load_int(exec, lanes, r, &mut a);
        match src1 {
            Side::Vector(src1) => src1.load_int(exec, lanes, r, &mut b),
            Side::Scalar(raw) => b.fill(extend(Elem::S32, *raw)),
        }
        return (0..n).fold(0, |bits, i| bits | u128::from(a[i] == b[i]) << i);
    }
    let (mut a, mut b): (F32s, F32s) = ([0.0; LANES], [0.0; LANES]);
    src0.load_f32(exec, lanes, r, &mut a);
    match src1 {
        Side::Vector(src1) => src1.load_f32(exec, lanes, r, &mut b),
        Side::Scalar(raw) => b.fill(scalar_f32(src0.elem, *raw)),
    }
    (relation.floats)(&a[..n], &b[..n])
}

/// `vcmp_*`: one repeat, the result goes to CMPMASK.
///
/// ASSUMPTION(vcmp-mask): bits of masked-off lanes, and the high word for 32-bit data, keep their old value.
fn run_register(exec: &mut Exec<'_>, instr: &Instr, relation: Relation) -> Result<(), Stop> {
    relation.check_type(instr)?;
    let lanes = Lanes::new(instr, instr.elem);
    let src0 = Operand::of(exec, REGISTER_SOURCES[0], instr.elem)?;
    let src1 = Operand::of(exec, REGISTER_SOURCES[1], instr.elem)?;
    src0.check_read(exec, &lanes)?;
    src1.check_read(exec, &lanes)?;
    for r in 0..lanes.repeats {
        let bits = compare(exec, relation, &lanes, r, &src0, &Side::Vector(&src1));
        let mask = lanes.mask(r);
        let [low, high] = exec.vector.cmpmask;
        let old = u128::from(high) << 64 | u128::from(low);
        let new = old & !mask | bits & mask;
        exec.vector.cmpmask = [new as u64, (new >> 64) as u64];
    }
    Ok(())
}

/// Lanes of `vcmpv_*` and `vcmpvs_*`, which ignore the mask.
///
/// ASSUMPTION(compare-counter): in counter mode the repeats that hold the counted elements are compared
/// whole.
fn unmasked(instr: &Instr) -> Lanes {
    let per_repeat = 256 / instr.elem.bytes();
    let repeats = if instr.regs.counter_mode {
        counted(instr).div_ceil(per_repeat as u64)
    } else {
        instr.repeats() & 0xff
    };
    Lanes::unmasked(per_repeat, repeats)
}

/// Stores the bits of all repeats, packed.
fn run_packed(
    exec: &mut Exec<'_>,
    relation: Relation,
    lanes: &Lanes,
    src0: &Operand,
    src1: &Side<'_>,
) -> Result<(), Stop> {
    let dst = exec.address(0, Space::Ub)?;
    exec.require_aligned("dst", dst, 32)?;
    let len = lanes.per_repeat / 8;
    let total = len as u64 * lanes.repeats;
    src0.check_read(exec, lanes)?;
    require_apart(src0, lanes, dst, total)?;
    if let Side::Vector(src1) = src1 {
        src1.check_read(exec, lanes)?;
        require_apart(src1, lanes, dst, total)?;
    }
    if lanes.repeats > 0 {
        exec.touch("dst", dst, total, Access::Write)?;
        exec.mark(dst, total as usize, true);
    }
    for r in 0..lanes.repeats {
        let bits = compare(exec, relation, lanes, r, src0, src1);
        let at = dst.plus(r.cast_signed() * len as i64);
        exec.bytes_mut(at, len).copy_from_slice(&bits.to_le_bytes()[..len]);
    }
    Ok(())
}

/// The packed result must not lie in a source.
fn require_apart(src: &Operand, lanes: &Lanes, dst: Addr, len: u64) -> Result<(), Stop> {
    match src.first_repeat_within(lanes, 0, dst.offset, dst.offset + len.cast_signed()) {
        None => Ok(()),
        Some(r) => Err(Stop::fault(
            FaultKind::Overlap,
            format!("dst, {}, overlaps {} in repeat {r}", range_text(Space::Ub, dst.offset, len), src.name),
        )),
    }
}

/// `vcmpv_*`: two vectors.
fn run_vectors(exec: &mut Exec<'_>, instr: &Instr, relation: Relation) -> Result<(), Stop> {
    relation.check_type(instr)?;
    let lanes = unmasked(instr);
    let src0 = Operand::of(exec, BINARY[1], instr.elem)?;
    let src1 = Operand::of(exec, BINARY[2], instr.elem)?;
    run_packed(exec, relation, &lanes, &src0, &Side::Vector(&src1))
}

/// `vcmpvs_*`: a vector and a scalar.
fn run_scalar(exec: &mut Exec<'_>, instr: &Instr, relation: Relation) -> Result<(), Stop> {
    relation.check_type(instr)?;
    let lanes = unmasked(instr);
    let src = Operand::of(exec, forms::SCALAR[1], instr.elem)?;
    run_packed(exec, relation, &lanes, &src, &Side::Scalar(instr.args[2]))
}

/// Bytes of CMPMASK in memory.
const CMPMASK_BYTES: usize = 16;

fn run_set_cmpmask(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    let src = exec.address(0, Space::Ub)?;
    exec.require_aligned("src", src, 32)?;
    exec.touch("src", src, CMPMASK_BYTES as u64, Access::Read)?;
    // The high word matters for 16-bit lanes only; scalars, addresses and 32-bit lanes need the low one.
    exec.require_init("src", src, 8)?;
    let mut bytes = [0; CMPMASK_BYTES];
    bytes.copy_from_slice(exec.bytes(src, CMPMASK_BYTES));
    let value = u128::from_le_bytes(bytes);
    exec.vector.cmpmask = [value as u64, (value >> 64) as u64];
    Ok(())
}

fn run_get_cmpmask(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    let dst = exec.address(0, Space::Ub)?;
    exec.require_aligned("dst", dst, 32)?;
    exec.touch("dst", dst, CMPMASK_BYTES as u64, Access::Write)?;
    exec.mark(dst, CMPMASK_BYTES, true);
    let [low, high] = exec.vector.cmpmask;
    let value = u128::from(high) << 64 | u128::from(low);
    exec.bytes_mut(dst, CMPMASK_BYTES).copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Where `vsel` finds its bits.
enum Selector {
    /// CMPMASK itself, the same bits for each repeat.
    Register(u128),
    /// Bits in UB, consumed consecutively over the repeats.
    Memory(Addr),
}

impl Selector {
    /// Checks the bytes that hold bits of active lanes.
    fn check_read(&self, exec: &mut Exec<'_>, lanes: &Lanes) -> Result<(), Stop> {
        let Selector::Memory(addr) = self else { return Ok(()) };
        exec.require_aligned("mask", *addr, 32)?;
        for r in 0..lanes.repeats {
            let mask = lanes.mask(r);
            let (first, last) = (mask.trailing_zeros() / 8, (127 - mask.leading_zeros()) / 8);
            let at = addr.plus(r.cast_signed() * (lanes.per_repeat / 8) as i64 + i64::from(first));
            let len = u64::from(last - first + 1);
            exec.touch("mask", at, len, Access::Read)?;
            exec.require_init("mask", at, len)?;
        }
        Ok(())
    }

    fn bits(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64) -> u128 {
        match self {
            Selector::Register(bits) => *bits,
            Selector::Memory(addr) => {
                let len = lanes.per_repeat / 8;
                // Only bytes up to the last active lane were checked to exist.
                let used = ((128 - lanes.mask(r).leading_zeros()) as usize).div_ceil(8);
                let mut bytes = [0; 16];
                let at = addr.plus(r.cast_signed() * len as i64);
                bytes[..used].copy_from_slice(exec.bytes(at, used));
                u128::from_le_bytes(bytes)
            }
        }
    }
}

/// `vsel`: bit 1 takes src0, bit 0 src1.
///
/// Modes (`SELMODE`): 0 bits in CMPMASK; 1 `src1` is the address of the bits and CMPMASK holds the scalar
/// taken instead of src1; 2 CMPMASK holds the address of the bits (AscendC stores it with `vector_dup`, so
/// its low word counts).
fn run_select(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    Types::FLOATS.check(instr, instr.elem, instr.elem)?;
    let elem = if instr.elem == Elem::F16 { Elem::U16 } else { Elem::U32 };
    let mode = instr.args[10];
    let lanes = Lanes::new(instr, elem);
    let [low, high] = exec.vector.cmpmask;
    let dst = Operand::of(exec, BINARY[0], elem)?;
    let src0 = Operand::of(exec, BINARY[1], elem)?;
    let (selector, src1) = match mode {
        0 => {
            let bits = u128::from(high) << 64 | u128::from(low);
            (Selector::Register(bits), Some(Operand::of(exec, BINARY[2], elem)?))
        }
        1 => (Selector::Memory(exec.address(2, Space::Ub)?), None),
        2 => {
            let addr = Addr { space: Space::Ub, offset: i64::from(low as u32) };
            (Selector::Memory(addr), Some(Operand::of(exec, BINARY[2], elem)?))
        }
        _ => {
            let text = format!("selectMode = {mode} is no SELMODE; it is 0..=2");
            return Err(Stop::fault(FaultKind::Operand, text));
        }
    };
    check_overlap(&dst, &src0, &lanes, Accumulate::No)?;
    selector.check_read(exec, &lanes)?;
    src0.check_read(exec, &lanes)?;
    if let Some(src1) = &src1 {
        check_overlap(&dst, src1, &lanes, Accumulate::No)?;
        src1.check_read(exec, &lanes)?;
    }
    dst.check_write(exec, &lanes)?;
    let (mut x, mut y): (Ints, Ints) = ([0; LANES], [extend(elem, low); LANES]);
    for r in 0..lanes.repeats {
        let bits = selector.bits(exec, &lanes, r);
        src0.load_int(exec, &lanes, r, &mut x);
        if let Some(src1) = &src1 {
            src1.load_int(exec, &lanes, r, &mut y);
        }
        for (i, (x, y)) in x.iter_mut().zip(&y).enumerate() {
            *x = if bits >> i & 1 == 1 { *x } else { *y };
        }
        dst.store_int(exec, &lanes, r, &x);
    }
    Ok(())
}

// The results of comparisons are bits: no blocks.

const REGISTER: &VectorOperands = &VectorOperands {
    // The result goes to a register.
    names: BINARY_NAMES.split_at(1).1,
    repeat: Some(2),
    dst: None,
    sources: &REGISTER_SOURCES,
};
const REGISTER_SOURCES: [Strided; 2] = [Strided::new(0, 4, 7), Strided::new(1, 5, 8)];
const VECTORS: &VectorOperands = &VectorOperands { names: BINARY_NAMES, dst: None, ..*BINARY_OPERANDS };
const SCALAR: &VectorOperands =
    &VectorOperands { names: SCALAR_NAMES, repeat: Some(3), dst: None, sources: &[Strided::new(1, 5, 7)] };
const SELECT: &VectorOperands = &VectorOperands { names: BINARY_AND_MODE_NAMES, ..*BINARY_OPERANDS };
const SET: &VectorOperands =
    &VectorOperands { names: &["src"], repeat: None, dst: None, sources: &[Strided::dense(0)] };
const GET: &VectorOperands =
    &VectorOperands { names: &["dst"], repeat: None, dst: Some(Strided::dense(0)), sources: &[] };

const fn op(mnemonic: &'static str, operands: &'static VectorOperands, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, operands, "dav-c220.md 3.9, 2.3, 6.2", run)
}

/// Of each relation the names of its three instructions, the types that they take, and what holds of lanes
/// that compare true. With a NaN none does, not even "not equal" (`dav-c220.md` 6.2). All cost the same.
macro_rules! comparisons {
    ($($register:literal $vectors:literal $scalar:literal $types:expr, $is:expr;)*) => {
        &[
            $(
                op($register, REGISTER, |e, i| run_register(e, i, relation!($types, $is))).like("vcmp"),
                op($vectors, VECTORS, |e, i| run_vectors(e, i, relation!($types, $is))).like("vcmpv"),
                op($scalar, SCALAR, |e, i| run_scalar(e, i, relation!($types, $is))).like("vcmpvs"),
            )*
            op("set_cmpmask", SET, run_set_cmpmask).unpublished(),
            op("get_cmpmask", GET, run_get_cmpmask).unpublished(),
            op("vsel", SELECT, run_select),
        ]
    };
}

macro_rules! relation {
    ($types:expr, $is:expr) => {
        Relation { types: $types, floats: |a, b| bits_of(a, b, $is) }
    };
}

pub(crate) static OPS: &[OpInfo] = comparisons! {
    "vcmp_lt" "vcmpv_lt" "vcmpvs_lt" Types::FLOATS, |a, b| a < b;
    "vcmp_le" "vcmpv_le" "vcmpvs_le" Types::FLOATS, |a, b| a <= b;
    "vcmp_gt" "vcmpv_gt" "vcmpvs_gt" Types::FLOATS, |a, b| a > b;
    "vcmp_ge" "vcmpv_ge" "vcmpvs_ge" Types::FLOATS, |a, b| a >= b;
    "vcmp_eq" "vcmpv_eq" "vcmpvs_eq" Types::FLOATS_OR_S32, |a, b| a == b;
    "vcmp_ne" "vcmpv_ne" "vcmpvs_ne" Types::FLOATS, |a, b| a != b && !a.is_nan() && !b.is_nan();
};
