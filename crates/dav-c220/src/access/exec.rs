//! What an instruction sees while it executes: the memories of its core, GM, and the checks on every access.

use smallvec::SmallVec;

use super::gm::Gm;
use super::race::{OrderHandle, Pieces};
use crate::access::{range_text, Addr, Allocation, FaultKind, Instr, LocalMem, Pipe, Space, Stop};

/// How the Cube sums the products of one output element. The hardware's order and width are not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CubeAccumulate {
    /// ASSUMPTION(cube-accumulate): each product rounded to f32 (exact for f16), added in f32 in increasing
    /// k.
    F32Sequential,
    /// ASSUMPTION(cube-accumulate): the 16 products of a k-fractal summed in f64, rounded once to f32, then
    /// added.
    FractalExact,
}

/// What of a device decides how instructions compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Time without results: an instruction ends after its checks.
    pub(crate) is_dry: bool,
    pub(crate) cube_accumulate: CubeAccumulate,
}

/// Kind of an access, for the race rules. Two atomics do not conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Atomic,
}

/// Results of V instructions that are kept in registers of the vector unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct VectorState {
    /// CMPMASK: 128 bits, as [low, high].
    pub(crate) cmpmask: [u64; 2],
    /// `vcadd` in mode 1, raw bits.
    pub(crate) acc_val: u64,
    /// `vcmax`/`vcmin`: running value and index, raw bits.
    pub(crate) max_min_cnt: u64,
    /// `vreducev2`: number of elements that were kept.
    pub(crate) rsvd_cnt: u64,
}

/// An access of an instruction: `count` ranges of `len` bytes, `stride` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) addr: Addr,
    pub(crate) len: u64,
    pub(crate) stride: i64,
    pub(crate) count: u64,
    pub(crate) access: Access,
}

/// One instruction in execution.
pub(crate) struct Exec<'a> {
    pub(crate) instr: &'a Instr,
    pub(crate) mode: Mode,
    pub(crate) gm: &'a Gm,
    /// On-chip memories of this core, by `Space::local_index`. Those of the other core kind have length 0.
    pub(crate) local: &'a mut [LocalMem; 7],
    pub(crate) vector: &'a mut VectorState,
    /// Order against other accesses; `None` when races are not looked for.
    pub(crate) order: Option<OrderHandle<'a>>,
    /// Where accesses are written down, for model time.
    pub(crate) touched: Option<&'a mut Vec<Touch>>,
}

impl Exec<'_> {
    /// Does this device keep time without computing? Then an instruction ends after its checks.
    pub(crate) fn is_dry(&self) -> bool {
        self.mode.is_dry
    }

    /// Operand `i` as integer.
    pub(crate) fn arg(&self, i: usize) -> u64 {
        self.instr.args[i]
    }

    /// Operand `i` as address in `want`.
    ///
    /// A pointer into another memory is `NoSuchPath`: the chip has no such data path.
    pub(crate) fn address(&self, i: usize, want: Space) -> Result<Addr, Stop> {
        let name = self.instr.op.operands.get(i).copied().unwrap_or("operand");
        let addr = Addr::decode(self.arg(i)).ok_or_else(|| {
            Stop::fault(FaultKind::OutOfBounds, format!("{name} = {:#x} is no address", self.arg(i)))
        })?;
        if addr.space != want {
            return Err(Stop::fault(
                FaultKind::NoSuchPath,
                format!("{name} lies in {}; the instruction takes {want}", addr.space),
            ));
        }
        Ok(addr)
    }

    /// Requires `addr` to be a multiple of `align` bytes.
    pub(crate) fn require_aligned(&self, name: &str, addr: Addr, align: i64) -> Result<(), Stop> {
        if addr.offset.rem_euclid(align) == 0 {
            return Ok(());
        }
        let at = if addr.space == Space::Gm {
            format!("GM {:#x}", addr.offset)
        } else {
            format!("{}+{:#x}", addr.space, addr.offset)
        };
        Err(Stop::fault(FaultKind::Misaligned, format!("{name} at {at} is not a multiple of {align} bytes")))
    }

    /// An access to `len` contiguous bytes: bounds, reserved ranges, order against other accesses.
    pub(crate) fn touch(&mut self, name: &str, addr: Addr, len: u64, access: Access) -> Result<(), Stop> {
        self.touch_ordered_within_pipe(name, addr, len, access, &[])
    }

    /// As [`Exec::touch`], for an access that the hardware itself orders against earlier accesses by the
    /// pipes `exempt` of this core: accumulation by M (dav-c220.md 3.5), or M and FIX under unitFlag (4.4).
    pub(crate) fn touch_ordered_within_pipe(
        &mut self,
        name: &str,
        addr: Addr,
        len: u64,
        access: Access,
        exempt: &[Pipe],
    ) -> Result<(), Stop> {
        self.check_bounds(name, addr, len, access)?;
        self.note(&Pieces { addr, len, stride: 0, count: 1 }, access);
        self.check_order(&Pieces { addr, len, stride: 0, count: 1 }, access, exempt)
    }

    /// Writes a checked access down. What is not computed is not there.
    fn note(&mut self, pieces: &Pieces, access: Access) {
        let Pieces { addr, len, stride, count } = *pieces;
        if let Some(touched) = &mut self.touched {
            touched.push(Touch { addr, len, stride, count, access });
        }
        if self.is_dry() && addr.space == Space::Gm && access != Access::Read {
            let allocation = self.allocation(addr);
            for i in 0..count {
                let at = addr.plus(stride * i.cast_signed()).offset.cast_unsigned();
                allocation.mark(at, to_usize(len), false);
            }
        }
    }

    /// `count` accesses of `len` bytes, `stride` bytes apart. Adjacent pieces are checked as one.
    pub(crate) fn touch_strided(
        &mut self,
        name: &str,
        addr: Addr,
        len: u64,
        stride: i64,
        count: u64,
        access: Access,
    ) -> Result<(), Stop> {
        if count == 0 || len == 0 {
            return Ok(());
        }
        if count == 1 || i64::try_from(len) == Ok(stride) {
            return self.touch(name, addr, len * count, access);
        }
        if stride == 0 {
            return self.touch(name, addr, len, access);
        }
        let pieces = Pieces { addr, len, stride, count };
        if self.is_inside(&pieces) {
            self.check_origin(name, addr, len, access)?;
            self.note(&pieces, access);
            return self.check_order(&pieces, access, &[]);
        }
        for i in 0..count {
            self.touch(name, addr.plus(stride * i.cast_signed()), len, access)?;
        }
        Ok(())
    }

    /// Would the bounds check of every piece pass? All of them lie between the first and the last one.
    fn is_inside(&self, pieces: &Pieces) -> bool {
        let Pieces { addr, len, stride, count } = *pieces;
        let reach = stride.checked_mul(count.cast_signed() - 1);
        let Some(last) = reach.and_then(|reach| addr.offset.checked_add(reach)) else { return false };
        let low = addr.offset.min(last);
        let Some(end) = addr.offset.max(last).checked_add_unsigned(len) else { return false };
        let (Ok(low), Ok(end)) = (u64::try_from(low), u64::try_from(end)) else { return false };
        if addr.space == Space::Gm {
            return self.gm.find(low).is_some_and(|(_, a)| end <= a.base() + a.len());
        }
        let memory = &self.local[addr.space.local_index()];
        end <= (memory.len() - memory.reserved) as u64
    }

    /// An access to GM belongs to the allocation that its operand points into: strides and gaps of one
    /// instruction that lead into another one are wrong, however alive that one is.
    fn check_origin(&self, name: &str, addr: Addr, len: u64, access: Access) -> Result<(), Stop> {
        if addr.space != Space::Gm {
            return Ok(());
        }
        let start = addr.offset.cast_unsigned();
        let operand = self.instr.op.operands.iter().position(|operand| *operand == name);
        let Some(base) = operand.map(|i| self.arg(i)).filter(|&base| base != start) else {
            return Ok(());
        };
        match (self.gm.find(base), self.gm.find(start)) {
            (Some((from, origin)), Some((to, hit))) if from != to => Err(Stop::fault(
                FaultKind::OutOfBounds,
                format!(
                    "{name} {} {len} bytes at byte {} of {}, but starts at byte {} of {}",
                    verb(access),
                    start - hit.base(),
                    self.gm.name(to),
                    base - origin.base(),
                    self.gm.name(from)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_bounds(&self, name: &str, addr: Addr, len: u64, access: Access) -> Result<(), Stop> {
        if addr.space == Space::Gm {
            return self.check_gm_bounds(name, addr, len, access);
        }
        let what = verb(access);
        let memory = &self.local[addr.space.local_index()];
        let size = memory.len() as u64;
        if size == 0 {
            return Err(Stop::fault(
                FaultKind::NoSuchPath,
                format!("{name} {what} {}, which this core does not have", addr.space),
            ));
        }
        let inside =
            u64::try_from(addr.offset).is_ok_and(|start| start.checked_add(len).is_some_and(|e| e <= size));
        if !inside {
            return Err(Stop::fault(
                FaultKind::OutOfBounds,
                format!("{name} {what} {} of {size:#x} bytes", range_text(addr.space, addr.offset, len)),
            ));
        }
        if addr.offset.cast_unsigned() + len > size - memory.reserved as u64 {
            return Err(Stop::fault(
                FaultKind::Reserved,
                format!(
                    "{name} {what} {}; the last {} bytes belong to the framework",
                    range_text(addr.space, addr.offset, len),
                    memory.reserved
                ),
            ));
        }
        Ok(())
    }

    fn check_gm_bounds(&self, name: &str, addr: Addr, len: u64, access: Access) -> Result<(), Stop> {
        let what = verb(access);
        let start = addr.offset.cast_unsigned();
        let detail = match self.gm.find(start) {
            Some((_, a)) if start.checked_add(len).is_some_and(|e| e <= a.base() + a.len()) => {
                return self.check_origin(name, addr, len, access);
            }
            Some((_, a)) => format!(
                "{name} {what} {len} bytes at byte {} of an allocation of {} bytes",
                start - a.base(),
                a.len()
            ),
            None => format!(
                "{name} {what} {len} bytes at GM {start:#x}, where nothing is allocated{}",
                self.gm.nearest(start)
            ),
        };
        Err(Stop::fault(FaultKind::OutOfBounds, detail))
    }

    /// Happens-before check of an access.
    fn check_order(&mut self, pieces: &Pieces, access: Access, exempt: &[Pipe]) -> Result<(), Stop> {
        match &mut self.order {
            None => Ok(()),
            Some(order) => order.check(self.instr, self.gm, pieces, access, exempt),
        }
    }

    /// Faults when a byte of the range was never written. Bounds must have been checked.
    pub(crate) fn require_init(&self, name: &str, addr: Addr, len: u64) -> Result<(), Stop> {
        if self.is_dry() {
            return Ok(());
        }
        match self.first_unwritten(addr, len) {
            None => Ok(()),
            Some(at) => Err(Stop::fault(
                FaultKind::Uninitialised,
                format!("{name} uses byte {at:#x} of {}, which nothing has written", addr.space),
            )),
        }
    }

    /// Was every byte of the range written? Where it was not, no text is made of that.
    pub(crate) fn is_init(&self, addr: Addr, len: u64) -> bool {
        self.is_dry() || self.first_unwritten(addr, len).is_none()
    }

    /// Offset of the first byte of a checked range that was never written; for GM from the start of the
    /// allocation.
    pub(crate) fn first_unwritten(&self, addr: Addr, len: u64) -> Option<i64> {
        if addr.space == Space::Gm {
            let start = addr.offset.cast_unsigned();
            let (_, a) = self.gm.find(start).unwrap_or_else(|| unreachable!("bounds were checked"));
            a.first_unset(start, to_usize(len)).map(|at| (at - a.base()).cast_signed())
        } else {
            let memory = &self.local[addr.space.local_index()];
            memory.init.first_unset(offset(addr), to_usize(len)).map(|at| at as i64)
        }
    }

    /// The bytes of an on-chip range. Bounds must have been checked with `touch`.
    pub(crate) fn bytes(&self, addr: Addr, len: usize) -> &[u8] {
        &self.local[addr.space.local_index()].bytes[offset(addr)..offset(addr) + len]
    }

    /// The bytes of an on-chip range, to write; the caller marks them with [`Exec::mark`].
    pub(crate) fn bytes_mut(&mut self, addr: Addr, len: usize) -> &mut [u8] {
        &mut self.local[addr.space.local_index()].bytes[offset(addr)..offset(addr) + len]
    }

    /// What is known of `len` bytes of one on-chip memory is known of those of another one.
    fn copy_init(&mut self, [d, s]: [usize; 2], [to, from]: [usize; 2], len: usize) {
        if self.local[s].init.first_unset(from, len).is_none() {
            return self.local[d].init.set(to, len, true);
        }
        if let Some(blocks) = self.local[s].init.blocks(from, len).filter(|_| to.is_multiple_of(32)) {
            let blocks: SmallVec<[u32; 32]> = SmallVec::from_slice(blocks);
            return self.local[d].init.set_blocks(to, &blocks);
        }
        let bits: Vec<bool> = (0..len).map(|i| self.local[s].init.get(from + i)).collect();
        for (i, bit) in bits.into_iter().enumerate() {
            self.local[d].init.set(to + i, 1, bit);
        }
    }

    /// Marks an on-chip range as written, or as holding unspecified data.
    pub(crate) fn mark(&mut self, addr: Addr, len: usize, written: bool) {
        self.local[addr.space.local_index()].init.set(offset(addr), len, written);
    }

    /// Reads GM into `out`. Bounds must have been checked with `touch`.
    pub(crate) fn gm_read(&self, addr: Addr, out: &mut [u8]) {
        self.allocation(addr).read(addr.offset.cast_unsigned(), out);
    }

    /// Writes GM and marks it written. Bounds must have been checked with `touch`.
    pub(crate) fn gm_write(&self, addr: Addr, data: &[u8]) {
        if self.is_dry() {
            return;
        }
        self.allocation(addr).write(addr.offset.cast_unsigned(), data);
    }

    /// The allocation of a checked GM address.
    pub(crate) fn allocation(&self, addr: Addr) -> &Allocation {
        self.gm.find(addr.offset.cast_unsigned()).unwrap_or_else(|| unreachable!("bounds were checked")).1
    }

    /// Copies bytes and their initialisation state between any two memories, except GM to GM. Moving
    /// unspecified bytes is harmless on the chip; using them in arithmetic or storing them to GM is the fault
    /// (`require_init`).
    pub(crate) fn copy(&mut self, dst: Addr, src: Addr, len: usize) {
        match (dst.space, src.space) {
            (Space::Gm, Space::Gm) => unreachable!("no instruction copies GM to GM"),
            (Space::Gm, _) => {
                let a = self.allocation(dst);
                a.write(dst.offset.cast_unsigned(), self.bytes(src, len));
                let memory = &self.local[src.space.local_index()];
                if memory.init.first_unset(offset(src), len).is_some() {
                    for i in 0..len {
                        a.mark(dst.offset.cast_unsigned() + i as u64, 1, memory.init.get(offset(src) + i));
                    }
                }
            }
            (_, Space::Gm) => {
                let gm = self.gm;
                let start = src.offset.cast_unsigned();
                let (_, a) = gm.find(start).unwrap_or_else(|| unreachable!("bounds were checked"));
                a.read(start, self.bytes_mut(dst, len));
                self.mark(dst, len, true);
                if a.first_unset(start, len).is_some() {
                    for i in 0..len {
                        self.mark(dst.plus(i as i64), 1, a.is_set(start + i as u64));
                    }
                }
            }
            _ => {
                let (s, d) = (src.space.local_index(), dst.space.local_index());
                if s == d {
                    self.local[s].bytes.copy_within(offset(src)..offset(src) + len, offset(dst));
                } else {
                    let [from, to] =
                        self.local.get_disjoint_mut([s, d]).unwrap_or_else(|_| unreachable!("s != d"));
                    to.bytes[offset(dst)..offset(dst) + len]
                        .copy_from_slice(&from.bytes[offset(src)..offset(src) + len]);
                }
                self.copy_init([d, s], [offset(dst), offset(src)], len);
            }
        }
    }
}

/// What an access does, for a report.
fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "reads",
        Access::Write => "writes",
        Access::Atomic => "atomically updates",
    }
}

/// Offset of a checked on-chip address.
fn offset(addr: Addr) -> usize {
    usize::try_from(addr.offset).unwrap_or_else(|_| unreachable!("bounds were checked"))
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or_else(|_| unreachable!("a checked length fits usize"))
}
