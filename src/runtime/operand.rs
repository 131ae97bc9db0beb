//! Operands of launches, and what every launch refuses of them: too few bytes, a wrong alignment, and memory
//! that is written while another operand lies there.

use super::Buffer;
use crate::spec::Tensor;
use crate::{Error, Result};

/// A tensor in device memory: a buffer, from some byte on.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The memory.
    pub buffer: &'a Buffer,
    /// Where the tensor starts, a multiple of the element size.
    pub offset_bytes: usize,
}

impl<'a> From<&'a Buffer> for Operand<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self { buffer, offset_bytes: 0 }
    }
}

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
    fn from(Operand { buffer, offset_bytes }: Operand<'_>) -> Self {
        let (address, len_bytes) = (buffer.device_ptr(), buffer.len_bytes() as u64);
        Self { address, offset_bytes: offset_bytes as u64, len_bytes }
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
    steps: Vec<Repeat>,
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
        let (row_bytes, steps) = (needed_bytes, Vec::new());
        Self { name, place, needed_bytes, alignment, is_written, behind: None, row_bytes, steps }
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
        let mut steps: Vec<Repeat> = steps.into_iter().filter(|s| s.extent > 1 && s.bytes > 0).collect();
        steps.sort_by_key(|step| step.bytes);
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
