//! Element-wise instructions of two vectors (`dav-c220.md` 3.7).

use super::vec_float::{fused, maximum, minimum};
use super::vec_forms::{BINARY, BINARY_OPERANDS};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::{canonical, is_float, Fit, Types};
use super::vec_wide::{on_widest, Repeated};
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

/// What an instruction takes, beside its arithmetic.
#[derive(Clone, Copy)]
struct Takes {
    types: Types,
    reads_dst: bool,
    /// The documented exception to the aliasing rule holds.
    accumulates: bool,
}

impl Takes {
    const fn new(types: Types) -> Self {
        Self { types, reads_dst: false, accumulates: false }
    }

    const fn accumulating(self) -> Self {
        Self { accumulates: true, ..self }
    }

    const fn with_dst(self) -> Self {
        Self { reads_dst: true, ..self }
    }

    fn accumulate(self, elem: Elem) -> Accumulate {
        if self.accumulates && matches!(elem, Elem::F16 | Elem::F32 | Elem::S32) {
            Accumulate::InPlace
        } else {
            Accumulate::No
        }
    }
}

/// Computes `float(dst, src0, src1)` or `int(fit, src0, src1)` in each lane, as the type is.
fn run(
    exec: &mut Exec<'_>,
    instr: &Instr,
    takes: Takes,
    float: impl Fn(f32, f32, f32) -> f32,
    int: impl Fn(Fit, i64, i64) -> i64,
) -> Result<(), Stop> {
    let (lanes, [dst, src0, src1]) = operands(exec, instr, takes)?;
    let operands = [&dst, &src0, &src1];
    if is_float(instr.elem) {
        on_widest(FloatLanes { exec, reads_dst: takes.reads_dst, lanes: &lanes, operands, f: float });
    } else {
        run_int(exec, &lanes, operands, int);
    }
    Ok(())
}

/// The operands, checked.
fn operands(exec: &mut Exec<'_>, instr: &Instr, takes: Takes) -> Result<(Lanes, [Operand; 3]), Stop> {
    let elem = instr.elem;
    let elem_dst = if instr.elem_dst == Elem::None { elem } else { instr.elem_dst };
    takes.types.check(instr, elem, elem_dst)?;
    let lanes = Lanes::new(instr, elem_dst);
    let dst = Operand::of(exec, BINARY[0], elem_dst)?;
    let src0 = Operand::of(exec, BINARY[1], elem)?;
    let src1 = Operand::of(exec, BINARY[2], elem)?;
    src0.check_read(exec, &lanes)?;
    src1.check_read(exec, &lanes)?;
    check_overlap(&dst, &src0, &lanes, Accumulate::No)?;
    check_overlap(&dst, &src1, &lanes, takes.accumulate(elem))?;
    if takes.reads_dst {
        dst.check_read(exec, &lanes)?;
    }
    dst.check_write(exec, &lanes)?;
    Ok((lanes, [dst, src0, src1]))
}

/// The repeats of an instruction on floats; `f` gets the destination's old lane and those of the sources.
struct FloatLanes<'a, 'm, F> {
    exec: &'a mut Exec<'m>,
    reads_dst: bool,
    lanes: &'a Lanes,
    operands: [&'a Operand; 3],
    f: F,
}

impl<F: Fn(f32, f32, f32) -> f32> Repeated for FloatLanes<'_, '_, F> {
    #[inline(always)]
    fn run(self) {
        let FloatLanes { exec, reads_dst, lanes, operands: [dst, src0, src1], f } = self;
        let (mut d, mut a, mut b): (F32s, F32s, F32s) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for r in 0..lanes.repeats {
            if dst.is_whole_f32(lanes, r) && src0.elem == Elem::F32 {
                let mut x = if reads_dst { dst.load_64(exec, r) } else { [0.0; 64] };
                let (a, b) = (src0.load_64(exec, r), src1.load_64(exec, r));
                for i in 0..64 {
                    x[i] = canonical(f(x[i], a[i], b[i]));
                }
                dst.store_64(exec, r, &x);
                continue;
            }
            src0.load_f32(exec, lanes, r, &mut a);
            src1.load_f32(exec, lanes, r, &mut b);
            if reads_dst {
                dst.load_f32(exec, lanes, r, &mut d);
            }
            for ((d, a), b) in d.iter_mut().zip(&a).zip(&b) {
                *d = f(*d, *a, *b);
            }
            dst.store_f32(exec, lanes, r, &d);
        }
    }
}

fn run_int(
    exec: &mut Exec<'_>,
    lanes: &Lanes,
    [dst, src0, src1]: [&Operand; 3],
    int: impl Fn(Fit, i64, i64) -> i64,
) {
    let fit = Fit { elem: dst.elem, inf_nan: exec.instr.regs.inf_nan() };
    let (mut d, mut a, mut b): (Ints, Ints, Ints) = ([0; LANES], [0; LANES], [0; LANES]);
    for r in 0..lanes.repeats {
        src0.load_int(exec, lanes, r, &mut a);
        src1.load_int(exec, lanes, r, &mut b);
        for ((d, a), b) in d.iter_mut().zip(&a).zip(&b) {
            *d = int(fit, *a, *b);
        }
        dst.store_int(exec, lanes, r, &d);
    }
}

fn no_floats(_: f32, _: f32, _: f32) -> f32 {
    unreachable!("the type check refused floats")
}

fn no_ints(_: Fit, _: i64, _: i64) -> i64 {
    unreachable!("the type check refused integers")
}

const fn op(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, BINARY_OPERANDS, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
}

const NUMBERS: Takes = Takes::new(Types::NUMBERS).accumulating();
const NUMBERS_TO_RELU: Takes = Takes::new(Types::alike(&[Elem::F16, Elem::F32, Elem::S16])).accumulating();
const FLOATS: Takes = Takes::new(Types::FLOATS);
const BITS: Takes = Takes::new(Types::BITS_16);

/// Each row is all there is of an instruction: name, operands that it takes, arithmetic and rate.
pub(crate) static OPS: &[OpInfo] = &[
    op("vadd", |e, i| run(e, i, NUMBERS, |_, a, b| a + b, |fit, a, b| fit.of(a + b))),
    op("vsub", |e, i| run(e, i, NUMBERS, |_, a, b| a - b, |fit, a, b| fit.of(a - b))),
    op("vmul", |e, i| run(e, i, NUMBERS, |_, a, b| a * b, |fit, a, b| fit.of(a * b))),
    op("vdiv", |e, i| run(e, i, FLOATS, |_, a, b| a / b, no_ints)),
    op("vmax", |e, i| run(e, i, NUMBERS, |_, a, b| maximum(a, b), |_, a, b| a.max(b))),
    op("vmin", |e, i| run(e, i, NUMBERS, |_, a, b| minimum(a, b), |_, a, b| a.min(b))),
    op("vand", |e, i| run(e, i, BITS, no_floats, |_, a, b| a & b)),
    op("vor", |e, i| run(e, i, BITS, no_floats, |_, a, b| a | b)),
    // Overflow is decided before the ReLU, so that a wrapped negative sum gives 0.
    op("vaddrelu", |e, i| {
        run(e, i, NUMBERS_TO_RELU, |_, a, b| maximum(a + b, 0.0), |fit, a, b| fit.of(a + b).max(0))
    })
    .like("vadd"),
    op("vsubrelu", |e, i| {
        run(e, i, NUMBERS_TO_RELU, |_, a, b| maximum(a - b, 0.0), |fit, a, b| fit.of(a - b).max(0))
    })
    .like("vsub"),
    // dst += src0 * src1
    op("vmla", |e, i| {
        run(e, i, Takes::new(Types::FLOATS_OR_WIDENING).with_dst(), |d, a, b| fused(a, b, d), no_ints)
    }),
    // dst = src0 * dst + src1
    op("vmadd", |e, i| run(e, i, FLOATS.with_dst(), |d, a, b| fused(a, d, b), no_ints)),
    op("vmaddrelu", |e, i| run(e, i, FLOATS.with_dst(), |d, a, b| maximum(fused(a, d, b), 0.0), no_ints))
        .like("vmadd"),
];
