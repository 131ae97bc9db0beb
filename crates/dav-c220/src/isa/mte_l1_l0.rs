//! L1 -> L0A, L0B (MTE1), fills of L1, L0A, L0B, L1 -> BT and L1 -> FB. dav-c220.md 3.3. Load3Dv2 is in
//! `img2col`.

use super::transfer::{bad_operand, distance, expect_operands, flag, length, operand};
use crate::access::{Access, Addr, Exec, Instr, OpInfo, Pipe, Semantic, Space, Stop};

/// Bytes of a fractal in L1, L0A and L0B.
const FRACTAL: u64 = 512;

const LOAD_2D: &[&str] =
    &["dst", "src", "baseIdx", "repeat", "srcStride", "dstStride", "sid", "transpose", "addr_cal_mode"];
const LOAD_SQUARES: &[&str] =
    &["dst", "src", "indexID", "repeat", "srcStride", "dstStride", "addrmode", "dstFracStride"];
const LOAD_2D_SOURCE: &str = "asc-devkit LoadData, 2D, and scripts/load2d.py; dav-c220.md 3.3";
const SQUARES_SOURCE: &str = "asc-devkit LoadDataWithTranspose; dav-c220.md 3.3";

const fn fill(mnemonic: &'static str, pipe: Pipe, run: Semantic) -> OpInfo {
    OpInfo::transfer(
        mnemonic,
        pipe,
        run,
        &["dst", "repeat", "value"],
        "asc-devkit Fill (InitConstValue); dav-c220.md 3.3",
    )
}

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo::transfer("load_cbuf_to_ca", Pipe::Mte1, load_cbuf_to_ca, LOAD_2D, LOAD_2D_SOURCE),
    OpInfo::transfer("load_cbuf_to_cb", Pipe::Mte1, load_cbuf_to_cb, LOAD_2D, LOAD_2D_SOURCE),
    OpInfo::transfer(
        "load_cbuf_to_ca_transpose",
        Pipe::Mte1,
        load_cbuf_to_ca_transpose,
        LOAD_SQUARES,
        SQUARES_SOURCE,
    ),
    OpInfo::transfer(
        "load_cbuf_to_cb_transpose",
        Pipe::Mte1,
        load_cbuf_to_cb_transpose,
        LOAD_SQUARES,
        SQUARES_SOURCE,
    ),
    OpInfo::transfer(
        "copy_cbuf_to_bt",
        Pipe::Mte1,
        copy_cbuf_to_bt,
        &["dst", "src", "convControl", "nBurst", "lenBurst", "sourceGap", "dstGap"],
        "asc-devkit DataCopy, L1 to BiasTable; dav-c220.md 3.3",
    ),
    OpInfo::transfer(
        "copy_cbuf_to_fbuf",
        Pipe::Fix,
        copy_cbuf_to_fbuf,
        &["dst", "src", "burstNum", "burstLen", "srcGapSize", "dstGapSize"],
        "asc-devkit DataCopy, L1 to Fixpipe buffer; dav-c220.md 3.3",
    ),
    fill("create_cbuf_matrix", Pipe::Mte2, create_cbuf_matrix),
    fill("create_cbuf_matrix_bf16", Pipe::Mte2, create_cbuf_matrix),
    fill("create_ca_matrix", Pipe::Mte1, create_ca_matrix),
    fill("create_ca_matrix_bf16", Pipe::Mte1, create_ca_matrix),
    fill("create_cb_matrix", Pipe::Mte1, create_cb_matrix),
    fill("create_cb_matrix_bf16", Pipe::Mte1, create_cb_matrix),
];

/// An address in `space` with the alignment that the L0 paths ask for.
pub(super) fn aligned(exec: &Exec<'_>, i: usize, space: Space, align: i64) -> Result<Addr, Stop> {
    let addr = exec.address(i, space)?;
    exec.require_aligned(exec.instr.op.operands[i], addr, align)?;
    Ok(addr)
}

/// A run of fractals (LoadData 2D). The source advances by a stride, the destination by a gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fractals {
    first: i64,
    count: i64,
    src_pitch: i64,
    dst_pitch: i64,
}

impl Fractals {
    /// The operands baseIdx, repeat, srcStride, dstStride at `first..first + 4`. `backwards` is addr_cal_mode
    /// `dec`.
    pub(super) fn decode(exec: &Exec<'_>, first: usize, backwards: bool) -> Result<Fractals, Stop> {
        let base = operand(exec, first, 0..=65535)?;
        let count = operand(exec, first + 1, 0..=255)?;
        let stride = distance(operand(exec, first + 2, 0..=65535)? * FRACTAL);
        let gap = operand(exec, first + 3, 0..=65535)?;
        Ok(Fractals {
            first: distance(base * FRACTAL),
            count: distance(count),
            src_pitch: if backwards { -stride } else { stride },
            dst_pitch: distance((gap + 1) * FRACTAL),
        })
    }

    fn touch(self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        let count = self.count.cast_unsigned();
        exec.touch_strided("src", src.plus(self.first), FRACTAL, self.src_pitch, count, Access::Read)?;
        exec.touch_strided("dst", dst, FRACTAL, self.dst_pitch, count, Access::Write)
    }

    /// Moves the fractals as they are.
    pub(super) fn load(self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        self.touch(exec, dst, src)?;
        if exec.is_dry() {
            return Ok(());
        }
        let fractal = distance(FRACTAL);
        let src = src.plus(self.first);
        if self.src_pitch == fractal && self.dst_pitch == fractal {
            exec.copy(dst, src, length((self.count * fractal).cast_unsigned()));
            return Ok(());
        }
        for i in 0..self.count {
            exec.copy(dst.plus(i * self.dst_pitch), src.plus(i * self.src_pitch), length(FRACTAL));
        }
        Ok(())
    }

    /// Moves the fractals, each 16 x 16 of 16-bit elements transposed on the way.
    fn load_transposed(self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        self.touch(exec, dst, src)?;
        if exec.is_dry() {
            return Ok(());
        }
        let src = src.plus(self.first);
        for i in 0..self.count {
            let square = Square::read(exec, src.plus(i * self.src_pitch), 2);
            square.write_transposed(exec, dst.plus(i * self.dst_pitch), 0);
        }
        Ok(())
    }
}

fn load_cbuf_to_ca(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    load_2d(exec, Space::L0a)
}

fn load_cbuf_to_cb(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    load_2d(exec, Space::L0b)
}

fn load_2d(exec: &mut Exec<'_>, to: Space) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (aligned(exec, 0, to, 512)?, aligned(exec, 1, Space::L1, 32)?);
    let run = Fractals::decode(exec, 2, flag(exec, 8))?;
    if !flag(exec, 7) {
        return run.load(exec, dst, src);
    }
    if exec.instr.elem.bytes() != 2 {
        let elem = exec.instr.elem;
        return Err(bad_operand(
            exec,
            7,
            &format!("0: {elem:?} is not 16 bits wide, only such fractals transpose"),
        ));
    }
    run.load_transposed(exec, dst, src)
}

/// A square block of elements and which of its bytes were ever written: what the transposing loads turn.
struct Square {
    size: usize,
    side: usize,
    bytes: [u8; 1024],
    /// `None` when all bytes were written.
    written: Option<[bool; 1024]>,
}

impl Square {
    /// Side of the square for an element size: a whole number of fractals wide and high.
    fn side(size: usize) -> usize {
        if size == 1 {
            32
        } else {
            16
        }
    }

    /// Reads the fractals of one square, which are adjacent in L1. Elements of 4 bytes have two fractals side
    /// by side.
    fn read(exec: &Exec<'_>, src: Addr, size: usize) -> Square {
        let side = Self::side(size);
        let len = side * side * size;
        let mut bytes = [0; 1024];
        bytes[..len].copy_from_slice(exec.bytes(src, len));
        let known = exec.is_init(src, len as u64);
        let written = (!known).then(|| {
            let map = &exec.local[src.space.local_index()].init;
            let start = length(src.offset.cast_unsigned());
            std::array::from_fn(|i| i < len && map.get(start + i))
        });
        Square { size, side, bytes, written }
    }

    /// Byte offset of element (row, col) inside the square's fractals, in fractal order.
    fn at(&self, row: usize, col: usize) -> usize {
        let per_row = 32 / self.size;
        (col / per_row) * 512 + row * 32 + (col % per_row) * self.size
    }

    /// Writes the transpose; its second fractal follows the first after a gap of `frac_gap` bytes.
    fn write_transposed(&self, exec: &mut Exec<'_>, dst: Addr, frac_gap: i64) {
        if let (2, None, Some(fractal)) = (self.size, &self.written, self.bytes.first_chunk::<512>()) {
            exec.bytes_mut(dst, 512).copy_from_slice(&transposed_16x16(fractal));
            exec.mark(dst, 512, true);
            return;
        }
        let mut turned = [0; 1024];
        let mut known = [true; 1024];
        for row in 0..self.side {
            for col in 0..self.side {
                let (to, from) = (self.at(row, col), self.at(col, row));
                turned[to..to + self.size].copy_from_slice(&self.bytes[from..from + self.size]);
                if let Some(written) = &self.written {
                    known[to..to + self.size].copy_from_slice(&written[from..from + self.size]);
                }
            }
        }
        let len = self.side * self.side * self.size;
        for (i, (part, bits)) in turned[..len].chunks_exact(512).zip(known.chunks_exact(512)).enumerate() {
            let at = dst.plus(i as i64 * (512 + frac_gap));
            exec.bytes_mut(at, 512).copy_from_slice(part);
            exec.mark(at, 512, true);
            if self.written.is_some() {
                for (j, _) in bits.iter().enumerate().filter(|(_, set)| !**set) {
                    exec.mark(at.plus(j as i64), 1, false);
                }
            }
        }
    }
}

/// A fractal of 16 x 16 elements of 16 bits, transposed: in blocks of 4 x 4 whose rows are words, four blocks
/// at once so that the compiler uses vectors.
fn transposed_16x16(fractal: &[u8; 512]) -> [u8; 512] {
    /// Exchanges the bits `mask << shift` of `a` with the bits `mask` of `b`.
    fn exchange(a: &mut [u64; 4], b: &mut [u64; 4], shift: u32, mask: u64) {
        for (a, b) in a.iter_mut().zip(b) {
            let t = (*a >> shift ^ *b) & mask;
            *b ^= t;
            *a ^= t << shift;
        }
    }
    let rows: [[u64; 4]; 16] = bytemuck::cast(*fractal);
    let mut turned = [[0; 4]; 16];
    for (i, quad) in rows.as_chunks::<4>().0.iter().enumerate() {
        let [mut a, mut b, mut c, mut d] = *quad;
        exchange(&mut a, &mut c, 32, 0xffff_ffff);
        exchange(&mut b, &mut d, 32, 0xffff_ffff);
        exchange(&mut a, &mut b, 16, 0x0000_ffff_0000_ffff);
        exchange(&mut c, &mut d, 16, 0x0000_ffff_0000_ffff);
        for j in 0..4 {
            for (r, row) in [a, b, c, d].iter().enumerate() {
                turned[4 * j + r][i] = row[j];
            }
        }
    }
    bytemuck::cast(turned)
}

fn load_cbuf_to_ca_transpose(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    load_squares(exec, Space::L0a)
}

fn load_cbuf_to_cb_transpose(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    load_squares(exec, Space::L0b)
}

/// LoadDataWithTranspose: indexID and srcStride count squares; the gaps count fractals, dstStride from the
/// end of an iteration's first fractal, dstFracStride between the two fractals of one square.
fn load_squares(exec: &mut Exec<'_>, to: Space) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (aligned(exec, 0, to, 512)?, aligned(exec, 1, Space::L1, 32)?);
    let size = exec.instr.elem.bytes();
    if !matches!(size, 1 | 2 | 4) {
        return Err(Stop::unsupported(format!(
            "{} of {:?}; 8, 16 and 32-bit elements are modelled",
            exec.instr.op.mnemonic, exec.instr.elem
        )));
    }
    let square = if size == 2 { FRACTAL } else { 2 * FRACTAL };
    let first = distance(operand(exec, 2, 0..=65535)? * square);
    let count = distance(operand(exec, 3, 0..=255)?);
    let stride = distance(operand(exec, 4, 0..=65535)? * square);
    let src_pitch = if flag(exec, 6) { -stride } else { stride };
    let dst_pitch = distance((operand(exec, 5, 0..=65535)? + 1) * FRACTAL);
    let frac_gap = distance(operand(exec, 7, 0..=65535)? * FRACTAL);
    let fractals = square / FRACTAL;
    exec.touch_strided("src", src.plus(first), square, src_pitch, count.cast_unsigned(), Access::Read)?;
    for i in 0..count {
        let at = dst.plus(i * dst_pitch);
        exec.touch_strided("dst", at, FRACTAL, distance(FRACTAL) + frac_gap, fractals, Access::Write)?;
    }
    for i in 0..count {
        let block = Square::read(exec, src.plus(first + i * src_pitch), size);
        block.write_transposed(exec, dst.plus(i * dst_pitch), frac_gap);
    }
    Ok(())
}

/// L1 -> BT, in units of 64 bytes; convControl 1 widens f16 to f32.
///
/// ASSUMPTION(bt-gap): gaps run from the end of a burst to the start of the next, the source's in blocks of
/// 32 bytes, the table's in units of 64; lenBurst counts the source's bytes. The vendor's page contradicts
/// itself for gap 0.
fn copy_cbuf_to_bt(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (aligned(exec, 0, Space::Bt, 64)?, aligned(exec, 1, Space::L1, 32)?);
    let widen = operand(exec, 2, 0..=1)? == 1;
    let count = operand(exec, 3, 0..=4095)?;
    let len = operand(exec, 4, 0..=65535)? * 64;
    let dst_len = if widen { 2 * len } else { len };
    let src_pitch = distance(len + operand(exec, 5, 0..=65535)? * 32);
    let dst_pitch = distance(dst_len + operand(exec, 6, 0..=65535)? * 64);
    exec.touch_strided("src", src, len, src_pitch, count, Access::Read)?;
    exec.touch_strided("dst", dst, dst_len, dst_pitch, count, Access::Write)?;
    for i in 0..distance(count) {
        let (to, from) = (dst.plus(i * dst_pitch), src.plus(i * src_pitch));
        if widen {
            widen_f16(exec, to, from, length(len));
        } else {
            exec.copy(to, from, length(len));
        }
    }
    Ok(())
}

fn widen_f16(exec: &mut Exec<'_>, dst: Addr, src: Addr, len: usize) {
    let data = exec.bytes(src, len).to_vec();
    for (i, pair) in data.chunks_exact(2).enumerate() {
        let value = half::f16::from_le_bytes([pair[0], pair[1]]).to_f32();
        let to = dst.plus(4 * i as i64);
        exec.bytes_mut(to, 4).copy_from_slice(&value.to_le_bytes());
        let known = exec.is_init(src.plus(2 * i as i64), 2);
        exec.mark(to, 4, known);
    }
}

/// L1 -> FB in units of 128 bytes. Both "gaps" run from start to start, the source's in blocks of 32 bytes
/// (asc-devkit DataCopy, L1 to Fixpipe buffer).
fn copy_cbuf_to_fbuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (aligned(exec, 0, Space::Fb, 128)?, aligned(exec, 1, Space::L1, 32)?);
    let count = operand(exec, 2, 0..=4095)?;
    let len = operand(exec, 3, 0..=65535)? * 128;
    let src_pitch = distance(operand(exec, 4, 0..=65535)? * 32);
    let dst_pitch = distance(operand(exec, 5, 0..=65535)? * 128);
    exec.touch_strided("src", src, len, src_pitch, count, Access::Read)?;
    exec.touch_strided("dst", dst, len, dst_pitch, count, Access::Write)?;
    for i in 0..distance(count) {
        exec.copy(dst.plus(i * dst_pitch), src.plus(i * src_pitch), length(len));
    }
    Ok(())
}

fn create_cbuf_matrix(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    fill_blocks(exec, Space::L1, 32)
}

fn create_ca_matrix(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    fill_blocks(exec, Space::L0a, FRACTAL)
}

fn create_cb_matrix(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    fill_blocks(exec, Space::L0b, FRACTAL)
}

/// `repeat` packs repeatTimes, blockNum << 16 and dstGap << 32 (15 bits each); the value's width follows from
/// the element type of the overload, or from that of the value where the destination is `void*`.
fn fill_blocks(exec: &mut Exec<'_>, space: Space, unit: u64) -> Result<(), Stop> {
    expect_operands(exec)?;
    let dst = aligned(exec, 0, space, distance(unit))?;
    let config = exec.arg(1);
    let field = |shift: u32| config >> shift & 0x7fff;
    let (count, len, gap) = (field(0), field(16) * unit, field(32) * unit);
    let value = exec.arg(2).to_le_bytes();
    let size = match exec.instr.elem.bytes() {
        2 => 2,
        4 => 4,
        _ => {
            return Err(Stop::unsupported(format!(
                "fill of {:?}; 16 and 32 bits are modelled",
                exec.instr.elem
            )))
        }
    };
    let pitch = distance(len + gap);
    exec.touch_strided("dst", dst, len, pitch, count, Access::Write)?;
    for i in 0..distance(count) {
        let at = dst.plus(i * pitch);
        for piece in exec.bytes_mut(at, length(len)).chunks_exact_mut(size) {
            piece.copy_from_slice(&value[..size]);
        }
        exec.mark(at, length(len), true);
    }
    Ok(())
}

#[cfg(test)]
#[path = "mte_l1_l0_tests.rs"]
mod tests;
