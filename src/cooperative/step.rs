//! What a step asks of each side, in numbers. Pure.

use super::share::{Share, Side};
use super::sizes::Numbers;
use super::Problem;
use crate::{append, serving, Result, Soc};

/// New rows of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    /// Keys before.
    pub(super) keys: u32,
    pub(super) rows: u32,
    /// First key that the device has, a multiple of the page size; 0 without a window.
    pub(super) window_start: u32,
}

impl Entry {
    pub(super) fn len(&self) -> u32 {
        self.keys + self.rows
    }
}

/// First key of the window that a ring of pages has, when a sequence has `len` keys, and had a window from
/// `before` on. A page is given up as a whole.
pub(super) fn window_start(share: &Share, page_size: u32, len: u32, before: u32) -> u32 {
    let room = u64::from(share.pages_per_slot) * u64::from(page_size);
    let beyond = u64::from(len).saturating_sub(room).next_multiple_of(page_size.into());
    // At most `len` and a page.
    u32::try_from(beyond).unwrap_or(u32::MAX).max(before)
}

/// A side's part of a step.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Its first row, among all rows of the step.
    pub(super) first_row: u32,
    pub(super) rows: u32,
    /// Where the numbers lie.
    pub(super) at: Numbers,
    /// The numbers, with gaps.
    pub(super) numbers: Vec<i32>,
    pub(super) attention: serving::Plan,
    pub(super) append: append::Plan,
    /// Keys of all its sequences.
    pub(super) keys: u64,
}

impl Part {
    /// Has it any key to attend to?
    pub(super) fn attends(&self) -> bool {
        self.keys > 0
    }

    /// `None` when the side has nothing of these rows. Entries are in the order of their slots.
    pub(super) fn of(
        problem: &Problem,
        soc: &Soc,
        side: Side,
        share: &Share,
        entries: &[Entry],
    ) -> Result<Option<Self>> {
        let is_own = |entry: &&Entry| share.slots.contains(&entry.slot);
        let first_row = entries.iter().take_while(|entry| !is_own(entry)).map(|entry| entry.rows).sum();
        let own: Vec<Entry> = entries.iter().filter(is_own).copied().collect();
        let rows: u32 = own.iter().map(|entry| entry.rows).sum();
        if rows == 0 {
            return Ok(None);
        }
        let (slots, width) = (own.len(), share.pages_per_slot);
        let at = Numbers::of(slots as u64, width.into(), rows.into());
        let count = u32::try_from(slots).unwrap_or(u32::MAX);
        let attention = serving::plan(&share.attention(problem, side, [count, rows]), soc)?;
        let append = append::plan(&share.append(problem, side, rows), soc)?;
        let mut part = Self { first_row, rows, at, numbers: Vec::new(), attention, append, keys: 0 };
        part.fill(problem, side, share, &own);
        Ok(Some(part))
    }

    /// New rows of one sequence that are appended only.
    pub(super) fn of_rows(problem: &Problem, soc: &Soc, share: &Share, entry: Entry) -> Result<Option<Self>> {
        let own = Problem { rows: entry.rows.max(problem.rows), ..*problem };
        let part = Self::of(&own, soc, Side::Device, share, &[entry])?;
        // Those before it are the window's.
        Ok(part.map(|part| Self { first_row: entry.keys, ..part }))
    }

    fn fill(&mut self, problem: &Problem, side: Side, share: &Share, own: &[Entry]) {
        let page = problem.page_size;
        let (mut starts, mut lengths, mut table, mut places) = (vec![0], Vec::new(), Vec::new(), Vec::new());
        for entry in own {
            starts.push(starts[starts.len() - 1] + entry.rows);
            let (first_key, end) = match (side, share.is_merged) {
                (Side::Device, true) => (entry.window_start, entry.len()),
                (Side::Host, true) => (0, entry.window_start),
                (_, false) => (0, entry.len()),
            };
            lengths.push(end - first_key);
            table.extend((0..share.pages_per_slot).map(|i| share.page(entry.slot, first_key / page + i)));
            places.extend((entry.keys..entry.len()).map(|key| share.place(problem, entry.slot, key)));
        }
        self.keys = lengths.iter().map(|&length| u64::from(length)).sum();
        let end = usize::try_from(self.at.end / 4).unwrap_or(usize::MAX);
        self.numbers = vec![0; end];
        let parts = [
            (self.at.row_starts, starts),
            (self.at.lengths, lengths),
            (self.at.table, table),
            (self.at.places, places),
        ];
        for (at, values) in parts {
            let at = usize::try_from(at / 4).unwrap_or(usize::MAX);
            // Every number is at most that of the places of a cache, below 2^31.
            for (to, value) in self.numbers[at..].iter_mut().zip(values) {
                *to = value.cast_signed();
            }
        }
    }
}

impl Share {
    /// The page of its cache that has page `number` of a sequence.
    pub(super) fn page(&self, slot: u32, number: u32) -> u32 {
        (slot - self.slots.start) * self.pages_per_slot + number % self.pages_per_slot
    }

    /// The place of a key.
    pub(super) fn place(&self, problem: &Problem, slot: u32, key: u32) -> u32 {
        self.page(slot, key / problem.page_size) * problem.page_size + key % problem.page_size
    }
}
