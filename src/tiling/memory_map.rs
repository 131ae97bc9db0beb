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

    /// Puts `count` buffers of `bytes` behind what is there; returns the address. May exceed the capacity.
    pub(super) fn push(&mut self, name: &'static str, bytes: u32, count: u32) -> u32 {
        let offset_bytes = self.used_bytes();
        self.regions.push(Region { name, offset_bytes, bytes, count });
        offset_bytes
    }

    /// As [`Self::push`], with an address that is `phase` modulo 512: a row of UB's 16 bank groups (dav-c220.md §1.5).
    pub(super) fn push_at_phase(&mut self, name: &'static str, bytes: u32, count: u32, phase: u32) {
        let used = self.used_bytes();
        let offset_bytes = used + (phase + 512 - used % 512) % 512;
        self.regions.push(Region { name, offset_bytes, bytes, count });
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
