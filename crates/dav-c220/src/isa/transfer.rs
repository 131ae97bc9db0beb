//! What all data movements share: operand limits, bursts, and stores to GM with their atomic modes.

use std::ops::RangeInclusive;

use half::{bf16, f16};

use crate::access::{Access, Addr, AtomicOp, Elem, Exec, FaultKind, Registers, Space, Stop};

/// Requires the operand list that the table names; the packed forms pass fewer operands.
pub(super) fn expect_operands(exec: &Exec<'_>) -> Result<(), Stop> {
    let op = exec.instr.op;
    let (got, want) = (exec.instr.num_args as usize, op.operands.len());
    if got == want {
        return Ok(());
    }
    Err(Stop::unsupported(format!(
        "{} with {got} operands (the packed form?); the form with {want} operands is modelled",
        op.mnemonic
    )))
}

/// Operand `i` as a number within its documented limits.
pub(super) fn operand(exec: &Exec<'_>, i: usize, wanted: RangeInclusive<u64>) -> Result<u64, Stop> {
    let value = exec.arg(i);
    if wanted.contains(&value) {
        return Ok(value);
    }
    Err(bad_operand(exec, i, &format!("{}..={}", wanted.start(), wanted.end())))
}

/// The fault for operand `i`: its name, its value, what was wanted.
pub(super) fn bad_operand(exec: &Exec<'_>, i: usize, wanted: &str) -> Stop {
    let name = exec.instr.op.operands.get(i).copied().unwrap_or("operand");
    Stop::fault(FaultKind::Operand, format!("{name} = {}; wanted {wanted}", exec.arg(i)))
}

/// Operand `i` as C++ `bool`.
pub(super) fn flag(exec: &Exec<'_>, i: usize) -> bool {
    exec.arg(i) != 0
}

/// A signed byte count of at most a memory's size, as address distance.
pub(super) fn distance(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or_else(|_| unreachable!("operand limits keep distances below 2^63"))
}

/// A length that `touch` has checked or will check, as `usize`.
pub(super) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or_else(|_| unreachable!("operand limits keep lengths small"))
}

/// `count` pieces of `len` bytes; pitches are from start to start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bursts {
    pub(super) count: u64,
    pub(super) len: u64,
    pub(super) dst_pitch: i64,
    pub(super) src_pitch: i64,
}

impl Bursts {
    /// The operands nBurst, lenBurst, srcGap, dstGap of the plain copies, at `first..first + 4`.
    ///
    /// Lengths and gaps count units of `src_unit` and `dst_unit` bytes; gaps run from the end of a burst to
    /// the start of the next. nBurst 0 or lenBurst 0 moves nothing.
    pub(super) fn decode(exec: &Exec<'_>, first: usize, unit: u64) -> Result<Bursts, Stop> {
        let count = operand(exec, first, 0..=4095)?;
        let len = operand(exec, first + 1, 0..=65535)? * unit;
        let src_gap = operand(exec, first + 2, 0..=65535)? * unit;
        let dst_gap = operand(exec, first + 3, 0..=65535)? * unit;
        Ok(Bursts { count, len, dst_pitch: distance(len + dst_gap), src_pitch: distance(len + src_gap) })
    }

    fn is_empty(self) -> bool {
        self.count == 0 || self.len == 0
    }

    /// One burst where pieces touch each other on both sides.
    fn merged(self) -> Bursts {
        let len = distance(self.len);
        if self.dst_pitch == len && self.src_pitch == len {
            return Bursts { count: 1, len: self.len * self.count, ..self };
        }
        self
    }

    /// Moves on-chip or from GM. Unspecified bytes stay unspecified.
    pub(super) fn load(self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        if self.is_empty() {
            return Ok(());
        }
        let all = self.merged();
        exec.touch_strided("src", src, all.len, all.src_pitch, all.count, Access::Read)?;
        exec.touch_strided("dst", dst, all.len, all.dst_pitch, all.count, Access::Write)?;
        if exec.is_dry() {
            return Ok(());
        }
        for i in 0..distance(all.count) {
            exec.copy(dst.plus(i * all.dst_pitch), src.plus(i * all.src_pitch), length(all.len));
        }
        Ok(())
    }

    /// Moves from an on-chip memory to GM, under the atomic mode.
    pub(super) fn store(self, exec: &mut Exec<'_>, dst: Addr, src: Addr) -> Result<(), Stop> {
        if self.is_empty() {
            return Ok(());
        }
        let all = self.merged();
        let store = GmStore::of(&exec.instr.regs);
        exec.touch_strided("src", src, all.len, all.src_pitch, all.count, Access::Read)?;
        store.touch_strided(exec, dst, all.len, all.dst_pitch, all.count)?;
        if exec.is_dry() {
            return Ok(());
        }
        for i in 0..distance(all.count) {
            exec.require_init("src", src.plus(i * all.src_pitch), all.len)?;
        }
        for i in 0..distance(all.count) {
            let data = exec.bytes(src.plus(i * all.src_pitch), length(all.len));
            store.write(exec, dst.plus(i * all.dst_pitch), data);
        }
        Ok(())
    }
}

/// How bytes reach GM: plainly, or combined with what is there (`set_atomic_*`, dav-c220.md 3.10).
#[derive(Clone, Copy, Debug)]
pub(super) struct GmStore {
    atomic: Option<(AtomicOp, Elem)>,
    inf_nan: bool,
}

impl GmStore {
    pub(super) fn of(regs: &Registers) -> Self {
        Self { atomic: regs.atomic, inf_nan: regs.inf_nan() }
    }

    /// Element type of the atomic mode, if one is on.
    pub(super) fn atomic_elem(self) -> Option<Elem> {
        self.atomic.map(|(_, elem)| elem)
    }

    /// Bounds and order of the stores; with an atomic mode also alignment and that GM holds something to
    /// combine with.
    pub(super) fn touch_strided(
        self,
        exec: &mut Exec<'_>,
        dst: Addr,
        len: u64,
        pitch: i64,
        count: u64,
    ) -> Result<(), Stop> {
        let Some((_, elem)) = self.atomic else {
            return exec.touch_strided("dst", dst, len, pitch, count, Access::Write);
        };
        let size = elem.bytes() as u64;
        if !matches!(elem, Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::S32 | Elem::S16 | Elem::S8) {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("the atomic mode has element type {elem:?}; wanted F32, F16, Bf16, S32, S16 or S8"),
            ));
        }
        if !len.is_multiple_of(size) {
            return Err(Stop::fault(
                FaultKind::Operand,
                format!("dst takes pieces of {len} bytes, not whole elements of the atomic type {elem:?}"),
            ));
        }
        exec.touch_strided("dst", dst, len, pitch, count, Access::Atomic)?;
        for i in 0..distance(count) {
            let piece = dst.plus(i * pitch);
            exec.require_aligned("dst", piece, distance(size))?;
            exec.require_init("dst", piece, len)?;
        }
        Ok(())
    }

    /// Writes one checked piece.
    pub(super) fn write(self, exec: &Exec<'_>, dst: Addr, data: &[u8]) {
        debug_assert_eq!(dst.space, Space::Gm);
        let Some((op, elem)) = self.atomic else {
            return exec.gm_write(dst, data);
        };
        let size = elem.bytes();
        let allocation = exec.allocation(dst);
        for (i, piece) in data.chunks_exact(size).enumerate() {
            let mut new = [0; 8];
            new[..size].copy_from_slice(piece);
            let new = u64::from_le_bytes(new);
            let at = dst.offset.cast_unsigned() + (i * size) as u64;
            allocation.modify(at, size, |old| combine(op, elem, self.inf_nan, old, new));
        }
    }
}

/// `old op new` on raw bits. Rounding, INF/NAN and saturation as dav-c220.md 6.1.
#[allow(clippy::cast_possible_truncation, reason = "the bits of one element are cut out of a wider word")]
fn combine(op: AtomicOp, elem: Elem, inf_nan: bool, old: u64, new: u64) -> u64 {
    match elem {
        Elem::F32 => {
            let value = combine_f32(op, f32::from_bits(old as u32), f32::from_bits(new as u32));
            u64::from(value.to_bits())
        }
        Elem::F16 => {
            let value =
                combine_f32(op, f16::from_bits(old as u16).to_f32(), f16::from_bits(new as u16).to_f32());
            u64::from(f16_of(value, inf_nan).to_bits())
        }
        Elem::Bf16 => {
            let value =
                combine_f32(op, bf16::from_bits(old as u16).to_f32(), bf16::from_bits(new as u16).to_f32());
            u64::from(bf16_of(value, inf_nan).to_bits())
        }
        _ => combine_int(op, elem.bytes(), inf_nan, old, new),
    }
}

/// ASSUMPTION(atomic-nan): maximum and minimum with a NaN give NaN, as the sum does.
fn combine_f32(op: AtomicOp, old: f32, new: f32) -> f32 {
    match op {
        AtomicOp::Add => old + new,
        _ if old.is_nan() || new.is_nan() => f32::NAN,
        AtomicOp::Max => old.max(new),
        AtomicOp::Min => old.min(new),
    }
}

fn combine_int(op: AtomicOp, size: usize, inf_nan: bool, old: u64, new: u64) -> u64 {
    let shift = 64 - 8 * size;
    let signed = |bits: u64| (bits << shift).cast_signed() >> shift;
    let (old, new) = (signed(old), signed(new));
    let value = match op {
        AtomicOp::Add if inf_nan => old + new,
        AtomicOp::Add => (old + new).clamp(signed(1 << (8 * size - 1)), signed((1 << (8 * size - 1)) - 1)),
        AtomicOp::Max => old.max(new),
        AtomicOp::Min => old.min(new),
    };
    value.cast_unsigned()
}

/// To f16, nearest even; in saturating mode infinities become the largest number and NaN becomes 0.
pub(super) fn f16_of(value: f32, inf_nan: bool) -> f16 {
    let x = f16::from_f32(value);
    match () {
        () if inf_nan || x.is_finite() => x,
        () if x.is_nan() => f16::ZERO,
        () if x.is_sign_negative() => f16::MIN,
        () => f16::MAX,
    }
}

/// To bf16, as [`f16_of`].
pub(super) fn bf16_of(value: f32, inf_nan: bool) -> bf16 {
    let x = bf16::from_f32(value);
    match () {
        () if inf_nan || x.is_finite() => x,
        () if x.is_nan() => bf16::ZERO,
        () if x.is_sign_negative() => bf16::MIN,
        () => bf16::MAX,
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
pub(super) mod tests;
