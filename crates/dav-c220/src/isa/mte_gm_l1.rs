//! GM <-> L1 (MTE2, MTE3), with the ND to NZ layout change, and fractals from GM to L1, L0A, L0B. dav-c220.md
//! 3.2.

use super::mte_l1_l0::Fractals;
use super::transfer::{distance, expect_operands, flag, length, operand, Bursts};
use crate::access::{Access, Addr, Dispatch, Exec, Instr, OpInfo, Pipe, Rate, Semantic, Space, Stop};

/// A DataBlock: one row of a fractal, and the unit of L1 addresses and strides.
const BLOCK: u64 = 32;

const LOAD_FRACTALS: &[&str] =
    &["dst", "src", "baseIdx", "repeat", "srcStride", "dstStride", "sid", "addr_cal_mode"];
const ND2NZ: &[&str] = &[
    "dst",
    "src",
    "sid",
    "ndNum",
    "nValue",
    "dValue",
    "srcNdMatrixStride",
    "srcDValue",
    "dstNzC0Stride",
    "dstNzNStride",
    "dstNzMatrixStride",
];
const ND2NZ_SOURCE: &str = "asc-devkit DataCopy, GM to L1 with ND2NZ; dav-c220.md 3.2";

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo {
        mnemonic: "copy_gm_to_cbuf",
        dispatch: Dispatch::Queued(Pipe::Mte2, copy_gm_to_cbuf),
        operands: &["dst", "src", "sid", "nBurst", "lenBurst", "srcStride", "dstStride", "padMode"],
        source: "asc-devkit DataCopy, GM to L1; dav-c220.md 3.2",
        rate: Rate::Path,
    },
    OpInfo {
        mnemonic: "copy_cbuf_to_gm",
        dispatch: Dispatch::Queued(Pipe::Mte3, copy_cbuf_to_gm),
        operands: &["dst", "src", "sid", "nBurst", "lenBurst", "srcStride", "dstStride"],
        source: "asc-devkit DataCopy, L1 to GM; dav-c220.md 3.2",
        rate: Rate::Path,
    },
    nd2nz("copy_gm_to_cbuf_multi_nd2nz_b8", nd2nz_of_size::<1>),
    nd2nz("copy_gm_to_cbuf_multi_nd2nz_b16", nd2nz_of_size::<2>),
    nd2nz("copy_gm_to_cbuf_multi_nd2nz_b32s", nd2nz_of_size::<4>),
    load("load_gm_to_cbuf", load_gm_to_cbuf),
    load("load_gm_to_ca", load_gm_to_ca),
    load("load_gm_to_cb", load_gm_to_cb),
];

const fn nd2nz(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Queued(Pipe::Mte2, run),
        operands: ND2NZ,
        source: ND2NZ_SOURCE,
        rate: Rate::PathNd2nz,
    }
}

const fn load(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Queued(Pipe::Mte2, run),
        operands: LOAD_FRACTALS,
        source: "asc-devkit LoadData, 2D, from GM; dav-c220.md 3.2",
        rate: Rate::Path,
    }
}

fn l1_address(exec: &Exec<'_>, i: usize) -> Result<Addr, Stop> {
    let addr = exec.address(i, Space::L1)?;
    exec.require_aligned(exec.instr.op.operands[i], addr, distance(BLOCK))?;
    Ok(addr)
}

fn copy_gm_to_cbuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (l1_address(exec, 0)?, exec.address(1, Space::Gm)?);
    // Only PAD_NONE exists on this chip's path; the other pad_t values belong to convolution front ends.
    operand(exec, 7, 0..=0)?;
    Bursts::decode(exec, 3, BLOCK)?.load(exec, dst, src)
}

fn copy_cbuf_to_gm(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (exec.address(0, Space::Gm)?, l1_address(exec, 1)?);
    Bursts::decode(exec, 3, BLOCK)?.store(exec, dst, src)
}

fn load_gm_to_cbuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let dst = l1_address(exec, 0)?;
    load_fractals(exec, dst)
}

fn load_gm_to_ca(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let dst = exec.address(0, Space::L0a)?;
    exec.require_aligned("dst", dst, 512)?;
    load_fractals(exec, dst)
}

fn load_gm_to_cb(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let dst = exec.address(0, Space::L0b)?;
    exec.require_aligned("dst", dst, 512)?;
    load_fractals(exec, dst)
}

fn load_fractals(exec: &mut Exec<'_>, dst: Addr) -> Result<(), Stop> {
    let src = exec.address(1, Space::Gm)?;
    Fractals::decode(exec, 2, flag(exec, 7))?.load(exec, dst, src)
}

/// Row-major matrices in GM and where their rows land in L1. Strides in bytes.
struct Nd2Nz {
    matrices: u64,
    rows: u64,
    row_bytes: u64,
    src_matrix: u64,
    src_row: u64,
    dst_matrix: u64,
    /// Between the strips of 32 bytes x `rows`.
    dst_strip: u64,
    /// Between the rows of a strip.
    dst_row: u64,
}

impl Nd2Nz {
    fn decode(exec: &Exec<'_>, size: u64) -> Result<Nd2Nz, Stop> {
        Ok(Nd2Nz {
            matrices: operand(exec, 3, 0..=4095)?,
            rows: operand(exec, 4, 0..=16384)?,
            row_bytes: operand(exec, 5, 0..=65535)? * size,
            src_matrix: operand(exec, 6, 0..=65535)? * size,
            src_row: operand(exec, 7, 1..=65535)? * size,
            dst_strip: operand(exec, 8, 1..=16384)? * BLOCK,
            dst_row: operand(exec, 9, 1..=16384)? * BLOCK,
            dst_matrix: operand(exec, 10, 0..=65535)? * size,
        })
    }

    fn strips(&self) -> u64 {
        self.row_bytes.div_ceil(BLOCK)
    }

    /// Checks all accesses of one matrix, with as few ranges as its strides allow.
    fn touch(&self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        exec.touch_strided("src", src, self.row_bytes, distance(self.src_row), self.rows, Access::Read)?;
        exec.require_aligned("dst", dst, distance(BLOCK))?;
        if self.dst_row == BLOCK {
            let (len, pitch) = (self.rows * BLOCK, distance(self.dst_strip));
            return exec.touch_strided("dst", dst, len, pitch, self.strips(), Access::Write);
        }
        for strip in 0..self.strips() {
            let at = dst.plus(distance(strip * self.dst_strip));
            exec.touch_strided("dst", at, BLOCK, distance(self.dst_row), self.rows, Access::Write)?;
        }
        Ok(())
    }

    /// Moves one checked matrix; `row` is scratch of whole blocks whose tail is zero.
    fn move_matrix(&self, exec: &mut Exec<'_>, dst: Addr, src: Addr, row: &mut [u8]) {
        let (strip, pitch) = (length(self.dst_strip), length(self.dst_row));
        const WIDTH: usize = 32; // BLOCK, as a length
        let reach = (length(self.strips()) - 1) * strip + (length(self.rows) - 1) * pitch + WIDTH;
        for n in 0..length(self.rows) {
            exec.gm_read(src.plus(distance(n as u64 * self.src_row)), &mut row[..length(self.row_bytes)]);
            let out = exec.bytes_mut(dst, reach);
            // Blocks of a size that the compiler knows are moved in registers.
            let mut at = n * pitch;
            for chunk in row.as_chunks::<WIDTH>().0 {
                if let Some(to) = out.get_mut(at..).and_then(|o| o.first_chunk_mut()) {
                    *to = *chunk;
                }
                at += strip;
            }
        }
    }

    /// Marks what one matrix wrote; what GM never held stays unspecified.
    fn mark(&self, exec: &mut Exec<'_>, dst: Addr, src: Addr) {
        for strip in 0..self.strips() {
            let at = dst.plus(distance(strip * self.dst_strip));
            if self.dst_row == BLOCK {
                exec.mark(at, length(self.rows * BLOCK), true);
            } else {
                for n in 0..self.rows {
                    exec.mark(at.plus(distance(n * self.dst_row)), length(BLOCK), true);
                }
            }
        }
        let dense = self.src_row == self.row_bytes;
        if dense && exec.is_init(src, self.rows * self.row_bytes) {
            return;
        }
        for n in 0..self.rows {
            let row = src.plus(distance(n * self.src_row));
            if exec.is_init(row, self.row_bytes) {
                continue;
            }
            for d in 0..self.row_bytes {
                let from = row.plus(distance(d)).offset.cast_unsigned();
                let to = d / BLOCK * self.dst_strip + n * self.dst_row + d % BLOCK;
                let written = exec.allocation(src).is_set(from);
                exec.mark(dst.plus(distance(to)), 1, written);
            }
        }
    }
}

/// `copy_gm_to_cbuf_multi_nd2nz_*`: element (n, d) of matrix i goes to strip d / C0, row n. The last strip's
/// columns beyond dValue become 0; rows beyond nValue are not written.
fn nd2nz_of_size<const SIZE: u64>(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (l1_address(exec, 0)?, exec.address(1, Space::Gm)?);
    let form = Nd2Nz::decode(exec, SIZE)?;
    if form.rows == 0 || form.row_bytes == 0 {
        return Ok(());
    }
    let place = |i: u64| (dst.plus(distance(i * form.dst_matrix)), src.plus(distance(i * form.src_matrix)));
    for i in 0..form.matrices {
        let (to, from) = place(i);
        form.touch(exec, to, from)?;
    }
    if exec.is_dry() {
        return Ok(());
    }
    let mut row = vec![0; length(form.strips() * BLOCK)];
    for i in 0..form.matrices {
        let (to, from) = place(i);
        form.move_matrix(exec, to, from, &mut row);
        form.mark(exec, to, from);
    }
    Ok(())
}

#[cfg(test)]
#[path = "mte_gm_l1_tests.rs"]
mod tests;
