//! Who touched which bytes last: sorted intervals with the accesses that a later access may conflict with.

use smallvec::{smallvec, SmallVec};

use super::order::{Clock, CORE_SLOTS, SCALAR_LOADS};
use crate::access::{Access, OpInfo, Pipe};

/// Bytes of a page: bounds the work of an insertion, and is the unit of locking for GM.
const PAGE_BYTES: u64 = 1 << 16;

/// One access to one interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) op: &'static OpInfo,
    pub(super) number: u64,
    pub(super) group: u32,
    pub(super) epoch: u32,
    pub(super) slot: u8,
    pub(super) access: Access,
    /// Of an atomic: how the bytes were used by what was ordered before it and is no longer recorded.
    pub(super) before: Uses,
}

impl Record {
    fn same_slot(&self, other: &Record) -> bool {
        self.slot == other.slot && self.group == other.group
    }

    fn same_core(&self, other: &Record) -> bool {
        self.group == other.group && self.core() == other.core()
    }

    fn is_scalar(&self) -> bool {
        matches!(usize::from(self.slot) % CORE_SLOTS, 0 | SCALAR_LOADS)
    }

    /// Core in the group: 0 AIC, 1 AIV0, 2 AIV1.
    pub(super) fn core(&self) -> usize {
        usize::from(self.slot) / CORE_SLOTS
    }

    pub(super) fn pipe(&self) -> Pipe {
        Pipe::ALL.get(usize::from(self.slot) % CORE_SLOTS).copied().unwrap_or(Pipe::S)
    }

    fn same(&self, other: &Record) -> bool {
        self.same_slot(other)
            && self.epoch == other.epoch
            && self.number == other.number
            && self.access == other.access
            && self.before == other.before
    }

    /// How the bytes were used, as far as the order of launches depends on it.
    fn uses(&self) -> Uses {
        Uses::of(self.access).and(self.before)
    }
}

/// An access about to happen.
#[derive(Debug)]
pub(super) struct Accessor<'a> {
    pub(super) record: Record,
    pub(super) clock: &'a Clock,
    /// Pipes of the same core, one bit each, that the hardware orders against this access by itself.
    pub(super) exempt: u8,
}

impl Accessor<'_> {
    fn knows(&self, old: &Record) -> bool {
        if old.group == self.record.group {
            self.clock.knows(usize::from(old.slot), old.epoch)
        } else {
            self.clock.knows_of_group(old.group, usize::from(old.slot), old.epoch)
        }
    }

    fn conflicts(&self, old: &Record) -> bool {
        let new = &self.record;
        if old.access == new.access && new.access != Access::Write {
            return false;
        }
        // The most frequent reason first.
        if self.knows(old) {
            return false;
        }
        if old.same_core(new) {
            let by_itself = old.number == new.number
                || old.is_scalar() && new.is_scalar()
                || self.exempt >> (old.pipe() as u8) & 1 == 1
                // A pipe starts its instructions in order: an earlier one has read before a later one writes
                // (dav-c220.md 1.4 has only reads of ranges that are still being written as hazards).
                || old.slot == new.slot && old.access == Access::Read;
            if by_itself {
                return false;
            }
        }
        true
    }

    /// Must `old` be remembered beside the new access?
    fn keeps(&self, old: &Record) -> bool {
        let new = &self.record;
        if old.same_slot(new) && (new.access != Access::Read || old.access == Access::Read) {
            return false;
        }
        match new.access {
            Access::Read => true,
            // Whoever comes after the new access comes after everything that is ordered before it.
            Access::Write | Access::Atomic => !self.knows(old),
        }
    }

    /// Would recording the access change nothing?
    fn is_known_read(&self, records: &[Record]) -> bool {
        self.record.access == Access::Read
            && records.iter().any(|r| {
                r.access == Access::Read && r.same_slot(&self.record) && r.epoch == self.record.epoch
            })
    }

    fn update(&self, records: &mut Records) {
        if self.is_known_read(records) {
            return;
        }
        let mut new = self.record;
        records.retain(|old| {
            let keeps = self.keeps(old);
            if !keeps && new.access == Access::Atomic {
                new.before = new.before.and(match old.access {
                    Access::Atomic => old.before,
                    other => Uses::of(other),
                });
            }
            keeps
        });
        records.push(new);
    }
}

/// Most bytes have one writer and one reader at a time: those take no allocation.
type Records = SmallVec<[Record; 2]>;

#[derive(Clone, Debug)]
struct Interval {
    start: u64,
    end: u64,
    records: Records,
}

impl Interval {
    fn joins(&self, next: &Interval) -> bool {
        self.end == next.start
            && self.records.len() == next.records.len()
            && self.records.iter().zip(&next.records).all(|(a, b)| a.same(b))
    }
}

/// Two accesses that nothing orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conflict {
    pub(super) old: Record,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Why an access is not recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    Conflict(Conflict),
    /// The host has no memory.
    NoMemory,
}

/// How bytes were used, in a set of one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses(u8);

impl Uses {
    /// Read.
    pub const READ: Uses = Uses(1);
    /// Written.
    pub const WRITE: Uses = Uses(2);
    /// Changed by atomic additions.
    pub const ATOMIC: Uses = Uses(4);

    fn of(access: Access) -> Uses {
        match access {
            Access::Read => Self::READ,
            Access::Write => Self::WRITE,
            Access::Atomic => Self::ATOMIC,
        }
    }

    /// Both of them.
    pub fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    /// Does the order matter in which two launches use the same bytes like this?
    #[cfg(test)]
    pub(crate) fn conflict(self, other: Uses) -> bool {
        let both = self.and(other);
        both != Self::READ && both != Self::ATOMIC
    }
}

/// Bytes of an allocation, from its start, that were used in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Offset of the first byte in its allocation.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// How the bytes were used.
    pub uses: Uses,
}

impl Used {
    /// Puts a range behind those before it.
    pub(crate) fn append(ranges: &mut Vec<Used>, next: Used) {
        match ranges.last_mut() {
            Some(last) if last.end == next.start && last.uses == next.uses => last.end = next.end,
            _ => ranges.push(next),
        }
    }
}

/// The intervals of one page.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    intervals: Vec<Interval>,
    /// Last byte of each interval, within the page: what a search reads, packed.
    lasts: Vec<u16>,
    /// Kept between insertions for its room.
    pieces: Vec<Interval>,
}

impl Page {
    /// Checks one contiguous access against the page and records it.
    pub(super) fn access(&mut self, start: u64, end: u64, new: &Accessor<'_>) -> Result<(), Refused> {
        let first = self.lasts.partition_point(|last| *last < place(start));
        let count = self.intervals[first..].iter().take_while(|i| i.start < end).count();
        let hit = &mut self.intervals[first..first + count];
        for i in hit.iter() {
            if let Some(first) = i.records.iter().find(|r| new.conflicts(r)) {
                // Rather that of another pipe: the flag that it lacks also orders what came before it on this
                // pipe.
                let other = i.records.iter().find(|r| !r.same_slot(&new.record) && new.conflicts(r));
                let old = other.unwrap_or(first);
                let (start, end) = (start.max(i.start), end.min(i.end));
                return Err(Refused::Conflict(Conflict { old: *old, start, end }));
            }
        }
        match hit {
            [i] if i.start == start && i.end == end => new.update(&mut i.records),
            [i] if i.start <= start && i.end >= end && new.is_known_read(&i.records) => {}
            _ if are_exactly(hit, start, end) => {
                hit.iter_mut().for_each(|i| new.update(&mut i.records));
                self.join(first, count);
            }
            _ => return self.replace(first, count, (start, end), new),
        }
        Ok(())
    }

    /// Merges neighbours among `count` intervals that have become equal.
    fn join(&mut self, first: usize, count: usize) {
        let mut last = first;
        for at in first + 1..first + count {
            let (done, rest) = self.intervals.split_at_mut(at);
            if done[last].joins(&rest[0]) {
                done[last].end = rest[0].end;
            } else {
                last += 1;
                self.intervals.swap(last, at);
            }
            self.lasts[last] = place(self.intervals[last].end - 1);
        }
        self.intervals.drain(last + 1..first + count);
        self.lasts.drain(last + 1..first + count);
    }

    fn replace(
        &mut self,
        first: usize,
        count: usize,
        (start, end): (u64, u64),
        new: &Accessor<'_>,
    ) -> Result<(), Refused> {
        let mut pieces = std::mem::take(&mut self.pieces);
        // Each interval leaves up to two pieces beside the gap before it; what is new can split one on both
        // sides.
        pieces.try_reserve(2 * count + 3).map_err(|_| Refused::NoMemory)?;
        let mut add = |piece: Interval| match pieces.last_mut() {
            _ if piece.start == piece.end => {}
            Some(last) if last.joins(&piece) => last.end = piece.end,
            _ => pieces.push(piece),
        };
        let mut at = start;
        for old in &self.intervals[first..first + count] {
            if old.start < start {
                add(Interval { start: old.start, end: start, records: old.records.clone() });
            }
            add(Interval { start: at, end: old.start.max(at), records: smallvec![new.record] });
            let (from, to) = (old.start.max(start), old.end.min(end));
            let mut records = old.records.clone();
            new.update(&mut records);
            add(Interval { start: from, end: to, records });
            at = to;
            if old.end > end {
                add(Interval { start: end, end: old.end, records: old.records.clone() });
            }
        }
        add(Interval { start: at, end: end.max(at), records: smallvec![new.record] });
        let more = pieces.len().saturating_sub(count);
        self.lasts.try_reserve(more).map_err(|_| Refused::NoMemory)?;
        self.intervals.try_reserve(more).map_err(|_| Refused::NoMemory)?;
        self.lasts.splice(first..first + count, pieces.iter().map(|piece| place(piece.end - 1)));
        self.intervals.splice(first..first + count, pieces.drain(..));
        self.pieces = pieces;
        Ok(())
    }

    /// How the bytes were used, as far as other launches have to know: a write stands for what was ordered
    /// before it.
    pub(super) fn append_to(&self, ranges: &mut Vec<Used>) {
        for Interval { start, end, records } in &self.intervals {
            let uses = records.iter().fold(Uses::default(), |uses, r| uses.and(r.uses()));
            Used::append(ranges, Used { start: *start, end: *end, uses });
        }
    }

    pub(super) fn clear(&mut self) {
        self.intervals.clear();
        self.lasts.clear();
    }
}

/// Where a byte lies in its page.
fn place(byte: u64) -> u16 {
    u16::try_from(byte % PAGE_BYTES).unwrap_or(u16::MAX)
}

/// Do these neighbours cover the range, all of it and nothing else?
fn are_exactly(intervals: &[Interval], start: u64, end: u64) -> bool {
    let ends = intervals.first().zip(intervals.last());
    ends.is_some_and(|(first, last)| first.start == start && last.end == end)
        && intervals.windows(2).all(|pair| pair[0].end == pair[1].start)
}

/// Pages that a range touches: page number, and the part of the range inside it.
pub(super) fn pages(start: u64, end: u64) -> impl Iterator<Item = (usize, u64, u64)> {
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let page = at / PAGE_BYTES;
        let from = at;
        at = end.min((page + 1) * PAGE_BYTES);
        Some((usize::try_from(page).unwrap_or(usize::MAX), from, at))
    })
}

/// Pages of a memory of `bytes` bytes.
pub(super) fn page_count(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(usize::MAX)
}
