//! What a checked launch says about rows, lengths and pages.

use std::fmt;

use crate::{Error, Result};

/// 32-bit words of `status` for each slot: code, two numbers (entry of the block table and value given, or
/// two entries of `row_starts` or of `page_starts`), five zeros.
pub const STATUS_WORDS: usize = 8;

/// The first thing that is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// Entries of `row_starts` that no slot can have: the first is less than that of an earlier slot or
    /// greater than the second, the second is greater than `total_rows`, or they are more than `rows` apart.
    Rows {
        /// The slot.
        slot: usize,
        /// Its first row.
        start: i32,
        /// The one behind its last.
        end: i32,
    },
    /// A length that is negative or greater than `max_keys`.
    Length {
        /// The slot.
        slot: usize,
        /// Its length.
        given: i32,
    },
    /// Entries of `page_starts` that no slot can have (the first is negative, or greater than the second, or
    /// the second is behind the list), or that leave the slot fewer pages than its keys need.
    PageStarts {
        /// The slot.
        slot: usize,
        /// The first of its entries.
        start: i32,
        /// The one behind its last.
        end: i32,
    },
    /// An entry of the block table that keys of the slot need and that names no page of the cache.
    Page {
        /// The slot.
        slot: usize,
        /// The entry in its row.
        entry: usize,
        /// The page that it names.
        given: i32,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { slot, start, end } => {
                write!(f, "slot {slot} has row_starts {start} and {end}")
            }
            Self::Length { slot, given } => write!(f, "slot {slot} has length {given}"),
            Self::PageStarts { slot, start, end } => {
                write!(f, "slot {slot} has page_starts {start} and {end}, not entries for all of its keys")
            }
            Self::Page { slot, entry, given } => {
                write!(f, "slot {slot} has page {given} in entry {entry} of its block table")
            }
        }
    }
}

/// What is wrong, at most one mistake for each slot; empty when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By slot.
    pub mistakes: Vec<Mistake>,
}

impl Report {
    /// Reads what a launch has left in `status`.
    ///
    /// # Errors
    /// `InvalidArgument` for words that no launch leaves.
    pub fn from_words(words: &[i32]) -> Result<Self> {
        let mut mistakes = Vec::new();
        let (slots, rest) = words.as_chunks::<STATUS_WORDS>();
        for (slot, &[code, entry, given, ..]) in slots.iter().enumerate() {
            match (code, usize::try_from(entry)) {
                (0, _) => {}
                (1, _) => mistakes.push(Mistake::Length { slot, given }),
                (2, Ok(entry)) => mistakes.push(Mistake::Page { slot, entry, given }),
                (3, _) => mistakes.push(Mistake::Rows { slot, start: entry, end: given }),
                (4, _) => mistakes.push(Mistake::PageStarts { slot, start: entry, end: given }),
                _ => {
                    return Err(Error::invalid(format!(
                    "serving report: slot {slot} has code {code} and entry {entry}, a code of 0 to 4 wanted"
                )))
                }
            }
        }
        if !rest.is_empty() {
            return Err(Error::invalid(format!(
                "serving report: {} words given, a multiple of {STATUS_WORDS} wanted",
                words.len()
            )));
        }
        Ok(Self { mistakes })
    }
}
