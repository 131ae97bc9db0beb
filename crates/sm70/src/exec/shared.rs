//! Shared memory of a block.

use super::Trouble;
use crate::fault::FaultKind;
use crate::race::{Access, History, Rival};

/// Words with their history. What was there before the block does not show: it is unwritten.
#[derive(Debug, Default)]
pub(super) struct Shared {
    words: Vec<u32>,
    history: Vec<History>,
    bytes: u32,
}

impl Shared {
    pub(super) fn reset(&mut self, bytes: u32) {
        let words = bytes as usize / 4;
        self.bytes = bytes;
        self.words.resize(words, 0);
        self.history.clear();
        self.history.resize(words, History::default());
    }

    /// The place of `bytes` at `address`, if it is within the block's shared memory.
    pub(super) fn check(&self, address: u64, bytes: u32, lane: u32) -> Result<u32, Box<Trouble>> {
        let end = address.checked_add(u64::from(bytes));
        match u32::try_from(address) {
            Ok(at) if end.is_some_and(|end| end <= u64::from(self.bytes)) => Ok(at),
            _ => Err(Trouble::new(
                FaultKind::OutOfBounds,
                lane,
                format!("{bytes} bytes at {address:#x} of shared memory; the block has {} bytes", self.bytes),
            )),
        }
    }

    pub(super) fn load(&mut self, at: u32, by: Access, epoch: u32) -> Result<u32, Box<Trouble>> {
        let number = at as usize / 4;
        let history = &mut self.history[number];
        if !history.is_written() {
            let message = format!("4 bytes at {at:#x} of shared memory were never written");
            return Err(Trouble::new(FaultKind::Uninitialised, by.thread % 32, message));
        }
        history.read(by, epoch).map_err(|rival| race("read", at, by, rival))?;
        Ok(self.words[number])
    }

    pub(super) fn store(&mut self, at: u32, value: u32, by: Access, epoch: u32) -> Result<(), Box<Trouble>> {
        let number = at as usize / 4;
        self.history[number].write(by, epoch).map_err(|rival| race("write", at, by, rival))?;
        self.words[number] = value;
        Ok(())
    }
}

fn race(what: &str, at: u32, by: Access, rival: Rival) -> Box<Trouble> {
    let before = if rival.wrote { "write" } else { "read" };
    let message = format!("{what} (1) and {before} (2) of 4 bytes at {at:#x}, no barrier between them");
    Trouble::new(FaultKind::SharedRace, by.thread % 32, message).with(rival.access)
}
