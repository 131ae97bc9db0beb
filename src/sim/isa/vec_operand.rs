//! Operands of V instructions: lanes, masks, repeats, strides, and the checks on every access (`dav-c220.md` 2.2).
//!
//! An instruction runs in repeats of up to 256 bytes. A repeat is loaded into an array of lanes, computed as a
//! whole, and stored under its mask. So all sources of a repeat are read before its destination is written.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lane counts and offsets are bounded by the checks on the operands; integer stores wrap by definition"
)]

use half::{bf16, f16, slice::HalfFloatSliceExt};

use crate::sim::addr::Addr;
use crate::sim::fault::range_text;
use crate::sim::instr::{Elem, Instr};
use crate::sim::machine::{Access, Exec};
use crate::sim::{FaultKind, Space, Stop};

/// Bytes of a block ("DataBlock").
pub(super) const BLOCK: i64 = 32;
/// Most lanes of a repeat.
pub(super) const LANES: usize = 128;

/// A repeat of floating point lanes.
pub(super) type F32s = [f32; LANES];
/// A repeat of integer lanes.
pub(super) type Ints = [i64; LANES];

/// Bits `0..n`.
fn low_bits(n: usize) -> u128 {
    if n >= 128 {
        u128::MAX
    } else {
        (1 << n) - 1
    }
}

/// Which lanes of which repeats are active.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// Lanes of a repeat, active or not.
    pub(super) per_repeat: usize,
    /// Repeats that are executed.
    pub(super) repeats: u64,
    /// Mask of all repeats but the last.
    body: u128,
    /// Mask of the last repeat.
    last: u128,
}

impl Lanes {
    /// Lanes of an instruction whose widest operand has `elem`; operand `repeat` is its repeat count.
    pub(super) fn new(instr: &Instr, elem: Elem, repeat: usize) -> Lanes {
        Self::with_lanes(instr, 256 / elem.bytes(), instr.args[repeat])
    }

    /// The mask register applied to `repeats` repeats of `per_repeat` lanes.
    pub(super) fn with_lanes(instr: &Instr, per_repeat: usize, repeats: u64) -> Lanes {
        let regs = &instr.regs;
        let all = low_bits(per_repeat);
        if regs.counter_mode {
            let n = regs.mask[0];
            let repeats = n.div_ceil(per_repeat as u64);
            let tail = n as usize % per_repeat;
            let last = if tail == 0 { all } else { low_bits(tail) };
            return Lanes { per_repeat, repeats, body: all, last };
        }
        let mask = (u128::from(regs.mask[1]) << 64 | u128::from(regs.mask[0])) & all;
        let repeats = if mask == 0 { 0 } else { repeats };
        Lanes { per_repeat, repeats, body: mask, last: mask }
    }

    /// All lanes of `repeats` repeats: instructions that ignore the mask.
    pub(super) fn unmasked(per_repeat: usize, repeats: u64) -> Lanes {
        let all = low_bits(per_repeat);
        Lanes { per_repeat, repeats, body: all, last: all }
    }

    /// Active lanes of repeat `r`.
    pub(super) fn mask(&self, r: u64) -> u128 {
        if r + 1 == self.repeats {
            self.last
        } else {
            self.body
        }
    }

    /// Are all lanes of `mask` active?
    pub(super) fn is_full(&self, mask: u128) -> bool {
        mask == low_bits(self.per_repeat)
    }
}

/// Contiguous pieces of one repeat, as (byte offset, length).
struct Pieces {
    list: [(i64, u64); 64],
    len: usize,
}

impl Pieces {
    fn push(&mut self, at: i64, len: u64) {
        if let Some(last) = self.list[..self.len].last_mut() {
            if last.0 + last.1 as i64 == at {
                last.1 += len;
                return;
            }
        }
        self.list[self.len] = (at, len);
        self.len += 1;
    }
}

/// One vector operand in UB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) name: &'static str,
    pub(super) addr: Addr,
    pub(super) elem: Elem,
    /// Bytes between the blocks of a repeat.
    blk: i64,
    /// Bytes between repeats.
    rep: i64,
}

impl Operand {
    /// Operand `index` with strides in blocks. Its start must be 32-byte aligned.
    pub(super) fn new(
        exec: &Exec<'_>,
        index: usize,
        elem: Elem,
        blk: u64,
        rep: u64,
    ) -> Result<Operand, Stop> {
        let operand = Self::unaligned(exec, index, elem)?;
        exec.require_aligned(operand.name, operand.addr, BLOCK)?;
        Ok(Operand { blk: blk as i64 * BLOCK, rep: rep as i64 * BLOCK, ..operand })
    }

    /// Operand `index`, contiguous, with no rule on its alignment.
    pub(super) fn unaligned(exec: &Exec<'_>, index: usize, elem: Elem) -> Result<Operand, Stop> {
        let addr = exec.address(index, Space::Ub)?;
        let name = exec.instr.op.operands[index];
        Ok(Operand { name, addr, elem, blk: BLOCK, rep: 8 * BLOCK })
    }

    /// Bits of an element in memory.
    fn bits(&self) -> usize {
        if self.elem == Elem::S4 {
            4
        } else {
            self.elem.bytes() * 8
        }
    }

    /// Elements of a block.
    fn per_block(&self) -> usize {
        256 / self.bits()
    }

    /// Bytes of `lanes` consecutive elements, rounded up.
    fn packed(&self, lanes: usize) -> usize {
        (lanes * self.bits()).div_ceil(8)
    }

    fn pieces(&self, lanes: &Lanes, mask: u128) -> Pieces {
        let mut pieces = Pieces { list: [(0, 0); 64], len: 0 };
        let per_block = self.per_block();
        let mut replayed = 0;
        for block in 0..lanes.per_repeat.div_ceil(per_block) {
            let bits = mask >> (block * per_block) & low_bits(per_block);
            if self.blk == 0 {
                replayed |= bits;
            } else {
                self.block_pieces(bits, block as i64 * self.blk, &mut pieces);
            }
        }
        self.block_pieces(replayed, 0, &mut pieces);
        pieces
    }

    /// Runs of ones of a block's mask.
    fn block_pieces(&self, mut bits: u128, base: i64, pieces: &mut Pieces) {
        while bits != 0 {
            let start = bits.trailing_zeros() as usize;
            let n = (!(bits >> start)).trailing_zeros() as usize;
            let (from, to) = (start * self.bits() / 8, self.packed(start + n));
            pieces.push(base + from as i64, (to - from) as u64);
            bits &= !(low_bits(n) << start);
        }
    }

    /// Calls `visit(offset, length, stride, count)` so that together exactly the active bytes are visited.
    fn for_accesses(
        &self,
        lanes: &Lanes,
        mut visit: impl FnMut(i64, u64, i64, u64) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if lanes.repeats == 0 {
            return Ok(());
        }
        let tailed = lanes.last != lanes.body;
        let whole = lanes.repeats - u64::from(tailed);
        let tail_at = self.rep * whole as i64;
        let tail =
            if tailed { self.pieces(lanes, lanes.last) } else { Pieces { list: [(0, 0); 64], len: 0 } };
        let mut tail = &tail.list[..tail.len];
        if whole > 0 {
            let body = self.pieces(lanes, lanes.body);
            let count = if self.rep == 0 { 1 } else { whole };
            for &(at, len) in &body.list[..body.len] {
                let dense = body.len == 1 && at == 0 && len as i64 == self.rep;
                match tail {
                    [(0, more)] if dense => {
                        visit(0, len * count + more, 0, 1)?;
                        tail = &[];
                    }
                    _ if dense => visit(0, len * count, 0, 1)?,
                    _ => visit(at, len, self.rep, count)?,
                }
            }
        }
        if whole == 0 || self.rep != 0 {
            for &(at, len) in tail {
                visit(tail_at + at, len, 0, 1)?;
            }
        }
        Ok(())
    }

    /// Declares the active lanes as read: bounds, order, and that something has written them.
    pub(super) fn check_read(&self, exec: &mut Exec<'_>, lanes: &Lanes) -> Result<(), Stop> {
        self.for_accesses(lanes, |at, len, stride, count| {
            exec.touch_strided(self.name, self.addr.plus(at), len, stride, count, Access::Read)?;
            for i in 0..count {
                exec.require_init(self.name, self.addr.plus(at + stride * i as i64), len)?;
            }
            Ok(())
        })
    }

    /// Declares the active lanes as written: bounds, order; marks them as initialised.
    pub(super) fn check_write(&self, exec: &mut Exec<'_>, lanes: &Lanes) -> Result<(), Stop> {
        let blocks = |mask: u128| {
            (0..lanes.per_repeat.div_ceil(self.per_block()))
                .filter(|b| mask >> (b * self.per_block()) & low_bits(self.per_block()) != 0)
                .count()
        };
        if self.blk == 0 && lanes.repeats > 0 && blocks(lanes.body | lanes.last) > 1 {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("{}: block stride 0 makes the blocks of a repeat write one another", self.name),
            ));
        }
        self.for_accesses(lanes, |at, len, stride, count| {
            exec.touch_strided(self.name, self.addr.plus(at), len, stride, count, Access::Write)?;
            for i in 0..count {
                exec.mark(self.addr.plus(at + stride * i as i64), len as usize, true);
            }
            Ok(())
        })
    }

    /// Address of block `block` of repeat `r`.
    fn block_addr(&self, r: u64, block: usize) -> Addr {
        self.addr.plus(r as i64 * self.rep + block as i64 * self.blk)
    }

    /// Loads the lanes of a repeat, packed. Blocks without active lanes are not touched.
    pub(super) fn load_raw(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut [u8; 1024]) {
        let mask = lanes.mask(r);
        let total = self.packed(lanes.per_repeat);
        if self.blk == BLOCK && lanes.is_full(mask) {
            out[..total].copy_from_slice(exec.bytes(self.block_addr(r, 0), total));
            return;
        }
        let per_block = self.per_block();
        for block in 0..lanes.per_repeat.div_ceil(per_block) {
            if mask >> (block * per_block) & low_bits(per_block) == 0 {
                continue;
            }
            let len = (total - block * 32).min(32);
            out[block * 32..block * 32 + len].copy_from_slice(exec.bytes(self.block_addr(r, block), len));
        }
    }

    /// Stores the active lanes of a repeat.
    pub(super) fn store_raw(&self, exec: &mut Exec<'_>, lanes: &Lanes, r: u64, data: &[u8]) {
        let mask = lanes.mask(r);
        let total = self.packed(lanes.per_repeat);
        if self.blk == BLOCK && lanes.is_full(mask) {
            exec.bytes_mut(self.block_addr(r, 0), total).copy_from_slice(&data[..total]);
            return;
        }
        let per_block = self.per_block();
        for block in 0..lanes.per_repeat.div_ceil(per_block) {
            let in_block = per_block.min(lanes.per_repeat - block * per_block);
            let bits = mask >> (block * per_block) & low_bits(in_block);
            if bits == 0 {
                continue;
            }
            let len = self.packed(in_block);
            let data = &data[block * 32..block * 32 + len];
            let to = exec.bytes_mut(self.block_addr(r, block), len);
            if bits == low_bits(in_block) {
                to.copy_from_slice(data);
            } else {
                self.store_lanes(bits, to, data);
            }
        }
    }

    /// Stores single lanes of a block.
    fn store_lanes(&self, bits: u128, to: &mut [u8], data: &[u8]) {
        for lane in (0..128).filter(|lane| bits >> lane & 1 == 1) {
            if self.elem == Elem::S4 {
                let nibble = 0xf << (lane % 2 * 4);
                to[lane / 2] = to[lane / 2] & !nibble | data[lane / 2] & nibble;
            } else {
                let size = self.elem.bytes();
                to[lane * size..][..size].copy_from_slice(&data[lane * size..][..size]);
            }
        }
    }

    /// Loads a repeat of f32, f16 or bf16 lanes.
    #[inline]
    pub(super) fn load_f32(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut F32s) {
        if self.elem == Elem::F32 && self.blk == BLOCK && lanes.is_full(lanes.mask(r)) {
            f32_from_bytes(out, exec.bytes(self.block_addr(r, 0), 4 * lanes.per_repeat));
            return;
        }
        let mut raw = [0; 1024];
        self.load_raw(exec, lanes, r, &mut raw);
        match self.elem {
            Elem::F16 => {
                let mut h = [f16::ZERO; LANES];
                for (x, b) in h.iter_mut().zip(raw.chunks_exact(2)) {
                    *x = f16::from_le_bytes([b[0], b[1]]);
                }
                h.convert_to_f32_slice(out);
            }
            Elem::Bf16 => {
                for (x, b) in out.iter_mut().zip(raw.chunks_exact(2)) {
                    *x = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                }
            }
            _ => f32_from_bytes(out, &raw),
        }
    }

    /// Stores a repeat of f32, f16 or bf16 lanes; 16-bit results are rounded to nearest even.
    #[inline]
    pub(super) fn store_f32(&self, exec: &mut Exec<'_>, lanes: &Lanes, r: u64, values: &F32s) {
        if self.elem == Elem::F32 && self.blk == BLOCK && lanes.is_full(lanes.mask(r)) {
            let to = exec.bytes_mut(self.block_addr(r, 0), 4 * lanes.per_repeat);
            for (b, x) in to.chunks_exact_mut(4).zip(values) {
                b.copy_from_slice(&canonical(*x).to_le_bytes());
            }
            return;
        }
        let mut raw = [0; 4 * LANES];
        match self.elem {
            Elem::F16 => {
                let mut h = [f16::ZERO; LANES];
                h.convert_from_f32_slice(values);
                let inf_nan = exec.instr.regs.inf_nan();
                for (b, x) in raw.chunks_exact_mut(2).zip(&h) {
                    b.copy_from_slice(&finish_f16(*x, inf_nan).to_le_bytes());
                }
            }
            Elem::Bf16 => {
                let inf_nan = exec.instr.regs.inf_nan();
                for (b, x) in raw.chunks_exact_mut(2).zip(values) {
                    b.copy_from_slice(&finish_bf16(bf16::from_f32(*x), inf_nan).to_le_bytes());
                }
            }
            _ => {
                for (b, x) in raw.chunks_exact_mut(4).zip(values) {
                    b.copy_from_slice(&canonical(*x).to_le_bytes());
                }
            }
        }
        self.store_raw(exec, lanes, r, &raw);
    }

    /// Loads a repeat of integer lanes, extended by their signedness. Floats give their bits.
    pub(super) fn load_int(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut Ints) {
        let mut raw = [0; 1024];
        self.load_raw(exec, lanes, r, &mut raw);
        let out = &mut out[..lanes.per_repeat];
        let elem = self.elem;
        match elem {
            Elem::S4 => {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = i64::from((raw[i / 2] << (4 - i % 2 * 4)).cast_signed() >> 4);
                }
            }
            _ => {
                for (x, b) in out.iter_mut().zip(raw.chunks_exact(elem.bytes())) {
                    let mut wide = [0; 8];
                    wide[..b.len()].copy_from_slice(b);
                    *x = extend(elem, u64::from_le_bytes(wide));
                }
            }
        }
    }

    /// Stores the low bits of integer lanes.
    pub(super) fn store_int(&self, exec: &mut Exec<'_>, lanes: &Lanes, r: u64, values: &Ints) {
        let mut raw = [0; 1024];
        let values = &values[..lanes.per_repeat];
        if self.elem == Elem::S4 {
            for (i, x) in values.iter().enumerate() {
                raw[i / 2] |= (*x as u8 & 0xf) << (i % 2 * 4);
            }
        } else {
            let size = self.elem.bytes();
            for (b, x) in raw.chunks_exact_mut(size).zip(values) {
                b.copy_from_slice(&x.to_le_bytes()[..size]);
            }
        }
        self.store_raw(exec, lanes, r, &raw);
    }

    /// Bytes from the first to behind the last byte that any repeat can touch.
    fn extent(&self, lanes: &Lanes) -> (i64, i64) {
        let blocks = lanes.per_repeat.div_ceil(self.per_block()) as i64;
        let end = (lanes.repeats as i64 - 1) * self.rep + (blocks - 1) * self.blk + BLOCK;
        (self.addr.offset, self.addr.offset + end)
    }

    /// First repeat from `r` on that has an active block within `start..end`.
    pub(super) fn first_repeat_within(&self, lanes: &Lanes, r: u64, start: i64, end: i64) -> Option<u64> {
        let (from, to) = self.extent(lanes);
        if to <= start || end <= from {
            return None;
        }
        (r..lanes.repeats).find(|r| {
            // With repeats in address order, those that begin behind the range cannot meet it.
            let base = self.addr.offset + *r as i64 * self.rep;
            if base >= end {
                return false;
            }
            let (blocks, len) = self.blocks(lanes, *r);
            blocks[..len].iter().any(|at| *at < end && start < *at + BLOCK)
        })
    }

    /// Start offsets of the blocks of a repeat that have active lanes.
    fn blocks(&self, lanes: &Lanes, r: u64) -> ([i64; 16], usize) {
        let (mut list, mut len) = ([0; 16], 0);
        let per_block = self.per_block();
        for block in 0..lanes.per_repeat.div_ceil(per_block) {
            if lanes.mask(r) >> (block * per_block) & low_bits(per_block) != 0 {
                list[len] = self.block_addr(r, block).offset;
                len += 1;
            }
        }
        (list, len)
    }
}

fn f32_from_bytes(out: &mut F32s, bytes: &[u8]) {
    for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
}

/// ASSUMPTION(nan-payload): every NaN result is the positive quiet NaN, so that results do not depend on the host.
#[inline(always)]
pub(super) fn canonical(x: f32) -> f32 {
    if x.is_nan() {
        f32::NAN
    } else {
        x
    }
}

/// A 16-bit result as the CTRL\[48\] mode wants it (`dav-c220.md` 6.1).
#[inline(always)]
pub(super) fn finish_f16(x: f16, inf_nan: bool) -> f16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff;
    f16::from_bits(match (magnitude.cmp(&0x7c00), inf_nan) {
        (std::cmp::Ordering::Less, _) => bits,
        (std::cmp::Ordering::Equal, true) => bits,
        (std::cmp::Ordering::Equal, false) => bits & 0x8000 | 0x7bff,
        (std::cmp::Ordering::Greater, true) => 0x7e00,
        (std::cmp::Ordering::Greater, false) => 0,
    })
}

/// As [`finish_f16`], for bf16.
pub(super) fn finish_bf16(x: bf16, inf_nan: bool) -> bf16 {
    let bits = x.to_bits();
    bf16::from_bits(match bits & 0x7fff {
        0x7f80 if !inf_nan => bits & 0x8000 | 0x7f7f,
        0x7f81.. if inf_nan => 0x7fc0,
        0x7f81.. => 0,
        _ => bits,
    })
}

/// The value of an element's raw bits as integer.
pub(super) fn extend(elem: Elem, raw: u64) -> i64 {
    match elem {
        Elem::S8 => i64::from(raw as i8),
        Elem::U8 => i64::from(raw as u8),
        Elem::S16 => i64::from(raw as i16),
        Elem::U16 | Elem::F16 | Elem::Bf16 => i64::from(raw as u16),
        Elem::S32 => i64::from(raw as i32),
        Elem::U32 | Elem::F32 => i64::from(raw as u32),
        _ => raw.cast_signed(),
    }
}

/// Smallest and largest value of an integer type.
pub(super) fn int_range(elem: Elem) -> (i64, i64) {
    match elem {
        Elem::S4 => (-8, 7),
        Elem::S8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Elem::U8 => (0, i64::from(u8::MAX)),
        Elem::S16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Elem::U16 => (0, i64::from(u16::MAX)),
        Elem::S32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Elem::U32 => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// An integer result: wraps in INF/NAN mode, saturates otherwise (`dav-c220.md` 6.1).
pub(super) fn finish_int(elem: Elem, value: i64, inf_nan: bool) -> i64 {
    if inf_nan {
        return value;
    }
    let (min, max) = int_range(elem);
    value.clamp(min, max)
}

/// A scalar operand's raw bits as f32.
pub(super) fn scalar_f32(elem: Elem, raw: u64) -> f32 {
    match elem {
        Elem::F16 => f16::from_bits(raw as u16).to_f32(),
        Elem::Bf16 => bf16::from_bits(raw as u16).to_f32(),
        _ => f32::from_bits(raw as u32),
    }
}

/// The element type is not one of this instruction's.
pub(super) fn no_such_type(instr: &Instr, takes: &str) -> Stop {
    let types = match instr.elem_dst {
        Elem::None => format!("{:?}", instr.elem),
        dst => format!("{:?} to {dst:?}", instr.elem),
    };
    Stop::fault(
        FaultKind::NoSuchPath,
        format!("{} has no form for {types}; it takes {takes}", instr.op.mnemonic),
    )
}

/// May the destination of a repeat be the source of the next?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accumulate {
    /// Never.
    No,
    /// Where both are the same address and one of the two repeat strides is 0.
    InPlace,
}

/// The aliasing rules between a destination and a source (`dav-c220.md` 2.2).
pub(super) fn check_overlap(
    dst: &Operand,
    src: &Operand,
    lanes: &Lanes,
    accumulate: Accumulate,
) -> Result<(), Stop> {
    if lanes.repeats == 0 {
        return Ok(());
    }
    let (d, s) = (dst.extent(lanes), src.extent(lanes));
    if d.1 <= s.0 || s.1 <= d.0 {
        return Ok(());
    }
    let same = dst.addr == src.addr && dst.bits() == src.bits() && dst.blk == src.blk && dst.rep == src.rep;
    let apart = dst.rep >= dst.blk * 7 + BLOCK || lanes.repeats == 1;
    if same && apart {
        return Ok(());
    }
    let in_place =
        accumulate == Accumulate::InPlace && dst.addr == src.addr && (dst.rep == 0 || src.rep == 0);
    for r in 0..lanes.repeats {
        let (to, to_len) = dst.blocks(lanes, r);
        let (from, from_len) = src.blocks(lanes, r);
        let (to, from) = (&to[..to_len], &from[..from_len]);
        let meet = |from: &[i64]| to.iter().copied().find(|block| from.contains(block));
        // ASSUMPTION(cast-narrowing-in-place): wide to narrow from the same start is safe, because a repeat reads
        // before it writes; the documents only name the reverse as unsafe.
        let narrowing = dst.bits() < src.bits() && to.first() == from.first();
        if to != from && !narrowing {
            if let Some(at) = meet(from) {
                let what = format!("{} and {} overlap without being equal in repeat {r}", dst.name, src.name);
                return Err(overlap(&what, at));
            }
        }
        if r + 1 < lanes.repeats && !in_place {
            let (next, next_len) = src.blocks(lanes, r + 1);
            if let Some(at) = meet(&next[..next_len]) {
                let what = format!("{} of repeat {r} is {} of repeat {}", dst.name, src.name, r + 1);
                return Err(overlap(&what, at));
            }
        }
    }
    Ok(())
}

fn overlap(what: &str, at: i64) -> Stop {
    Stop::fault(FaultKind::Overlap, format!("{what}: {}", range_text(Space::Ub, at, BLOCK as u64)))
}

/// For instructions whose source and destination must not share a byte.
pub(super) fn require_disjoint(dst: &Operand, src: &Operand, lanes: &Lanes) -> Result<(), Stop> {
    if lanes.repeats == 0 {
        return Ok(());
    }
    let (d, s) = (dst.extent(lanes), src.extent(lanes));
    if d.1 <= s.0 || s.1 <= d.0 {
        return Ok(());
    }
    Err(overlap(
        &format!("{} and {} overlap; the instruction takes disjoint operands", dst.name, src.name),
        d.0.max(s.0),
    ))
}
