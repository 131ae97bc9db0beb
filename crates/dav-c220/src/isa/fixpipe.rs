//! Fixpipe (FIX): L0C -> GM and L1, with scale, ReLU, conversion and layout change. dav-c220.md 3.6.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::fixpipe_layout::{layout, Layout};
use super::fixpipe_quant::{conversion, to_b8, Conversion, Parameter};
use super::transfer::{bad_operand, bf16_of, distance, expect_operands, f16_of, length, operand, GmStore};
use crate::access::{Access, Addr, Dispatch, Elem, Exec, FaultKind, Instr, OpInfo, Pipe, Rate, Space, Stop};

const OPERANDS: &[&str] = &[
    "dst",
    "src",
    "sid",
    "NSize",
    "MSize",
    "dstStride",
    "srcStride",
    "UnitFlagMode",
    "QuantPRE",
    "ReLUPRE",
    "channelSplit",
    "NZ2ND_EN",
];
/// Bytes of one row of a strip in L0C: 16 values of 32 bits.
const ROW: u64 = 64;
const ROW_BYTES: usize = 64;

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo {
        mnemonic: "copy_matrix_cc_to_gm",
        dispatch: Dispatch::Queued(Pipe::Fix, copy_matrix_cc_to_gm),
        operands: OPERANDS,
        source: "asc-devkit Fixpipe, L0C to GM; dav-c220.md 3.6",
        rate: Rate::Path,
    },
    OpInfo {
        mnemonic: "copy_matrix_cc_to_cbuf",
        dispatch: Dispatch::Queued(Pipe::Fix, copy_matrix_cc_to_cbuf),
        operands: OPERANDS,
        source: "asc-devkit Fixpipe, L0C to L1; dav-c220.md 3.6",
        rate: Rate::Path,
    },
];

fn copy_matrix_cc_to_gm(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    run(exec, Space::Gm)
}

fn copy_matrix_cc_to_cbuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    run(exec, Space::L1)
}

/// A decoded Fixpipe instruction. Strides in bytes.
struct Fixpipe {
    dst: Addr,
    src: Addr,
    n: u64,
    m: u64,
    /// Between strips of 16 columns in L0C.
    src_strip: u64,
    /// Between rows (ND) or strips (NZ) of the destination.
    dst_pitch: u64,
    /// Bytes of a result.
    size: u64,
    source: Elem,
    conversion: Conversion,
    relu: bool,
    inf_nan: bool,
    unit_flag: bool,
    layout: Layout,
}

impl Fixpipe {
    fn decode(exec: &mut Exec<'_>, to: Space) -> Result<Fixpipe, Stop> {
        let (dst, src) = (exec.address(0, to)?, exec.address(1, Space::L0c)?);
        exec.require_aligned("src", src, distance(ROW))?;
        let n = operand(exec, 3, 0..=4095)?;
        let m = operand(exec, 4, 0..=65535)?;
        let unit_flag = match exec.arg(7) {
            0 => false,
            2 | 3 => true,
            _ => return Err(bad_operand(exec, 7, "0, 2 or 3")),
        };
        let relu = match exec.arg(9) {
            0 => false,
            1 => true,
            2 | 3 => {
                return Err(Stop::unsupported(
                    "leaky and parametric ReLU; NoRELU and NormalRELU are modelled",
                ))
            }
            _ => return Err(bad_operand(exec, 9, "0..=3")),
        };
        let size = exec.instr.elem_dst.bytes() as u64;
        let layout = layout(exec, to, unit_flag, size)?;
        let nd = matches!(layout, Layout::Nd { .. });
        if !nd {
            exec.require_aligned("dst", dst, 32)?;
        }
        let dst_stride = operand(exec, 5, 0..=u64::from(u32::MAX))?;
        Ok(Fixpipe {
            dst,
            src,
            n,
            m,
            src_strip: operand(exec, 6, 0..=65535)? * ROW,
            dst_pitch: dst_stride * if nd { size } else { 32 },
            size,
            source: exec.instr.elem,
            conversion: conversion(exec, to, n)?,
            relu,
            inf_nan: exec.instr.regs.inf_nan(),
            unit_flag,
            layout,
        })
    }

    fn strips(&self) -> u64 {
        self.n.div_ceil(16)
    }

    /// Columns of one strip of the destination in an NZ layout.
    fn strip_columns(&self) -> u64 {
        match (self.layout, self.size) {
            (Layout::Split, _) => 8,
            (_, 1) => 32,
            _ => 16,
        }
    }

    /// Matrices in L0C: first bytes of source and destination.
    fn matrices(&self) -> Vec<(Addr, Addr)> {
        match self.layout {
            Layout::Nd { count, src_step, dst_step } => (0..count)
                .map(|i| (self.src.plus(distance(i * src_step)), self.dst.plus(distance(i * dst_step))))
                .collect(),
            Layout::Nz | Layout::Split => vec![(self.src, self.dst)],
        }
    }

    /// Pieces of the destination that are contiguous: length, pitch, number.
    fn pieces(&self) -> (u64, u64, u64) {
        match self.layout {
            Layout::Nd { .. } => (self.n * self.size, self.dst_pitch, self.m),
            Layout::Nz | Layout::Split => {
                let columns = self.strip_columns();
                (self.m * columns * self.size, self.dst_pitch, self.n / columns)
            }
        }
    }

    fn check(&self, exec: &mut Exec<'_>, sink: &Sink) -> Result<(), Stop> {
        let exempt: &[Pipe] = if self.unit_flag { &[Pipe::M] } else { &[] };
        let (len, pitch, count) = self.pieces();
        for (src, dst) in self.matrices() {
            for strip in 0..self.strips() {
                let at = src.plus(distance(strip * self.src_strip));
                exec.touch_ordered_within_pipe("src", at, self.m * ROW, Access::Read, exempt)?;
                self.require_strip(exec, at, (self.n - strip * 16).min(16))?;
            }
            sink.touch(exec, dst, len, distance(pitch), count)?;
            if let Some((at, len)) = self.odd_strip(dst) {
                sink.touch(exec, at, len, 0, 1)?;
            }
        }
        Ok(())
    }

    /// 8-bit results of an odd number of 16-column strips: the last strip stays 16 wide (Int8 Channel Merge).
    fn odd_strip(&self, dst: Addr) -> Option<(Addr, u64)> {
        let columns = self.strip_columns();
        let is_nd = matches!(self.layout, Layout::Nd { .. });
        (!is_nd && !self.n.is_multiple_of(columns))
            .then(|| (dst.plus(distance(self.n / columns * self.dst_pitch)), self.m * 16 * self.size))
    }

    /// All of the values that leave must have been written.
    fn require_strip(&self, exec: &Exec<'_>, at: Addr, columns: u64) -> Result<(), Stop> {
        if columns == 16 {
            return exec.require_init("src", at, self.m * ROW);
        }
        (0..self.m).try_for_each(|j| exec.require_init("src", at.plus(distance(j * ROW)), columns * 4))
    }

    fn run_nd(&self, exec: &mut Exec<'_>, sink: &Sink) {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        for (src, dst) in self.matrices() {
            for j in 0..self.m {
                self.gather(exec, src, j, 0, self.n, &mut raw);
                let to = dst.plus(distance(j * self.dst_pitch));
                if matches!(self.conversion, Conversion::Copy) && !self.relu {
                    sink.write(exec, to, &raw);
                } else {
                    self.convert(&raw, 0, length(self.n), &mut out);
                    sink.write(exec, to, &out);
                }
            }
        }
    }

    fn run_nz(&self, exec: &mut Exec<'_>, sink: &Sink) {
        let (mut raw, mut row, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let columns = self.strip_columns();
        for (i, first) in (0..self.n).step_by(length(columns)).enumerate() {
            let width = columns.min(self.n - first);
            raw.clear();
            for j in 0..self.m {
                self.gather(exec, self.src, j, first, width, &mut row);
                raw.extend_from_slice(&row);
            }
            self.convert(&raw, length(first), length(width), &mut out);
            sink.write(exec, self.dst.plus(distance(i as u64 * self.dst_pitch)), &out);
        }
    }

    /// Columns `first..first + count` of row `j`, as raw 32-bit values.
    fn gather(&self, exec: &Exec<'_>, src: Addr, j: u64, first: u64, count: u64, raw: &mut Vec<u8>) {
        raw.clear();
        let (mut at, end) = (first, first + count);
        while at < end {
            let stop = end.min((at / 16 + 1) * 16);
            let from = src.plus(distance(at / 16 * self.src_strip + j * ROW + at % 16 * 4));
            // Whole rows of a strip have a size that the compiler knows.
            match <&[u8; ROW_BYTES]>::try_from(exec.bytes(from, length((stop - at) * 4))) {
                Ok(row) => raw.extend_from_slice(row),
                Err(_) => raw.extend_from_slice(exec.bytes(from, length((stop - at) * 4))),
            }
            at = stop;
        }
    }

    /// Converts rows of `width` values whose first column is `first`.
    fn convert(&self, raw: &[u8], first: usize, width: usize, out: &mut Vec<u8>) {
        out.clear();
        let column = |i: usize| first + i % width;
        match &self.conversion {
            Conversion::Copy if !self.relu => out.extend_from_slice(raw),
            Conversion::Copy if self.source == Elem::S32 => {
                out.extend(words(raw).flat_map(|bits| bits.cast_signed().max(0).to_le_bytes()));
            }
            Conversion::Copy => out.extend(self.floats(raw).flat_map(f32::to_le_bytes)),
            Conversion::ToF16 => {
                let values: Vec<f32> = self.floats(raw).collect();
                if self.inf_nan {
                    let mut halves = vec![f16::ZERO; values.len()];
                    halves.convert_from_f32_slice(&values);
                    out.extend(halves.iter().flat_map(|x| x.to_le_bytes()));
                } else {
                    out.extend(values.iter().flat_map(|x| f16_of(*x, false).to_le_bytes()));
                }
            }
            Conversion::ToBf16 => {
                out.extend(self.floats(raw).flat_map(|x| to_bf16(x, self.inf_nan).to_le_bytes()))
            }
            Conversion::ScaleToF16(parameters) => {
                out.extend(self.numbers(raw).enumerate().flat_map(|(i, x)| {
                    f16_of(self.scaled(x, &parameters.of(column(i))), self.inf_nan).to_le_bytes()
                }));
            }
            Conversion::ScaleToB8(parameters) => {
                out.extend(self.numbers(raw).enumerate().map(|(i, x)| {
                    let parameter = parameters.of(column(i));
                    to_b8(self.scaled(x, &parameter), &parameter)
                }));
            }
        }
    }

    /// M1 for values from 0 up, M2 for negative ones: 0 with ReLU, whose result is max(0, x).
    fn scaled(&self, value: f32, parameter: &Parameter) -> f32 {
        if self.relu && value < 0.0 {
            0.0
        } else {
            value * parameter.scale()
        }
    }

    /// The values as f32, before scaling.
    #[allow(clippy::cast_precision_loss, reason = "the hardware converts s32 to f32 so")]
    fn numbers<'a>(&'a self, raw: &'a [u8]) -> impl Iterator<Item = f32> + 'a {
        let is_integer = self.source == Elem::S32;
        words(raw).map(move |bits| if is_integer { bits.cast_signed() as f32 } else { f32::from_bits(bits) })
    }

    /// The f32 values after ReLU. ASSUMPTION(relu-nan): NaN stays NaN.
    fn floats<'a>(&'a self, raw: &'a [u8]) -> impl Iterator<Item = f32> + 'a {
        words(raw).map(f32::from_bits).map(move |x| if self.relu && x < 0.0 { 0.0 } else { x })
    }
}

fn words(raw: &[u8]) -> impl Iterator<Item = u32> + '_ {
    raw.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
}

/// ASSUMPTION(fixpipe-inf): CTRL\[48\] rules the conversions to 16-bit floats; one vendor page says they
/// saturate always.
fn to_bf16(value: f32, inf_nan: bool) -> bf16 {
    bf16_of(value, inf_nan)
}

/// Where results go.
enum Sink {
    Gm(GmStore),
    L1,
}

impl Sink {
    fn touch(&self, exec: &mut Exec<'_>, dst: Addr, len: u64, pitch: i64, count: u64) -> Result<(), Stop> {
        match self {
            Sink::Gm(store) => store.touch_strided(exec, dst, len, pitch, count),
            Sink::L1 => exec.touch_strided("dst", dst, len, pitch, count, Access::Write),
        }
    }

    fn write(&self, exec: &mut Exec<'_>, dst: Addr, data: &[u8]) {
        match self {
            Sink::Gm(store) => store.write(exec, dst, data),
            Sink::L1 => {
                exec.bytes_mut(dst, data.len()).copy_from_slice(data);
                exec.mark(dst, data.len(), true);
            }
        }
    }
}

fn run(exec: &mut Exec<'_>, to: Space) -> Result<(), Stop> {
    expect_operands(exec)?;
    let form = Fixpipe::decode(exec, to)?;
    if form.n == 0 || form.m == 0 {
        return Ok(());
    }
    let sink = if to == Space::Gm { Sink::Gm(GmStore::of(&exec.instr.regs)) } else { Sink::L1 };
    if let Sink::Gm(store) = &sink {
        let target = exec.instr.elem_dst;
        if store.atomic_elem().is_some_and(|elem| elem != target) {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("the atomic mode has element type {:?}, dst has {target:?}", store.atomic_elem()),
            ));
        }
    }
    form.check(exec, &sink)?;
    if exec.is_dry() {
        return Ok(());
    }
    match form.layout {
        Layout::Nd { .. } => form.run_nd(exec, &sink),
        Layout::Nz | Layout::Split => form.run_nz(exec, &sink),
    }
    Ok(())
}

#[cfg(test)]
#[path = "fixpipe_tests.rs"]
mod tests;
