//! Load3Dv2 (MTE1): windows of the image-to-column matrix of an NC1HWC0 tensor in L1. dav-c220.md 3.3.
//!
//! With a 1 x 1 filter and no padding that matrix is the Nz matrix in L1 itself, so this also loads plain
//! matrices.

use super::mte_l1_l0::aligned;
use super::transfer::{bad_operand, distance, flag, length, operand};
use crate::access::{Access, Addr, Dispatch, Exec, FaultKind, Instr, OpInfo, Pipe, Rate, Space, Stop};

/// Bytes of C0 channels of one pixel, and of a fractal.
const CHUNK: usize = 32;
const FRACTAL: usize = 512;

const OPERANDS: &[&str] = &[
    "dst",
    "src",
    "stepK",
    "stepM",
    "posK",
    "posM",
    "strideW",
    "strideH",
    "Wk",
    "Hk",
    "dilationW",
    "dilationH",
    "filterW",
    "filterH",
    "transpose",
    "fmatrixCtrl",
    "sizeChannel",
];
const SOURCE: &str = "asc-devkit LoadData, 3D v2, and scripts/load3d.py; dav-c220.md 3.3";

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo {
        mnemonic: "img2colv2_cbuf_to_ca",
        dispatch: Dispatch::Queued(Pipe::Mte1, img2colv2_cbuf_to_ca),
        operands: OPERANDS,
        source: SOURCE,
        rate: Rate::PathLoad3d,
    },
    OpInfo {
        mnemonic: "img2colv2_cbuf_to_cb",
        dispatch: Dispatch::Queued(Pipe::Mte1, img2colv2_cbuf_to_cb),
        operands: OPERANDS,
        source: SOURCE,
        rate: Rate::PathLoad3d,
    },
];

fn img2colv2_cbuf_to_ca(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    run(exec, Space::L0a)
}

fn img2colv2_cbuf_to_cb(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    run(exec, Space::L0b)
}

/// One axis of the convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    len: usize,
    pad: usize,
    stride: usize,
    taps: usize,
    dilation: usize,
    /// Positions of the filter.
    out: usize,
}

impl Axis {
    /// Coordinate under tap `tap` of output `at`; `None` in the padding.
    fn source(&self, at: usize, tap: usize) -> Option<usize> {
        (at * self.stride + tap * self.dilation).checked_sub(self.pad).filter(|x| *x < self.len)
    }
}

/// Where 32 bytes of the matrix come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chunk {
    /// Byte offset from the tensor's start.
    At(usize),
    /// The padding value.
    Pad,
    /// Outside the matrix. ASSUMPTION(load3d-outside): unspecified, and L1 is not read.
    Outside,
}

/// A decoded Load3Dv2.
struct Load3d {
    dst: Addr,
    src: Addr,
    h: Axis,
    w: Axis,
    /// Groups of C0 channels.
    c1: usize,
    /// Window: first row and first chunk of columns, rows and chunks.
    row0: usize,
    chunk0: usize,
    rows: usize,
    chunks: usize,
    form: Form,
}

/// Layout written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// L0A, Zz of the window.
    Rows,
    /// L0A, Zz of the transposed window.
    Transposed,
    /// L0B, Zn with the window's rows along k.
    Columns,
}

impl Form {
    fn of(to: Space, is_transposed: bool, size: usize) -> Result<Form, Stop> {
        let form = match (to, is_transposed) {
            (Space::L0b, _) => Form::Columns,
            (_, true) => Form::Transposed,
            (_, false) => Form::Rows,
        };
        if form != Form::Rows && size == 1 {
            return Err(Stop::fault(
                FaultKind::NoSuchPath,
                "8-bit elements: only the path to L0A without transpose takes them",
            ));
        }
        Ok(form)
    }
}

impl Load3d {
    /// `None` when the operands say that nothing is to be done.
    // In the order of the operands; each is checked where it is read.
    fn decode(exec: &Exec<'_>, to: Space, size: usize) -> Result<Option<Load3d>, Stop> {
        let (long, tail) = match exec.instr.num_args {
            17 => (true, 14),
            14 => (false, 12),
            got => {
                return Err(Stop::unsupported(format!(
                    "{} with {got} operands; 14 and 17 are modelled",
                    exec.instr.op.mnemonic
                )))
            }
        };
        let (dst, src) = (aligned(exec, 0, to, 512)?, aligned(exec, 1, Space::L1, 32)?);
        let number = |i: usize, most: u64| operand(exec, i, 0..=most).map(length);
        let (step_k, step_m) = (number(2, 65535)?, number(3, 65535)?);
        let (pos_k, pos_m) = (number(4, 65535)?, number(5, 32767)?);
        let extended = |i: usize| if long && flag(exec, i) { 256 } else { 0 };
        let (wk, hk) = (number(8, 255)? + extended(12), number(9, 255)? + extended(13));
        if long && flag(exec, 15) {
            return Err(Stop::unsupported(
                "fmatrixCtrl = 1 (set_fmatrix_b); the left feature map is modelled",
            ));
        }
        if exec.instr.regs.l3d_rpt >> 16 & 0xff > 1 {
            return Err(Stop::unsupported("set_l3d_rpt with a repeat above 1; single loads are modelled"));
        }
        let channels = length(exec.arg(tail + usize::from(long) + 1));
        let map = exec.instr.regs.fmatrix;
        let field = |shift: u32, bits: u64| length(map >> shift & bits);
        let (w, h) = (field(0, 0xffff), field(16, 0xffff));
        if [w, h, channels, step_k, step_m, wk, hk].contains(&0) {
            return Ok(None);
        }
        let c0 = CHUNK / size;
        if !channels.is_multiple_of(c0) {
            return Err(Stop::unsupported(format!(
                "sizeChannel = {channels}; multiples of {c0} are modelled"
            )));
        }
        if pos_k % c0 != 0 {
            return Err(bad_operand(exec, 4, &format!("a multiple of {c0}")));
        }
        let form = Form::of(to, flag(exec, tail), size)?;
        Ok(Some(Load3d {
            dst,
            src,
            w: axis(exec, w, [field(32, 0xff), field(40, 0xff)], wk, [6, 10])?,
            h: axis(exec, h, [field(48, 0xff), field(56, 0xff)], hk, [7, 11])?,
            c1: channels / c0,
            row0: pos_m,
            chunk0: pos_k / c0,
            rows: step_m,
            chunks: step_k.div_ceil(c0),
            form,
        }))
    }

    /// Chunk (row, chunk) of the window. Columns run over channel groups, filter rows, filter columns,
    /// channels.
    fn chunk(&self, row: usize, chunk: usize) -> Chunk {
        let (at, column) = (self.row0 + row, self.chunk0 + chunk);
        let taps = self.h.taps * self.w.taps;
        if at >= self.h.out * self.w.out || column >= self.c1 * taps {
            return Chunk::Outside;
        }
        let (group, tap) = (column / taps, column % taps);
        let y = self.h.source(at / self.w.out, tap / self.w.taps);
        let x = self.w.source(at % self.w.out, tap % self.w.taps);
        match (y, x) {
            (Some(y), Some(x)) => Chunk::At(((group * self.h.len + y) * self.w.len + x) * CHUNK),
            _ => Chunk::Pad,
        }
    }

    /// Calls `visit(row, chunk, offset, rows)` for vertical runs that are contiguous in L1; rows of one
    /// fractal only.
    fn runs(&self, mut visit: impl FnMut(usize, usize, Chunk, usize)) {
        for chunk in 0..self.chunks {
            let mut row = 0;
            while row < self.rows {
                let first = self.chunk(row, chunk);
                let end = self.rows.min((row / 16 + 1) * 16);
                let mut stop = row + 1;
                if let Chunk::At(offset) = first {
                    let follows = |r: usize| self.chunk(r, chunk) == Chunk::At(offset + (r - row) * CHUNK);
                    while stop < end && follows(stop) {
                        stop += 1;
                    }
                }
                visit(row, chunk, first, stop - row);
                row = stop;
            }
        }
    }

    fn dst_bytes(&self, c0: usize) -> usize {
        let rows16 = self.rows.div_ceil(16);
        let columns16 = (self.chunks * c0).div_ceil(16);
        match self.form {
            Form::Rows => rows16 * self.chunks * FRACTAL,
            Form::Transposed | Form::Columns => columns16 * (rows16 * 16 / c0) * FRACTAL,
        }
    }

    /// Byte offset in the destination of element (row, column) of the window.
    fn place(&self, row: usize, column: usize, c0: usize) -> usize {
        let (blocks, fine) = (row / c0, row % c0 * (CHUNK / c0));
        let fractal = match self.form {
            Form::Rows => return (row / 16 * self.chunks + column / c0) * FRACTAL + row % 16 * CHUNK,
            Form::Transposed => column / 16 * (self.rows.next_multiple_of(16) / c0) + blocks,
            Form::Columns => blocks * (self.chunks * c0).div_ceil(16) + column / 16,
        };
        fractal * FRACTAL + column % 16 * CHUNK + fine
    }

    fn touch(&self, exec: &mut Exec<'_>, c0: usize) -> Result<(), Stop> {
        // First what bounds the window: the runs of one that exceeds L0 would be too many to list.
        exec.touch("dst", self.dst, self.dst_bytes(c0) as u64, Access::Write)?;
        let mut pending: Option<(usize, usize)> = None;
        let mut ranges = Vec::new();
        self.runs(|_, _, first, count| {
            let Chunk::At(offset) = first else { return };
            let len = count * CHUNK;
            pending = match pending {
                Some((start, had)) if start + had == offset => Some((start, had + len)),
                Some(done) => {
                    ranges.push(done);
                    Some((offset, len))
                }
                None => Some((offset, len)),
            };
        });
        ranges.extend(pending);
        for (offset, len) in ranges {
            exec.touch("src", self.src.plus(distance(offset as u64)), len as u64, Access::Read)?;
        }
        Ok(())
    }

    fn load_rows(&self, exec: &mut Exec<'_>, pad: [u8; CHUNK]) {
        exec.mark(self.dst, self.dst_bytes(1), false);
        self.runs(|row, chunk, first, count| {
            let to = self.dst.plus(distance(self.place(row, chunk, 1) as u64));
            match first {
                Chunk::At(offset) => exec.copy(to, self.src.plus(distance(offset as u64)), count * CHUNK),
                Chunk::Pad => {
                    exec.bytes_mut(to, CHUNK).copy_from_slice(&pad);
                    exec.mark(to, CHUNK, true);
                }
                Chunk::Outside => {}
            }
        });
    }

    /// The transposing forms, element by element.
    fn load_turned<const SIZE: usize>(&self, exec: &mut Exec<'_>, pad: [u8; CHUNK]) {
        let c0 = CHUNK / SIZE;
        let len = self.dst_bytes(c0);
        exec.mark(self.dst, len, false);
        let mut image = exec.bytes(self.dst, len).to_vec();
        let mut unknown = Vec::new();
        let mut written = 0;
        for chunk in 0..self.chunks {
            for row in 0..self.rows {
                let at = self.chunk(row, chunk);
                let from = match at {
                    Chunk::At(offset) => Some(self.src.plus(distance(offset as u64))),
                    Chunk::Pad => None,
                    Chunk::Outside => continue,
                };
                let bytes = from.map_or(&pad[..], |from| exec.bytes(from, CHUNK));
                for (i, piece) in bytes.chunks_exact(SIZE).enumerate() {
                    image[self.place(row, chunk * c0 + i, c0)..][..SIZE].copy_from_slice(piece);
                }
                written += c0;
                if from.is_some_and(|from| !exec.is_init(from, CHUNK as u64)) {
                    unknown.push((row, chunk));
                }
            }
        }
        exec.bytes_mut(self.dst, len).copy_from_slice(&image);
        if written * SIZE == len && unknown.is_empty() {
            return exec.mark(self.dst, len, true);
        }
        for chunk in 0..self.chunks {
            for row in (0..self.rows).filter(|row| self.chunk(*row, chunk) != Chunk::Outside) {
                for i in 0..c0 {
                    let to = self.dst.plus(distance(self.place(row, chunk * c0 + i, c0) as u64));
                    exec.mark(to, SIZE, true);
                }
            }
        }
        for (row, chunk) in unknown {
            let Chunk::At(offset) = self.chunk(row, chunk) else { continue };
            for i in 0..c0 {
                let from = self.src.plus(distance((offset + i * SIZE) as u64));
                let known = exec.is_init(from, SIZE as u64);
                let to = self.dst.plus(distance(self.place(row, chunk * c0 + i, c0) as u64));
                exec.mark(to, SIZE, known);
            }
        }
    }
}

/// One axis from its length, padding before and after, filter size, and the operand numbers of stride and
/// dilation.
fn axis(
    exec: &Exec<'_>,
    len: usize,
    pads: [usize; 2],
    taps: usize,
    operands: [usize; 2],
) -> Result<Axis, Stop> {
    let stride = length(operand(exec, operands[0], 1..=63)?);
    let dilation = length(operand(exec, operands[1], 1..=255)?);
    let (padded, reach) = (len + pads[0] + pads[1], (taps - 1) * dilation + 1);
    if reach > padded {
        return Err(Stop::fault(
            FaultKind::Operand,
            format!(
                "a filter of {taps} with dilation {dilation} reaches over {reach} of {padded} padded pixels"
            ),
        ));
    }
    Ok(Axis { len, pad: pads[0], stride, taps, dilation, out: (padded - reach) / stride + 1 })
}

fn run(exec: &mut Exec<'_>, to: Space) -> Result<(), Stop> {
    let size = exec.instr.elem.bytes();
    if !matches!(size, 1 | 2 | 4) {
        return Err(Stop::unsupported(format!(
            "{} of {:?}; 8, 16 and 32-bit elements are modelled",
            exec.instr.op.mnemonic, exec.instr.elem
        )));
    }
    let Some(load) = Load3d::decode(exec, to, size)? else {
        return Ok(());
    };
    load.touch(exec, CHUNK / size)?;
    if exec.is_dry() {
        return Ok(());
    }
    let value = exec.instr.regs.padding.to_le_bytes();
    let pad = std::array::from_fn(|i| value[i % size]);
    match (load.form, size) {
        (Form::Rows, _) => load.load_rows(exec, pad),
        (_, 2) => load.load_turned::<2>(exec, pad),
        _ => load.load_turned::<4>(exec, pad),
    }
    Ok(())
}

#[cfg(test)]
#[path = "img2col_tests.rs"]
mod tests;
