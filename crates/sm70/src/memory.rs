//! Global memory: allocations far apart, each byte of which is written or not.

use crate::fault::Error;

/// Where the first allocation lies: addresses look like those of a GPU, and small numbers are no addresses.
const BASE: u64 = 0x7f00_0000_0000;
/// Allocations begin at multiples of this, as those of a driver do.
const ALIGN: u64 = 256;
/// Bytes between allocations that belong to nobody.
const GAP: u64 = 1 << 20;

/// Global memory of a device.
#[derive(Debug, Default)]
pub struct Memory {
    pub(crate) allocations: Vec<Allocation>,
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    /// A byte of `bytes` each: was it written?
    pub(crate) written: Vec<bool>,
}

impl Memory {
    /// Memory without allocations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory with one allocation, which begins at `address` and holds `bytes`.
    #[must_use]
    pub fn with(name: &str, address: u64, bytes: Vec<u8>) -> Self {
        let written = vec![true; bytes.len()];
        Self { allocations: vec![Allocation { name: name.to_owned(), start: address, bytes, written }] }
    }

    /// An allocation of so many bytes that nobody wrote yet; its address. Faults call it by its name.
    ///
    /// # Panics
    /// Panics if the host has not so much memory.
    pub fn allocate(&mut self, name: &str, bytes: usize) -> u64 {
        self.add(name, vec![0; bytes], vec![false; bytes])
    }

    /// Writes bytes within one allocation, as a copy from the host does.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no allocation holds them all.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let (number, offset) = self.locate(address, bytes.len() as u64).ok_or_else(|| {
            Error::Invalid(format!("write of {} bytes at {}", bytes.len(), self.describe(address)))
        })?;
        let allocation = &mut self.allocations[number];
        allocation.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        allocation.written[offset..offset + bytes.len()].fill(true);
        Ok(())
    }

    /// An allocation that holds `bytes`; its address.
    pub fn upload(&mut self, name: &str, bytes: &[u8]) -> u64 {
        self.add(name, bytes.to_vec(), vec![true; bytes.len()])
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>, written: Vec<bool>) -> u64 {
        let end = self.allocations.last().map_or(BASE, |last| last.start + last.bytes.len() as u64 + GAP);
        let start = end.next_multiple_of(ALIGN);
        self.allocations.push(Allocation { name: name.to_owned(), start, bytes, written });
        start
    }

    /// The bytes of the allocation that begins at `address`; None if there is none, or if a byte of it was
    /// never written.
    #[must_use]
    pub fn read(&self, address: u64) -> Option<&[u8]> {
        let found = self.allocations.iter().find(|allocation| allocation.start == address)?;
        found.written.iter().all(|written| *written).then_some(&found.bytes)
    }

    /// The number of the allocation that holds all `bytes` from `address` on, and the first one's place in
    /// it.
    pub(crate) fn locate(&self, address: u64, bytes: u64) -> Option<(usize, usize)> {
        let number =
            self.allocations.partition_point(|allocation| allocation.start <= address).checked_sub(1)?;
        let allocation = &self.allocations[number];
        let offset = address - allocation.start;
        let end = offset.checked_add(bytes)?;
        (end <= allocation.bytes.len() as u64).then_some((number, usize::try_from(offset).ok()?))
    }

    /// Where `address` is, in words.
    pub(crate) fn describe(&self, address: u64) -> String {
        let after = self.allocations.partition_point(|allocation| allocation.start <= address);
        let Some(allocation) = after.checked_sub(1).map(|number| &self.allocations[number]) else {
            return format!("{address:#x}, below every allocation");
        };
        let (offset, size) = (address - allocation.start, allocation.bytes.len() as u64);
        let next = self.allocations.get(after).map(|next| (next.start - address, &next.name));
        match next {
            Some((before, name)) if offset >= size && before < offset - size => {
                format!("{address:#x}, {before} bytes before {name}")
            }
            _ => format!("{address:#x}, byte {offset} of {}, which has {size}", allocation.name),
        }
    }
}
