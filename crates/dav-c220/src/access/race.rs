//! The race check of one access, and its report.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::order::Clock;
use super::order::CORE_NAMES;
use super::shadow::{page_count, pages, Accessor, Conflict, Page, Record, Refused, Used, Uses};
use crate::access::{
    range_text, Access, AccessRecord, Addr, Fault, FaultKind, Gm, Instr, LocalMem, Pipe, Site, Space, Stop,
};

/// Last accesses to the on-chip memories of one core.
#[derive(Debug)]
pub(crate) struct LocalShadow {
    memories: [Vec<Page>; 7],
}

impl LocalShadow {
    pub(crate) fn new(local: &[LocalMem; 7]) -> Self {
        Self { memories: std::array::from_fn(|i| vec![Page::default(); page_count(local[i].len() as u64)]) }
    }

    pub(crate) fn clear(&mut self) {
        self.memories.iter_mut().flatten().for_each(Page::clear);
    }
}

/// Last accesses to GM, by allocation, shared by all groups of a launch.
#[derive(Debug)]
pub(crate) struct GmShadow {
    allocations: Vec<Vec<Mutex<Page>>>,
}

impl GmShadow {
    /// For the allocations with these lengths, in the order of [`Gm`].
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub(crate) fn new(lengths: impl Iterator<Item = u64>) -> Result<Self, Stop> {
        let pages = |len| {
            let (mut pages, count) = (Vec::new(), page_count(len));
            pages.try_reserve_exact(count).map_err(|_| no_memory())?;
            pages.extend((0..count).map(|_| Mutex::default()));
            Ok(pages)
        };
        Ok(Self { allocations: lengths.map(pages).collect::<Result<_, Stop>>()? })
    }

    /// How the bytes of allocation number `index` were used.
    pub(crate) fn used(&self, index: usize) -> Vec<Used> {
        let mut ranges = Vec::new();
        for page in &self.allocations[index] {
            page.lock().unwrap_or_else(PoisonError::into_inner).append_to(&mut ranges);
        }
        ranges
    }
}

fn no_memory() -> Stop {
    Stop::no_memory("the race check; FASTATTENTION_SIM_RACES=0 or Config::check_races does without it")
}

/// What the race check knows about the instruction in execution.
#[derive(Debug)]
pub(crate) struct OrderHandle<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) epoch: u32,
    pub(crate) slot: usize,
    pub(crate) block: u32,
    pub(crate) local: &'a mut LocalShadow,
    pub(crate) gm: &'a GmShadow,
}

/// `count` pieces of `len` bytes, `stride` bytes apart, all in one memory and for GM in one allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    pub(crate) addr: Addr,
    pub(crate) len: u64,
    pub(crate) stride: i64,
    pub(crate) count: u64,
}

impl Pieces {
    /// The parts of the pieces by page; offsets are relative to `base`.
    fn pages(&self, base: u64) -> impl Iterator<Item = (usize, u64, u64)> {
        let (len, stride) = (self.len, self.stride);
        let first = self.addr.offset.cast_unsigned() - base;
        (0..self.count).flat_map(move |i| {
            let start = first.wrapping_add_signed(stride * i.cast_signed());
            pages(start, start + len)
        })
    }
}

impl OrderHandle<'_> {
    /// Checks and records one access to pieces of one memory, whose bounds have been checked. `exempt`: pipes
    /// of this core that the hardware orders against it by itself.
    pub(crate) fn check(
        &mut self,
        instr: &Instr,
        gm: &Gm,
        pieces: &Pieces,
        access: Access,
        exempt: &[Pipe],
    ) -> Result<(), Stop> {
        let record = Record {
            op: instr.op,
            number: instr.number,
            group: self.block,
            epoch: self.epoch,
            slot: u8::try_from(self.slot).unwrap_or(u8::MAX),
            access,
            before: Uses::default(),
        };
        let exempt = exempt.iter().fold(0, |bits, pipe| bits | 1 << *pipe as u8);
        let new = Accessor { record, clock: self.clock, exempt };
        match pieces.addr.space {
            Space::Gm => self.check_gm(gm, pieces, &new),
            space => self.check_local(space, pieces, &new),
        }
    }

    fn check_gm(&mut self, gm: &Gm, pieces: &Pieces, new: &Accessor<'_>) -> Result<(), Stop> {
        let Some((index, allocation)) = gm.find(pieces.addr.offset.cast_unsigned()) else {
            return Ok(());
        };
        let shadow = &self.gm.allocations[index];
        let mut held: Option<(usize, MutexGuard<'_, Page>)> = None;
        for (page, from, to) in pieces.pages(allocation.base()) {
            let mut guard = match held.take() {
                Some((number, guard)) if number == page => guard,
                // One page at a time is locked: another thread may want the same two in the other order.
                other => {
                    drop(other);
                    shadow[page].lock().unwrap_or_else(PoisonError::into_inner)
                }
            };
            guard.access(from, to, new).map_err(|refused| {
                let Refused::Conflict(c) = refused else { return no_memory() };
                let range = format!(
                    "bytes {:#x}..{:#x} of the GM allocation of {} bytes",
                    c.start,
                    c.end,
                    allocation.len()
                );
                report(&range, &c, &new.record)
            })?;
            held = Some((page, guard));
        }
        Ok(())
    }

    fn check_local(&mut self, space: Space, pieces: &Pieces, new: &Accessor<'_>) -> Result<(), Stop> {
        let shadow = &mut self.local.memories[space.local_index()];
        for (page, from, to) in pieces.pages(0) {
            shadow[page].access(from, to, new).map_err(|refused| {
                let Refused::Conflict(c) = refused else { return no_memory() };
                let range = range_text(space, c.start.cast_signed(), c.end - c.start);
                report(&range, &c, &new.record)
            })?;
        }
        Ok(())
    }
}

fn site(record: &Record) -> AccessRecord {
    let access = match record.access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Atomic => "atomic",
    };
    let site = Site {
        core: CORE_NAMES[record.core()],
        block: record.group,
        pipe: record.pipe(),
        number: record.number,
        mnemonic: record.op.mnemonic,
    };
    AccessRecord { site, access }
}

/// The fault of two unordered accesses. Which of the two executed second depends on the seed and, between
/// groups, on host threads; so the lower block is named first, and on one core the instruction that was
/// issued first.
fn report(range: &str, conflict: &Conflict, new: &Record) -> Stop {
    let (mut first, mut second) = (site(&conflict.old), site(new));
    let swap = second.site.block < first.site.block
        || second.site.block == first.site.block
            && second.site.core == first.site.core
            && second.site.number < first.site.number;
    if swap {
        std::mem::swap(&mut first, &mut second);
    }
    let (a, b) = (&first.site, &second.site);
    let same_core = a.block == b.block && a.core == b.core;
    let missing = if a.block != b.block {
        "no cross-core flag of mode 0 orders them".to_owned()
    } else if a.core != b.core {
        "no cross-core flag orders them".to_owned()
    } else if a.pipe == b.pipe {
        format!("no pipe_barrier of {} orders them", a.pipe)
    } else {
        format!("no {}_{} flag orders them", a.pipe, b.pipe)
    };
    let later =
        if same_core { format!("{} insn {} {}", b.pipe, b.number, b.mnemonic) } else { b.to_string() };
    let detail = format!("race on {range}: {} by {a}; {} by {later}; {missing}", first.access, second.access);
    Stop::Fault(Box::new(Fault { kind: FaultKind::Race, site: Some(second.site), detail }))
}
