//! Operands of V instructions: repeats, strides, and the checks on every access (`dav-c220.md`
//! 2.2).
//!
//! An instruction runs in repeats of up to 256 bytes. A repeat is loaded into an array of lanes, computed as
//! a whole, and stored under its mask. So all sources of a repeat are read before its destination is written.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lane counts and offsets are bounded by the checks on the operands; integer stores wrap by definition"
)]

use half::{f16, slice::HalfFloatSliceExt};

use super::vec_lanes::{low_bits, Lanes};
use super::vec_value::{f32_from_bytes, narrow, widen, Pack};
use super::vec_wide::on_widest;
use crate::access::{Access, Addr, Elem, Exec, FaultKind, Space, Stop, Strided};

// The chip is little-endian; loads and stores of whole repeats copy its bytes.
const _: () = assert!(cfg!(target_endian = "little"), "the simulator needs a little-endian host");

/// Bytes of a block ("DataBlock").
pub(super) const BLOCK: i64 = 32;
/// Most lanes of a repeat.
pub(super) const LANES: usize = 128;

/// A repeat of floating point lanes.
pub(super) type F32s = [f32; LANES];
/// A repeat of integer lanes.
pub(super) type Ints = [i64; LANES];

/// Contiguous pieces of one repeat, as (byte offset, length).
struct Pieces {
    list: [(i64, u64); 64],
    len: usize,
}

impl Pieces {
    fn list(&self) -> &[(i64, u64)] {
        &self.list[..self.len]
    }

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
    pub(super) blk: i64,
    /// Bytes between repeats.
    pub(super) rep: i64,
}

impl Operand {
    /// An operand of a list ([`VectorOperands`](crate::access::VectorOperands)).
    #[inline]
    pub(super) fn of(exec: &Exec<'_>, operand: Strided, elem: Elem) -> Result<Operand, Stop> {
        let Strided { address, block_stride, repeat_stride } = operand;
        let stride = |at: Option<usize>, dense: u64| at.map_or(dense, |at| exec.arg(at));
        Self::new(exec, address, elem, stride(block_stride, 1), stride(repeat_stride, 8))
    }

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
        // The intrinsics declare strides as u8 or u16.
        let bytes = |stride: u64| (stride & 0xffff) as i64 * BLOCK;
        Ok(Operand { blk: bytes(blk), rep: bytes(rep), ..operand })
    }

    /// Operand `index`, contiguous, with no rule on its alignment.
    pub(super) fn unaligned(exec: &Exec<'_>, index: usize, elem: Elem) -> Result<Operand, Stop> {
        let addr = exec.address(index, Space::Ub)?;
        let name = exec.instr.op.operands[index];
        Ok(Operand { name, addr, elem, blk: BLOCK, rep: 8 * BLOCK })
    }

    /// Bits of an element in memory.
    pub(super) fn bits(&self) -> usize {
        self.elem.bytes() * 8
    }

    /// Elements of a block.
    pub(super) fn per_block(&self) -> usize {
        256 / self.bits()
    }

    /// Bytes of `lanes` consecutive elements.
    fn packed(&self, lanes: usize) -> usize {
        lanes * self.elem.bytes()
    }

    /// The one piece of a repeat whose first lanes are active and contiguous in memory: the common case,
    /// without a list.
    fn single_piece(&self, mask: u128) -> Option<(i64, u64)> {
        let active = mask.trailing_ones() as usize;
        let single = self.blk == BLOCK && active > 0 && mask == low_bits(active);
        single.then(|| (0, self.packed(active) as u64))
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
    // Cases that share what they have computed: whole repeats and the shorter last one, dense or not.
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
        let (one_last, one_body) = (self.single_piece(lanes.last), self.single_piece(lanes.body));
        let (several_last, several_body);
        let mut tail: &[(i64, u64)] = match &one_last {
            _ if !tailed => &[],
            Some(one) => std::slice::from_ref(one),
            None => {
                several_last = self.pieces(lanes, lanes.last);
                several_last.list()
            }
        };
        if whole > 0 {
            let body = match &one_body {
                Some(one) => std::slice::from_ref(one),
                None => {
                    several_body = self.pieces(lanes, lanes.body);
                    several_body.list()
                }
            };
            let count = if self.rep == 0 { 1 } else { whole };
            for &(at, len) in body {
                let dense = body.len() == 1 && at == 0 && len as i64 == self.rep;
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
    #[inline(always)]
    pub(super) fn block_addr(&self, r: u64, block: usize) -> Addr {
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
            let size = self.elem.bytes();
            to[lane * size..][..size].copy_from_slice(&data[lane * size..][..size]);
        }
    }

    /// Is repeat `r` 64 whole f32 lanes, so that [`Operand::load_64`] takes it? It has 32 where elements of
    /// 64 bits are the result.
    #[inline(always)]
    pub(super) fn is_whole_f32(&self, lanes: &Lanes, r: u64) -> bool {
        self.elem == Elem::F32 && lanes.per_repeat == 64 && lanes.is_full(lanes.mask(r))
    }

    /// A whole repeat of f32 lanes by value: it stays in vector registers.
    #[inline(always)]
    pub(super) fn load_64(&self, exec: &Exec<'_>, r: u64) -> [f32; 64] {
        if self.blk == BLOCK {
            return bytemuck::pod_read_unaligned(exec.bytes(self.block_addr(r, 0), 256));
        }
        let mut blocks = [[0f32; 8]; 8];
        for (block, x) in blocks.iter_mut().enumerate() {
            *x = bytemuck::pod_read_unaligned(exec.bytes(self.block_addr(r, block), 32));
        }
        bytemuck::cast(blocks)
    }

    /// Stores a whole repeat of f32 lanes.
    #[inline(always)]
    pub(super) fn store_64(&self, exec: &mut Exec<'_>, r: u64, values: &[f32; 64]) {
        if self.blk == BLOCK {
            exec.bytes_mut(self.block_addr(r, 0), 256).copy_from_slice(bytemuck::bytes_of(values));
            return;
        }
        for (block, x) in values.chunks_exact(8).enumerate() {
            exec.bytes_mut(self.block_addr(r, block), 32).copy_from_slice(bytemuck::cast_slice(x));
        }
    }

    /// Loads a repeat of f32, f16 or bf16 lanes.
    pub(super) fn load_f32(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut F32s) {
        if self.is_whole_f32(lanes, r) {
            out[..64].copy_from_slice(&self.load_64(exec, r));
        } else {
            self.load_f32_masked(exec, lanes, r, out);
        }
    }

    fn load_f32_masked(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut F32s) {
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
    pub(super) fn store_f32(&self, exec: &mut Exec<'_>, lanes: &Lanes, r: u64, values: &F32s) {
        let mut raw = [0; 4 * LANES];
        let inf_nan = exec.instr.regs.inf_nan();
        on_widest(Pack { elem: self.elem, values: &values[..lanes.per_repeat], raw: &mut raw, inf_nan });
        self.store_raw(exec, lanes, r, &raw);
    }

    /// Loads a repeat of integer lanes, extended by their signedness. Floats give their bits.
    pub(super) fn load_int(&self, exec: &Exec<'_>, lanes: &Lanes, r: u64, out: &mut Ints) {
        let mut raw = [0; 1024];
        self.load_raw(exec, lanes, r, &mut raw);
        let out = &mut out[..lanes.per_repeat];
        // One loop for each width, so that each has constant sizes.
        match self.elem {
            Elem::S8 => widen(out, &raw, |b: [u8; 1]| i64::from(i8::from_le_bytes(b))),
            Elem::U8 => widen(out, &raw, |b: [u8; 1]| i64::from(u8::from_le_bytes(b))),
            Elem::S16 => widen(out, &raw, |b: [u8; 2]| i64::from(i16::from_le_bytes(b))),
            Elem::U16 | Elem::F16 | Elem::Bf16 => {
                widen(out, &raw, |b: [u8; 2]| i64::from(u16::from_le_bytes(b)));
            }
            Elem::S32 => widen(out, &raw, |b: [u8; 4]| i64::from(i32::from_le_bytes(b))),
            Elem::U32 | Elem::F32 => widen(out, &raw, |b: [u8; 4]| i64::from(u32::from_le_bytes(b))),
            Elem::S64 | Elem::U64 | Elem::None => widen(out, &raw, i64::from_le_bytes),
        }
    }

    /// Stores the low bits of integer lanes.
    pub(super) fn store_int(&self, exec: &mut Exec<'_>, lanes: &Lanes, r: u64, values: &Ints) {
        let mut raw = [0; 1024];
        let values = &values[..lanes.per_repeat];
        match self.elem {
            Elem::S8 | Elem::U8 => narrow::<1>(&mut raw, values),
            Elem::S16 | Elem::U16 | Elem::F16 | Elem::Bf16 => narrow::<2>(&mut raw, values),
            Elem::S32 | Elem::U32 | Elem::F32 => narrow::<4>(&mut raw, values),
            Elem::S64 | Elem::U64 | Elem::None => narrow::<8>(&mut raw, values),
        }
        self.store_raw(exec, lanes, r, &raw);
    }
}
