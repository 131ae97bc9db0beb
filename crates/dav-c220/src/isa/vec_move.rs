//! Instructions that move, spread and collect elements (`dav-c220.md` 3.7, 3.9).
//!
//! They move bits: no rounding, no NaN rule.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "element numbers of a repeat and checked UB offsets fit; GatherMask counts bytes of UB"
)]

use super::vec_forms::{UNARY, UNARY_NAMES, UNARY_OPERANDS};
use super::vec_lanes::{counted, Lanes};
use super::vec_operand::{Ints, Operand, BLOCK, LANES};
use super::vec_overlap::{check_overlap, require_disjoint, Accumulate};
use super::vec_value::no_such_type;
use crate::access::{
    range_text, Access, Addr, Elem, Exec, FaultKind, Instr, OpInfo, Semantic, Space, Stop, Strided,
    VectorOperands,
};

/// The unsigned type of an element's width, for instructions on any 16- or 32-bit data.
fn bits_type(instr: &Instr) -> Result<Elem, Stop> {
    match instr.elem.bytes() {
        2 => Ok(Elem::U16),
        4 => Ok(Elem::U32),
        _ => Err(no_such_type(instr, "16- and 32-bit types")),
    }
}

/// `vector_dup`: the scalar in every active lane.
fn run_dup(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let lanes = Lanes::new(instr, elem);
    let dst = Operand::of(exec, UNARY[0], elem)?;
    dst.check_write(exec, &lanes)?;
    let size = elem.bytes();
    let mut data = [0; 256];
    for x in data.chunks_exact_mut(size) {
        x.copy_from_slice(&instr.args[1].to_le_bytes()[..size]);
    }
    for r in 0..lanes.repeats {
        dst.store_raw(exec, &lanes, r, &data);
    }
    Ok(())
}

/// `vcopy`: active lanes as they are.
fn run_copy(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let lanes = Lanes::new(instr, elem);
    let dst = Operand::of(exec, UNARY[0], elem)?;
    let src = Operand::of(exec, UNARY[1], elem)?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    dst.check_write(exec, &lanes)?;
    let mut data = [0; 1024];
    for r in 0..lanes.repeats {
        src.load_raw(exec, &lanes, r, &mut data);
        dst.store_raw(exec, &lanes, r, &data);
    }
    Ok(())
}

/// `vbrcb`: repeat r fills its block j with element `8r + j`. The mask is ignored.
fn run_brcb(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let lanes = Lanes::unmasked(256 / elem.bytes(), instr.repeats() & 0xff);
    let dst = Operand::of(exec, SPREAD_DST, elem)?;
    let size = elem.bytes();
    let count = 8 * lanes.repeats;
    let src = Operand::of(exec, Strided::dense(1), elem)?;
    let src_len = count * size as u64;
    if lanes.repeats == 0 {
        return Ok(());
    }
    if let Some(r) = dst.first_repeat_within(&lanes, 0, src.addr.offset, src.addr.offset + src_len as i64) {
        let text = format!(
            "dst of repeat {r} overlaps src, {}; vbrcb takes disjoint operands",
            range_text(Space::Ub, src.addr.offset, src_len)
        );
        return Err(Stop::fault(FaultKind::Overlap, text));
    }
    exec.touch("src", src.addr, src_len, Access::Read)?;
    exec.require_init("src", src.addr, src_len)?;
    dst.check_write(exec, &lanes)?;
    let mut data = [0; 256];
    for r in 0..lanes.repeats {
        let from = exec.bytes(src.addr.plus((r * 8) as i64 * size as i64), 8 * size);
        for (block, x) in data.chunks_exact_mut(32).zip(from.chunks_exact(size)) {
            for to in block.chunks_exact_mut(size) {
                to.copy_from_slice(x);
            }
        }
        dst.store_raw(exec, &lanes, r, &data);
    }
    Ok(())
}

/// Address in UB that a gather computes: base and offset are 32 bits wide, as the registers are.
fn gathered(base: u64, offset: i64) -> Addr {
    let base = i64::from(base as u32);
    Addr { space: Space::Ub, offset: base + offset }
}

/// Checks one gathered piece.
fn check_gathered(exec: &mut Exec<'_>, dst: &Operand, lanes: &Lanes, at: Addr, len: i64) -> Result<(), Stop> {
    exec.require_aligned("src", at, len)?;
    exec.touch("src", at, len as u64, Access::Read)?;
    exec.require_init("src", at, len as u64)?;
    if let Some(r) = dst.first_repeat_within(lanes, 0, at.offset, at.offset + len) {
        let text = format!(
            "dst of repeat {r} overlaps the gathered {}",
            range_text(Space::Ub, at.offset, len as u64)
        );
        return Err(Stop::fault(FaultKind::Overlap, text));
    }
    Ok(())
}

/// `vgather`: `dst[i]` is the element at byte `offset[i]` behind the base.
fn run_gather(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let a = &instr.args;
    let size = elem.bytes();
    let lanes = Lanes::new(instr, elem);
    let dst = Operand::of(exec, GATHER_DST, elem)?;
    // One 32-bit offset for each lane: 512 bytes a repeat for 16-bit data.
    let offsets = Operand::new(exec, 1, Elem::U32, 1, lanes.per_repeat as u64 / 8)?;
    require_disjoint(&dst, &offsets, &lanes)?;
    offsets.check_read(exec, &lanes)?;
    let mut at: Ints = [0; LANES];
    for r in 0..lanes.repeats {
        offsets.load_int(exec, &lanes, r, &mut at);
        for (lane, at) in at.iter().enumerate().take(lanes.per_repeat) {
            if lanes.mask(r) >> lane & 1 == 1 {
                check_gathered(exec, &dst, &lanes, gathered(a[2], *at), size as i64)?;
            }
        }
    }
    dst.check_write(exec, &lanes)?;
    let mut data = [0; 256];
    for r in 0..lanes.repeats {
        offsets.load_int(exec, &lanes, r, &mut at);
        for (lane, (at, x)) in at.iter().zip(data.chunks_exact_mut(size)).enumerate() {
            if lanes.mask(r) >> lane & 1 == 1 {
                x.copy_from_slice(exec.bytes(gathered(a[2], *at), size));
            }
        }
        dst.store_raw(exec, &lanes, r, &data);
    }
    Ok(())
}

/// `vgatherb`: block j of repeat r is the block at byte `offset[8r + j]` behind the base.
///
/// The destination's block stride 0 means 1 (asc-devkit, `Gatherb(ISASI).md`).
/// ASSUMPTION(gatherb-mask): the mask is ignored; AscendC always sets a full one.
fn run_gather_blocks(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let a = &instr.args;
    let lanes = Lanes::unmasked(256 / elem.bytes(), instr.repeats() & 0xff);
    let dst = Operand::new(exec, 0, elem, a[4].max(1), a[3])?;
    let offsets = Operand::new(exec, 1, Elem::U32, 1, 1)?;
    let eight = Lanes::unmasked(8, lanes.repeats);
    require_disjoint(&dst, &offsets, &lanes)?;
    offsets.check_read(exec, &eight)?;
    let mut at: Ints = [0; LANES];
    for r in 0..lanes.repeats {
        offsets.load_int(exec, &eight, r, &mut at);
        for at in &at[..8] {
            check_gathered(exec, &dst, &lanes, gathered(a[2], *at), BLOCK)?;
        }
    }
    dst.check_write(exec, &lanes)?;
    let mut data = [0; 256];
    for r in 0..lanes.repeats {
        offsets.load_int(exec, &eight, r, &mut at);
        for (block, at) in data.chunks_exact_mut(32).zip(&at) {
            block.copy_from_slice(exec.bytes(gathered(a[2], *at), 32));
        }
        dst.store_raw(exec, &lanes, r, &data);
    }
    Ok(())
}

/// `vreducev2` (GatherMask): packs the selected elements of all repeats.
///
/// Pattern 0 takes bits from src1, consecutively within a repeat; 1 even lanes, 2 odd, 3..=6 lane `p - 3` of
/// each four, 7 all. In normal mode a repeat is 256 bytes; in counter mode it is `mask[0]` elements
/// (asc-devkit, `GatherMask.md`, "configuration 1", the one of A2).
fn run_compress(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let elem = bits_type(instr)?;
    let a = &instr.args;
    let size = elem.bytes();
    let pattern = a[5];
    if pattern > 7 {
        let text = format!("patternMode = {pattern}; it is 0 (bits in src1) or a fixed pattern 1..=7");
        return Err(Stop::fault(FaultKind::Operand, text));
    }
    let lanes = 256 / size as u64;
    let per_repeat = if instr.regs.counter_mode { counted(instr) } else { lanes };
    let dst = Operand::of(exec, COMPRESS_OPERANDS[0], elem)?;
    let src = Operand::of(exec, COMPRESS_OPERANDS[1], elem)?;
    let bits = if pattern == 0 { Some(Operand::of(exec, COMPRESS_OPERANDS[2], elem)?) } else { None };
    let per_block = 32 / size as u64;
    // Declared as u8 (block stride, src1RepeatStride) and u16.
    let [repeat, src0_blk, src0_rep, src1_rep] = [a[3] & 0xffff, a[4] & 0xff, a[6] & 0xffff, a[7] & 0xff];
    let mut out = Vec::new();
    for r in 0..repeat {
        let base = src.addr.plus((r * src0_rep) as i64 * BLOCK);
        let selecting = bits.as_ref().map(|bits| bits.addr.plus((r * src1_rep) as i64 * BLOCK));
        if let Some(at) = selecting {
            exec.touch("src1", at, per_repeat.div_ceil(8), Access::Read)?;
            exec.require_init("src1", at, per_repeat.div_ceil(8))?;
        }
        for i in 0..per_repeat {
            let at =
                base.plus((i / per_block * src0_blk) as i64 * BLOCK + (i % per_block) as i64 * size as i64);
            // Bounds are checked a block at a time: one that begins inside UB ends inside.
            if i % per_block == 0 {
                let len = per_block.min(per_repeat - i) * size as u64;
                exec.touch("src0", at, len, Access::Read)?;
                exec.require_init("src0", at, len)?;
                // With stride 0 src0 never leaves UB, however many elements are counted: dst faults before
                // the host's memory is full.
                if out.len() > exec.local[Space::Ub.local_index()].len() {
                    return store_compressed(exec, &dst, size, &out);
                }
            }
            let is_selected = selecting.map_or_else(
                || is_in_pattern(pattern, i),
                |bits| exec.bytes(bits.plus((i / 8) as i64), 1)[0] >> (i % 8) & 1 == 1,
            );
            if is_selected {
                out.extend_from_slice(exec.bytes(at, size));
            }
        }
    }
    store_compressed(exec, &dst, size, &out)
}

/// Does a fixed pattern take lane `i`?
fn is_in_pattern(pattern: u64, i: u64) -> bool {
    match pattern {
        1 | 2 => i % 2 == pattern - 1,
        7 => true,
        _ => i % 4 == pattern - 3,
    }
}

fn store_compressed(exec: &mut Exec<'_>, dst: &Operand, size: usize, out: &[u8]) -> Result<(), Stop> {
    if !out.is_empty() {
        exec.touch("dst", dst.addr, out.len() as u64, Access::Write)?;
        exec.mark(dst.addr, out.len(), true);
        exec.bytes_mut(dst.addr, out.len()).copy_from_slice(out);
    }
    exec.vector.rsvd_cnt = (out.len() / size) as u64;
    Ok(())
}

/// `vtranspose`: one 16x16 tile of 16-bit elements.
fn run_transpose(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    if instr.elem.bytes() != 2 {
        return Err(no_such_type(instr, "16-bit types"));
    }
    let tile = Lanes::unmasked(128, 2);
    let dst = Operand::of(exec, Strided::dense(0), Elem::U16)?;
    let src = Operand::of(exec, Strided::dense(1), Elem::U16)?;
    require_disjoint(&dst, &src, &tile)?;
    src.check_read(exec, &tile)?;
    dst.check_write(exec, &tile)?;
    let mut from = [0; 512];
    from.copy_from_slice(exec.bytes(src.addr, 512));
    let to = exec.bytes_mut(dst.addr, 512);
    for i in 0..16 {
        for j in 0..16 {
            to[2 * (16 * j + i)..][..2].copy_from_slice(&from[2 * (16 * i + j)..][..2]);
        }
    }
    Ok(())
}

const fn op(mnemonic: &'static str, operands: &'static VectorOperands, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, operands, "dav-c220.md 3.7, 3.9, 2.2", run)
}

const DUP: &VectorOperands =
    &VectorOperands { names: &DUP_NAMES, repeat: Some(2), dst: Some(UNARY[0]), sources: &[] };
const DUP_NAMES: [&str; 7] = {
    let mut names = UNARY_NAMES;
    names[1] = "scalar";
    names
};
const COPY: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "repeat", "dstStride", "srcStride", "dstRepeatSize", "srcRepeatSize"],
    ..*UNARY_OPERANDS
};
/// Reads one block for many repeats.
const SPREAD: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "dstBlockStride", "dstRepeatStride", "repeat"],
    repeat: Some(4),
    dst: Some(SPREAD_DST),
    sources: &[],
};
const SPREAD_DST: Strided = Strided::new(0, 2, 3);
/// Reads element by element.
const GATHER: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "offsetAddr", "dstRepeatStride", "repeat"],
    repeat: Some(4),
    dst: Some(GATHER_DST),
    sources: &[],
};
const GATHER_DST: Strided = Strided::by_repeats(0, 3);
const GATHER_BLOCKS: &VectorOperands = &VectorOperands {
    names: &["dst", "src", "offsetAddr", "dstRepeatStride", "dstBlockStride", "repeat"],
    repeat: Some(5),
    dst: Some(Strided::new(0, 4, 3)),
    sources: &[],
};
const COMPRESS: &VectorOperands = &VectorOperands {
    names: &[
        "dst",
        "src0",
        "src1",
        "repeat",
        "src0BlockStride",
        "patternMode",
        "src0RepeatStride",
        "src1RepeatStride",
    ],
    repeat: Some(3),
    dst: Some(COMPRESS_OPERANDS[0]),
    sources: &[COMPRESS_OPERANDS[1], COMPRESS_OPERANDS[2]],
};
const COMPRESS_OPERANDS: [Strided; 3] = [Strided::dense(0), Strided::new(1, 4, 6), Strided::by_repeats(2, 7)];
const TRANSPOSE: &VectorOperands = &VectorOperands {
    names: &["dst", "src"],
    repeat: None,
    dst: Some(Strided::dense(0)),
    sources: &[Strided::dense(1)],
};

pub(crate) static OPS: &[OpInfo] = &[
    op("vector_dup", DUP, run_dup),
    op("vcopy", COPY, run_copy),
    op("vbrcb", SPREAD, run_brcb),
    op("vgather", GATHER, run_gather),
    op("vgatherb", GATHER_BLOCKS, run_gather_blocks),
    op("vreducev2", COMPRESS, run_compress),
    op("vtranspose", TRANSPOSE, run_transpose),
];
