//! GM <-> UB (MTE2, MTE3) and UB -> UB (V). dav-c220.md 3.1.

use super::transfer::{distance, expect_operands, length, operand, Bursts};
use crate::access::{Access, Addr, Exec, Instr, OpInfo, Pipe, Rate, Space, Stop};

/// A DataBlock: the unit of UB addresses and of the plain forms' counts.
const BLOCK: u64 = 32;

const PLAIN: &[&str] = &["dst", "src", "sid", "nBurst", "lenBurst", "srcStride", "dstStride"];
const ALIGN: &[&str] =
    &["dst", "src", "sid", "nBurst", "lenBurst", "leftPaddingNum", "rightPaddingNum", "srcGap", "dstGap"];

const LOAD_SOURCE: &str = "asc-devkit DataCopy and DataCopyPad, GM to UB; dav-c220.md 3.1";
const STORE_SOURCE: &str = "asc-devkit DataCopy and DataCopyPad, UB to GM; dav-c220.md 3.1";

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo::transfer("copy_gm_to_ubuf", Pipe::Mte2, copy_gm_to_ubuf, PLAIN, LOAD_SOURCE),
    OpInfo::transfer("copy_ubuf_to_gm", Pipe::Mte3, copy_ubuf_to_gm, PLAIN, STORE_SOURCE),
    OpInfo::transfer(
        "copy_ubuf_to_ubuf",
        Pipe::V,
        copy_ubuf_to_ubuf,
        PLAIN,
        "asc-devkit DataCopy, UB to UB; dav-c220.md 3.1",
    )
    .at(Rate::PathUb),
    OpInfo::transfer("copy_gm_to_ubuf_align_b8", Pipe::Mte2, load_align::<1>, ALIGN, LOAD_SOURCE),
    OpInfo::transfer("copy_gm_to_ubuf_align_b16", Pipe::Mte2, load_align::<2>, ALIGN, LOAD_SOURCE),
    OpInfo::transfer("copy_gm_to_ubuf_align_b32", Pipe::Mte2, load_align::<4>, ALIGN, LOAD_SOURCE),
    OpInfo::transfer("copy_ubuf_to_gm_align_b8", Pipe::Mte3, store_align, ALIGN, STORE_SOURCE),
    OpInfo::transfer("copy_ubuf_to_gm_align_b16", Pipe::Mte3, store_align, ALIGN, STORE_SOURCE),
    OpInfo::transfer("copy_ubuf_to_gm_align_b32", Pipe::Mte3, store_align, ALIGN, STORE_SOURCE),
];

fn copy_gm_to_ubuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (ub_address(exec, 0)?, exec.address(1, Space::Gm)?);
    Bursts::decode(exec, 3, BLOCK)?.load(exec, dst, src)
}

fn copy_ubuf_to_gm(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (exec.address(0, Space::Gm)?, ub_address(exec, 1)?);
    Bursts::decode(exec, 3, BLOCK)?.store(exec, dst, src)
}

fn copy_ubuf_to_ubuf(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (ub_address(exec, 0)?, ub_address(exec, 1)?);
    Bursts::decode(exec, 3, BLOCK)?.load(exec, dst, src)
}

fn ub_address(exec: &Exec<'_>, i: usize) -> Result<Addr, Stop> {
    let addr = exec.address(i, Space::Ub)?;
    exec.require_aligned(exec.instr.op.operands[i], addr, distance(BLOCK))?;
    Ok(addr)
}

/// Start-to-start distance in GM of bursts with a gap in bytes.
///
/// ASSUMPTION(gm-gap-signed): the 32-bit gap is added with wrap-around, so a gap of 2^32 - x steps back by x.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the operand is 32 bits wide; the cut is the wrap-around meant"
)]
fn gm_pitch(len: u64, gap: u64) -> i64 {
    distance(len) + i64::from((gap as u32).cast_signed())
}

/// Operands that all `align` forms share.
struct Align {
    count: u64,
    len: u64,
    src_gap: u64,
    dst_gap: u64,
}

impl Align {
    fn decode(exec: &Exec<'_>) -> Result<Align, Stop> {
        Ok(Align {
            count: operand(exec, 3, 0..=4095)?,
            len: operand(exec, 4, 0..=2_097_151)?,
            src_gap: operand(exec, 7, 0..=u64::from(u32::MAX))?,
            dst_gap: operand(exec, 8, 0..=u64::from(u32::MAX))?,
        })
    }
}

/// `copy_gm_to_ubuf_align_b*`: bursts of any byte length, each filled up to whole blocks in UB.
fn load_align<const SIZE: u64>(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (ub_address(exec, 0)?, exec.address(1, Space::Gm)?);
    let form = Align::decode(exec)?;
    // Each side's padding is at most 32 bytes.
    let left = operand(exec, 5, 0..=BLOCK / SIZE)? * SIZE;
    let right = operand(exec, 6, 0..=BLOCK / SIZE)? * SIZE;
    let footprint = (left + form.len + right).next_multiple_of(BLOCK);
    let src_pitch = gm_pitch(form.len, form.src_gap);
    let dst_pitch = distance(footprint + form.dst_gap * BLOCK);
    if footprint == form.len {
        return Bursts { count: form.count, len: form.len, dst_pitch, src_pitch }.load(exec, dst, src);
    }
    if form.count == 0 || form.len == 0 {
        return Ok(());
    }
    exec.touch_strided("src", src, form.len, src_pitch, form.count, Access::Read)?;
    exec.touch_strided("dst", dst, footprint, dst_pitch, form.count, Access::Write)?;
    if exec.is_dry() {
        return Ok(());
    }
    for i in 0..distance(form.count) {
        let (to, from) = (dst.plus(i * dst_pitch), src.plus(i * src_pitch));
        let data = to.plus(distance(left));
        exec.copy(data, from, length(form.len));
        let tail = data.plus(distance(form.len));
        let tail_len = length(footprint - left - form.len);
        if left == 0 && right == 0 {
            repeat_first::<SIZE>(exec, data, form.len, tail, tail_len);
        } else {
            fill(exec, to, length(left), SIZE);
            fill(exec, tail, tail_len, SIZE);
        }
    }
    Ok(())
}

/// Fills with the pattern of `set_mov_pad_val`.
fn fill(exec: &mut Exec<'_>, at: Addr, len: usize, size: u64) {
    let pattern = exec.instr.regs.mov_pad_val.to_le_bytes();
    for (i, byte) in exec.bytes_mut(at, len).iter_mut().enumerate() {
        *byte = pattern[i % length(size)];
    }
    exec.mark(at, len, true);
}

/// Without padding operands the rest of the last block repeats the burst's first element (DataCopyPad, GM to
/// UB).
fn repeat_first<const SIZE: u64>(exec: &mut Exec<'_>, data: Addr, len: u64, tail: Addr, tail_len: usize) {
    let size = length(SIZE.min(len));
    let mut first = [0; 4];
    first[..size].copy_from_slice(exec.bytes(data, size));
    let known = exec.is_init(data, size as u64);
    for (i, byte) in exec.bytes_mut(tail, tail_len).iter_mut().enumerate() {
        *byte = first[i % size];
    }
    exec.mark(tail, tail_len, known);
}

/// `copy_ubuf_to_gm_align_b*`: bursts of any byte length; the fill of the last block stays in UB.
fn store_align(exec: &mut Exec<'_>, _: &Instr) -> Result<(), Stop> {
    expect_operands(exec)?;
    let (dst, src) = (exec.address(0, Space::Gm)?, ub_address(exec, 1)?);
    let form = Align::decode(exec)?;
    for i in [5, 6] {
        operand(exec, i, 0..=0)?;
    }
    let src_pitch = distance(form.len.next_multiple_of(BLOCK) + form.src_gap * BLOCK);
    let dst_pitch = gm_pitch(form.len, form.dst_gap);
    Bursts { count: form.count, len: form.len, dst_pitch, src_pitch }.store(exec, dst, src)
}

#[cfg(test)]
#[path = "mte_gm_ub_tests.rs"]
mod tests;
