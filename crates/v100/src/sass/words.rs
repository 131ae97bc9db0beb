//! The words of an instruction, and what they stand for.

use super::op::Width;
use super::operand::{self, Operand, Pred, Value};
use super::text::Listing;

/// The words of an instruction.
pub(super) struct Words<'a> {
    pub(super) name: &'a str,
    pub(super) mods: Vec<&'a str>,
    pub(super) args: Vec<&'a str>,
    pub(super) listing: &'a Listing,
}

impl Words<'_> {
    pub(super) fn has(&self, word: &str) -> bool {
        self.mods.contains(&word)
    }

    pub(super) fn reg(&self, at: usize) -> Option<u8> {
        operand::register(self.args.get(at)?)
    }

    pub(super) fn int(&self, at: usize) -> Option<Operand> {
        let text = self.args.get(at)?;
        // Half of the address of a label: code lies below 2^32.
        if let Some(label) = text.strip_prefix("32@lo((").and_then(|t| t.split_once(" + ")).map(|t| t.1) {
            let index = *self.listing.labels.get(label.strip_suffix("@srel))")?)?;
            let pc = self.listing.lines.get(index as usize)?.pc;
            return operand::int(&format!("{pc:#x}"));
        }
        if text.starts_with("32@hi((") {
            return operand::int("0x0");
        }
        operand::int(text)
    }

    pub(super) fn ints<const N: usize>(&self, at: usize) -> Option<[Operand; N]> {
        self.sources(at, Self::int)
    }

    pub(super) fn floats<const N: usize>(&self, at: usize) -> Option<[Operand; N]> {
        self.sources(at, |words, at| operand::float(words.args.get(at)?))
    }

    pub(super) fn sources<const N: usize>(
        &self,
        at: usize,
        one: impl Fn(&Self, usize) -> Option<Operand>,
    ) -> Option<[Operand; N]> {
        let all: Option<Vec<_>> = (at..at + N).map(|n| one(self, n)).collect();
        all?.try_into().ok()
    }

    pub(super) fn pred(&self, at: usize) -> Option<Pred> {
        operand::pred(self.args.get(at)?)
    }

    pub(super) fn pred_to(&self, at: usize) -> Option<u8> {
        operand::predicate(self.args.get(at)?)
    }

    /// A number in the text.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        match operand::int(self.args.get(at)?)?.value {
            Value::Immediate(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        u8::try_from(self.number(at)?).ok()
    }

    pub(super) fn width(&self) -> Width {
        let table =
            [("128", 16, false), ("64", 8, false), ("U16", 2, false), ("S16", 2, true), ("U8", 1, false)];
        let found = table.iter().find(|(word, ..)| self.has(word)).copied();
        let (_, bytes, signed) = found.unwrap_or(if self.has("S8") { ("", 1, true) } else { ("", 4, false) });
        Width { bytes, signed }
    }
}
