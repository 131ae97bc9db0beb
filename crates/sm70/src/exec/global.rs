//! Global memory as one block sees it: as it was at the launch, plus the block's own writes.
//!
//! Blocks run side by side on threads of the host and see nothing of each other, so results never depend on
//! the order. Whether they were allowed to is found afterwards: [`crate::launch`] compares what they wrote
//! and read, and runs those again that may have read what was written, with [`Watch`] telling which words to
//! follow.

use rustc_hash::FxHashMap;

use super::Trouble;
use crate::fault::FaultKind;
use crate::memory::Memory;
use crate::race::{Access, History, Rival};

/// Words that were written in a run: by which block, and who.
pub(crate) type Watch = FxHashMap<u64, (u32, Access)>;

/// A word that this block wrote, or watches.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    value: u32,
    history: History,
}

/// What a block did to global memory.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Address, value and writer, by address.
    pub(crate) words: Vec<(u64, u32, Access)>,
    /// Lowest and highest address read in each allocation; empty where the first is above the second.
    pub(crate) read: Vec<(u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Global<'a> {
    memory: &'a Memory,
    block: u32,
    watch: Option<&'a Watch>,
    own: FxHashMap<u64, Own>,
    read: Vec<(u64, u64)>,
}

impl<'a> Global<'a> {
    pub(super) fn new(memory: &'a Memory, block: u32, watch: Option<&'a Watch>) -> Self {
        let read = vec![(u64::MAX, 0); memory.allocations.len()];
        Self { memory, block, watch, own: FxHashMap::default(), read }
    }

    /// The allocation that holds these bytes, and where.
    pub(super) fn check(&self, address: u64, bytes: u32, lane: u32) -> Result<(usize, usize), Box<Trouble>> {
        self.memory.locate(address, u64::from(bytes)).ok_or_else(|| {
            let message = format!("{bytes} bytes at {}", self.memory.describe(address));
            Trouble::new(FaultKind::OutOfBounds, lane, message)
        })
    }

    /// A word at `address`, which is `place` as [`Global::check`] found it.
    pub(super) fn load(
        &mut self,
        address: u64,
        place: (usize, usize),
        by: Access,
        epoch: u32,
    ) -> Result<u32, Box<Trouble>> {
        let (number, offset) = place;
        let read = &mut self.read[number];
        *read = (read.0.min(address), read.1.max(address));
        if self.watch.is_some() || !self.own.is_empty() {
            if let Some(value) = self.load_followed(address, by, epoch)? {
                return Ok(value);
            }
        }
        let allocation = &self.memory.allocations[number];
        if let Some(first) = allocation.written[offset..offset + 4].iter().position(|written| !written) {
            let message = format!("{} was never written", self.memory.describe(address + first as u64));
            return Err(Trouble::new(FaultKind::Uninitialised, by.thread % 32, message));
        }
        let bytes = &allocation.bytes[offset..offset + 4];
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// The value of a word that this block wrote itself; races with its writers are found.
    fn load_followed(&mut self, address: u64, by: Access, epoch: u32) -> Result<Option<u32>, Box<Trouble>> {
        if let Some((block, writer)) = self.watch.and_then(|watch| watch.get(&address)) {
            if *block != self.block {
                let message =
                    format!("read (1) and write (2) by two blocks, at {}", self.memory.describe(address));
                let mut trouble = Trouble::new(FaultKind::GlobalRace, by.thread % 32, message);
                trouble.other = Some((Some(*block), *writer));
                return Err(trouble);
            }
            self.own.entry(address).or_default();
        }
        let Some(own) = self.own.get_mut(&address) else { return Ok(None) };
        own.history.read(by, epoch).map_err(|rival| race(self.memory, "read", address, by, rival))?;
        Ok(own.history.is_written().then_some(own.value))
    }

    pub(super) fn store(
        &mut self,
        address: u64,
        value: u32,
        by: Access,
        epoch: u32,
    ) -> Result<(), Box<Trouble>> {
        let own = self.own.entry(address).or_default();
        own.history.write(by, epoch).map_err(|rival| race(self.memory, "write", address, by, rival))?;
        own.value = value;
        Ok(())
    }

    pub(super) fn finish(self) -> Written {
        let written = self.own.into_iter().filter(|(_, own)| own.history.is_written());
        let mut words: Vec<_> =
            written.map(|(address, own)| (address, own.value, own.history.writer())).collect();
        words.sort_unstable_by_key(|word| word.0);
        Written { words, read: self.read }
    }
}

fn race(memory: &Memory, what: &str, address: u64, by: Access, rival: Rival) -> Box<Trouble> {
    let before = if rival.wrote { "write" } else { "read" };
    let place = memory.describe(address);
    let message = format!("{what} (1) and {before} (2) of 4 bytes at {place}, no barrier between them");
    Trouble::new(FaultKind::GlobalRace, by.thread % 32, message).with(rival.access)
}
