//! Where the buffers of a plan lie in the on-chip memories.

use std::fmt;

/// One or several equal buffers, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// What it holds.
    pub name: &'static str,
    /// Byte address of the first buffer.
    pub offset_bytes: u32,
    /// Bytes of one buffer.
    pub bytes: u32,
    /// How many buffers.
    pub count: u32,
}

/// The buffers of one memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    /// Name of the memory.
    pub memory: &'static str,
    /// Bytes that a kernel may use.
    pub capacity_bytes: u32,
    /// The buffers, in ascending address.
    pub regions: Vec<Region>,
}

impl MemoryMap {
    pub(super) fn new(memory: &'static str, capacity_bytes: u32) -> Self {
        Self { memory, capacity_bytes, regions: Vec::new() }
    }

    /// Puts `count` buffers of `bytes` behind what is there. May exceed the capacity.
    pub(super) fn push(&mut self, name: &'static str, bytes: u32, count: u32) -> Region {
        self.push_at(self.used_bytes(), name, bytes, count)
    }

    /// As [`Self::push`], with an address that is `phase` modulo 512: a row of UB's 16 bank groups
    /// (dav-c220.md §1.5).
    pub(super) fn push_at_phase(&mut self, name: &'static str, bytes: u32, count: u32, phase: u32) -> Region {
        let used = self.used_bytes();
        self.push_at(used + (phase + 512 - used % 512) % 512, name, bytes, count)
    }

    fn push_at(&mut self, offset_bytes: u32, name: &'static str, bytes: u32, count: u32) -> Region {
        let region = Region { name, offset_bytes, bytes, count };
        self.regions.push(region);
        region
    }

    /// Bytes up to the end of the last buffer.
    pub fn used_bytes(&self) -> u32 {
        self.regions.last().map_or(0, |r| r.offset_bytes + r.bytes * r.count)
    }

    pub(super) fn fits(&self) -> bool {
        self.used_bytes() <= self.capacity_bytes
    }
}

impl fmt::Display for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<4} {:>6} of {} bytes", self.memory, self.used_bytes(), self.capacity_bytes)?;
        for r in &self.regions {
            writeln!(f, "     {:#08x} {:>2} x {:>6}  {}", r.offset_bytes, r.count, r.bytes, r.name)?;
        }
        Ok(())
    }
}
