//! Operands of launches, and what every launch refuses of them: too few bytes, a wrong alignment, and memory
//! that is written while another operand lies there.

use std::ffi::c_void;

use smallvec::SmallVec;

use super::handle::Handle;
use super::keep::Keep;
use super::{Buffer, Device};
use crate::spec::Tensor;
use crate::{Error, Result};

/// A tensor in device memory: a buffer, or memory of another owner, from some byte on.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    memory: Memory<'a>,
    offset_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Memory<'a> {
    Buffer(&'a Buffer),
    Borrowed { device: &'a Device, address: Handle, len: usize },
}

impl<'a> From<&'a Buffer> for Operand<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self::at(buffer, 0)
    }
}

impl<'a> Operand<'a> {
    /// A tensor that starts at byte `offset_bytes` of a buffer, a multiple of the element size.
    pub fn at(buffer: &'a Buffer, offset_bytes: usize) -> Self {
        Self { memory: Memory::Buffer(buffer), offset_bytes }
    }

    /// `len` bytes of device memory of another owner: for engines that have addresses. It is a value, nothing
    /// is allocated for it and nothing is freed. [`Buffer::from_raw`] makes an object of such memory.
    ///
    /// # Safety
    /// `address` is that of `len` bytes of device memory of this device. It stays so (no `aclrtFree`) until
    /// the streams that were given the operand are synchronised, and graphs that captured it and tiling data
    /// that were placed there are dropped: nothing of this crate keeps this memory. Nobody else writes there
    /// while work of this crate uses it, and nobody reads what this crate's work writes before that work is
    /// done; as between streams, events order.
    #[allow(unsafe_code, reason = "its caller vouches for the memory")]
    pub unsafe fn from_raw(device: &'a Device, address: *mut c_void, len: usize) -> Self {
        Self { memory: Memory::Borrowed { device, address: Handle(address), len }, offset_bytes: 0 }
    }

    /// The tensor that starts at byte `offset_bytes` of the same memory.
    #[must_use]
    pub fn with_offset_bytes(self, offset_bytes: usize) -> Self {
        Self { offset_bytes, ..self }
    }

    /// Where in its memory the tensor starts.
    pub fn offset_bytes(&self) -> usize {
        self.offset_bytes
    }

    /// The device of the memory.
    pub fn device(&self) -> &'a Device {
        match self.memory {
            Memory::Buffer(buffer) => buffer.device(),
            Memory::Borrowed { device, .. } => device,
        }
    }

    /// Address and length of the memory.
    fn memory(&self) -> (Handle, usize) {
        match self.memory {
            Memory::Buffer(buffer) => (buffer.handle(), buffer.len_bytes()),
            Memory::Borrowed { address, len, .. } => (address, len),
        }
    }

    /// Bytes of the memory.
    pub(super) fn len_bytes(&self) -> usize {
        self.memory().1
    }

    /// Address of the tensor; it is never dereferenced here.
    pub(super) fn pointer(&self) -> *mut c_void {
        self.memory().0 .0.wrapping_byte_add(self.offset_bytes)
    }

    /// Address of the tensor on the device.
    pub fn device_ptr(&self) -> u64 {
        self.pointer().addr() as u64
    }

    /// The buffer, if it is one of this crate.
    pub(super) fn buffer(&self) -> Option<&'a Buffer> {
        match self.memory {
            Memory::Buffer(buffer) => Some(buffer),
            Memory::Borrowed { .. } => None,
        }
    }

    /// What keeps the memory; nothing where its owner does.
    pub(super) fn keep(&self) -> Option<Keep> {
        self.buffer().map(Buffer::keep)
    }

    /// Refuses `len` bytes that leave the memory.
    pub(crate) fn require_room(&self, operation: &str, len: usize) -> Result<()> {
        let (offset, all) = (self.offset_bytes, self.len_bytes());
        if offset.checked_add(len).is_some_and(|end| end <= all) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{operation}: {len} bytes at byte {offset} given, a range inside {all} bytes wanted"
        )))
    }
}

/// What the driver promises of the addresses that it allocates (acl-runtime.md 1.6). Memory of another owner
/// may start anywhere in an allocation.
const ADDRESS_ALIGNMENT: u64 = 64;

/// One operand of a launch, in a list that takes no memory of its own for any operator but a merge.
pub(crate) type NamedList = SmallVec<[Named; 12]>;

/// Where an operand lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryRange {
    /// Device address of the buffer.
    pub(crate) address: u64,
    pub(crate) offset_bytes: u64,
    /// Bytes from the start of the buffer.
    pub(crate) len_bytes: u64,
}

impl From<Operand<'_>> for MemoryRange {
    fn from(operand: Operand<'_>) -> Self {
        let (Handle(address), len) = operand.memory();
        let offset_bytes = operand.offset_bytes as u64;
        Self { address: address.addr() as u64, offset_bytes, len_bytes: len as u64 }
    }
}

/// One operand of a launch: its name in error texts, where it lies, and what the launch does with it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    name: &'static str,
    place: MemoryRange,
    /// From the first byte that is used to one past the last.
    needed_bytes: u64,
    alignment: u64,
    is_written: bool,
    /// The operand that is complete before this one is read.
    behind: Option<&'static str>,
    /// Used are rows of so many bytes, which repeat at regular steps.
    row_bytes: u64,
    steps: SmallVec<[Repeat; 4]>,
}

/// `extent` repetitions, `bytes` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    pub(crate) extent: u64,
    pub(crate) bytes: u64,
}

impl Named {
    fn new(
        name: &'static str,
        place: MemoryRange,
        needed_bytes: u64,
        alignment: u64,
        is_written: bool,
    ) -> Self {
        let (row_bytes, steps) = (needed_bytes, SmallVec::new());
        Self { name, place, needed_bytes, alignment, is_written, behind: None, row_bytes, steps }
    }

    /// For those who listen to launches.
    #[cfg(feature = "tracing")]
    pub(super) fn to_json(&self) -> serde_json::Value {
        let address = format!("{:#x}", u128::from(self.place.address) + u128::from(self.place.offset_bytes));
        serde_json::json!({
            "name": self.name,
            "address": address,
            "bytes": self.needed_bytes,
            "is_written": self.is_written,
        })
    }

    /// An operand that is only read.
    pub(crate) fn read(
        name: &'static str,
        place: impl Into<MemoryRange>,
        bytes: u64,
        alignment: u64,
    ) -> Self {
        Self::new(name, place.into(), bytes, alignment, false)
    }

    /// An operand that is written, and perhaps read.
    pub(crate) fn written(
        name: &'static str,
        place: impl Into<MemoryRange>,
        bytes: u64,
        alignment: u64,
    ) -> Self {
        Self::new(name, place.into(), bytes, alignment, true)
    }

    /// A tensor that takes `bytes` from its first to one past its last.
    pub(crate) fn tensor(tensor: &Tensor, place: impl Into<MemoryRange>, bytes: u64) -> Self {
        let Tensor { name, extent, dim, size, stride, is_output } = *tensor;
        let steps = extent.into_iter().zip(stride);
        let steps = steps.map(|(extent, stride)| Repeat { extent, bytes: stride.saturating_mul(size) });
        Self::new(name, place.into(), bytes, size, is_output).with_rows(dim * size, steps)
    }

    /// Says that all of it is repeated once more.
    pub(crate) fn repeated(mut self, step: Repeat) -> Self {
        self.steps.push(step);
        let steps = std::mem::take(&mut self.steps);
        let row_bytes = self.row_bytes;
        self.with_rows(row_bytes, steps)
    }

    /// Says which of the bytes are used: rows of `row_bytes`, repeated by each of the steps.
    pub(crate) fn with_rows(self, row_bytes: u64, steps: impl IntoIterator<Item = Repeat>) -> Self {
        let mut steps: SmallVec<[Repeat; 4]> =
            steps.into_iter().filter(|s| s.extent > 1 && s.bytes > 0).collect();
        steps.sort_unstable_by_key(|step| step.bytes);
        Self { row_bytes, steps, ..self }
    }

    /// Says that the launch reads it only when it has written all of the operand of that name.
    pub(crate) fn behind(self, name: &'static str) -> Self {
        Self { behind: Some(name), ..self }
    }

    /// What is wrong with size and alignment.
    fn wrong(&self, wrong: &mut Vec<String>) {
        let Named {
            name, place: MemoryRange { offset_bytes, len_bytes, .. }, needed_bytes, alignment, ..
        } = *self;
        if offset_bytes % alignment != 0 {
            wrong.push(format!("{name} starts at byte {offset_bytes}, a multiple of {alignment} wanted"));
        } else if !self.start().is_multiple_of(alignment.min(ADDRESS_ALIGNMENT)) && needed_bytes > 0 {
            let (start, alignment) = (self.start(), alignment.min(ADDRESS_ALIGNMENT));
            wrong.push(format!("{name} starts at address {start:#x}, a multiple of {alignment} wanted"));
        }
        let behind = len_bytes.saturating_sub(offset_bytes);
        if behind < needed_bytes {
            let from = if offset_bytes > 0 { format!(" from byte {offset_bytes}") } else { String::new() };
            wrong.push(format!("{name} has {behind} bytes{from}, the plan needs {needed_bytes}"));
        }
    }

    fn start(&self) -> u64 {
        self.place.address.saturating_add(self.place.offset_bytes)
    }

    fn end(&self) -> u64 {
        self.start().saturating_add(self.needed_bytes)
    }

    /// Ways to see the operand as pieces of a width at multiples of a period: the inner steps make one piece
    /// with all that lies between, the outer ones are multiples of their common divisor. One piece has
    /// period 0.
    fn periods(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..=self.steps.len()).map(|inner| {
            let spans = self.steps[..inner].iter().map(|s| (s.extent - 1).saturating_mul(s.bytes));
            let width = spans.fold(self.row_bytes, u64::saturating_add);
            (self.steps[inner..].iter().fold(0, |period, step| gcd(period, step.bytes)), width)
        })
    }

    /// May the two have a byte in common? Never false when they have; true where the strides are too
    /// irregular to tell.
    fn meets(&self, other: &Named) -> bool {
        if self.needed_bytes == 0 || other.needed_bytes == 0 {
            return false;
        }
        if self.end() <= other.start() || other.end() <= self.start() {
            return false;
        }
        // Modulo a divisor g of both periods, every byte of one lies in [start, start + width), and so for
        // the other. Two such ranges that do not meet modulo g prove that no byte is common.
        let is_proof = |(period, width): (u64, u64), (other_period, other_width): (u64, u64)| {
            let g = gcd(period, other_period);
            if g == 0 {
                return false;
            }
            let between = (other.start() % g + g - self.start() % g) % g;
            width <= between && other_width <= g - between
        };
        !self.periods().any(|own| other.periods().any(|its| is_proof(own, its)))
    }

    fn may_share(&self, other: &Named) -> bool {
        let reads_behind = |a: &Named, b: &Named| !a.is_written && a.behind == Some(b.name);
        !self.is_written && !other.is_written || reads_behind(self, other) || reads_behind(other, self)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

/// Refuses operands, each with its name, the bytes that it needs and its alignment, and those that overlap;
/// one error names all that is wrong.
pub(crate) fn refuse(what: &str, operands: &[Named]) -> Result<()> {
    refuse_with(what, operands, Vec::new())
}

/// As [`refuse`], with what the caller has found.
pub(crate) fn refuse_with(what: &str, operands: &[Named], found: Vec<String>) -> Result<()> {
    let mut wrong = Vec::new();
    operands.iter().for_each(|operand| operand.wrong(&mut wrong));
    wrong.extend(found);
    // Where an operand ends is known only when it has its size.
    if wrong.is_empty() {
        overlaps(operands, &mut wrong);
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("{what}: {}", wrong.join("; "))))
}

/// Every pair of operands that share memory of which one is written.
fn overlaps(operands: &[Named], wrong: &mut Vec<String>) {
    for (i, a) in operands.iter().enumerate() {
        for b in &operands[i + 1..] {
            if a.may_share(b) || !a.meets(b) {
                continue;
            }
            // The one that is written first.
            let (a, b) = if a.is_written { (a, b) } else { (b, a) };
            let is_strided = !a.steps.is_empty() || !b.steps.is_empty();
            wrong.push(format!(
                "{} at [{:#x}, {:#x}) is written and shares bytes with {} at [{:#x}, {:#x}), memory of its own wanted{}",
                a.name,
                a.start(),
                a.end(),
                b.name,
                b.start(),
                b.end(),
                if is_strided { ", or rows that regular strides keep apart" } else { "" }
            ));
        }
    }
}

#[cfg(test)]
mod tests;
