//! The operands: all addresses that a launch reads or writes are computed here.
#![allow(unsafe_code, reason = "operands are addresses")]

use std::marker::PhantomData;
use std::slice;

use crate::element::Load;
use crate::error::{Error, Result};
use crate::problem::{BlockTable, Pieces, Problem};
use crate::simd::Simd;

/// Addresses of the operands of a launch.
///
/// Null stands for what is not there: `lse` that is not wanted, `lengths` when all slots have `max_keys`
/// keys, `row_starts` when q is not packed, `block_table` without pages, `page_starts` unless that is one
/// list; q, k, v or o when they have no elements.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Query rows, elements of the problem's type.
    pub q: *const u8,
    /// Keys, likewise.
    pub k: *const u8,
    /// Values, likewise.
    pub v: *const u8,
    /// Results, likewise.
    pub o: *mut u8,
    /// Natural logarithm of the sum of exp of the scores of each row.
    pub lse: *mut f32,
    /// `[slots]`: keys of each slot. Less than 0 counts as 0, more than `max_keys` as `max_keys`.
    pub lengths: *const i32,
    /// `[slots + 1]`: first row of each slot, and the one behind the last.
    pub row_starts: *const i32,
    /// Pages of each slot: `[slots, width]`, or one list.
    pub block_table: *const i32,
    /// `[slots + 1]`: first entry of each slot in that list, and the one behind the last. A range that falls
    /// or leaves the list has no entry.
    pub page_starts: *const i32,
}

impl Operands {
    fn check(&self, problem: &Problem) -> Result<()> {
        let [q, k, v, o, lse] = problem.elements()?;
        let size = problem.dtype.size_bytes();
        let is_paged = problem.pages.is_some();
        let checks = [
            ("q", self.q.addr(), size, q > 0),
            ("k", self.k.addr(), size, k > 0),
            ("v", self.v.addr(), size, v > 0),
            ("o", self.o.addr(), size, o > 0),
            ("lse", self.lse.addr(), 4, lse > 0 && !self.lse.is_null()),
            ("lengths", self.lengths.addr(), 4, !self.lengths.is_null()),
            ("row_starts", self.row_starts.addr(), 4, problem.total_rows.is_some()),
            (
                "block_table",
                self.block_table.addr(),
                4,
                is_paged && problem.slots > 0 && problem.max_keys > 0,
            ),
            ("page_starts", self.page_starts.addr(), 4, problem.pages.is_some_and(|pages| pages.is_csr())),
        ];
        for (name, address, align, is_used) in checks {
            if is_used && (address == 0 || !address.is_multiple_of(align)) {
                return Err(Error::new(format!(
                    "{name} = {address:#x}, a multiple of {align} above 0 wanted"
                )));
            }
        }
        Ok(())
    }
}

/// A slot as a launch finds it. Numbers that it cannot have count as the nearest that it can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) index: usize,
    /// Of packed q and o; else 0.
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) keys: usize,
    /// Its entries of the block table: the first, and how many.
    entries: (usize, usize),
    /// Whether its rows are those that `row_starts` gives.
    pub(crate) are_rows_known: bool,
}

/// Elements of K and V at which the rows of a key start, without its head. Only [`Memory::keys`] makes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    k: usize,
    v: usize,
}

/// The operands of a checked problem.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a, T> {
    pub(crate) problem: &'a Problem,
    operands: Operands,
    elements: PhantomData<&'a T>,
}

// SAFETY: the contract of `Memory::new` is that of shared references to what is read, from any thread, and
// `write` has its own.
unsafe impl<T: Load> Send for Memory<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Load> Sync for Memory<'_, T> {}

impl<'a, T: Load> Memory<'a, T> {
    /// # Errors
    /// A size, stride or address that is wrong.
    ///
    /// # Safety
    /// For `'a`, every operand that is not null can be read by any thread, and nobody writes it; o and lse
    /// can be written by any thread, and nobody else uses them. They have the sizes that `problem` says,
    /// which is of elements `T`.
    pub(crate) unsafe fn new(problem: &'a Problem, operands: Operands) -> Result<Self> {
        problem.check()?;
        operands.check(problem)?;
        Ok(Self { problem, operands, elements: PhantomData })
    }

    pub(crate) fn slots(&self) -> Vec<Slot> {
        let problem = self.problem;
        let starts = problem.total_rows.map(|_| {
            // SAFETY: `row_starts` of a packed problem has one entry more than there are slots.
            unsafe { slice::from_raw_parts(self.operands.row_starts, problem.slots + 1) }
        });
        let lengths = (!self.operands.lengths.is_null()).then(|| {
            // SAFETY: `lengths` has an entry for each slot if it is there.
            unsafe { slice::from_raw_parts(self.operands.lengths, problem.slots) }
        });
        let mut last = 0;
        (0..problem.slots)
            .map(|index| {
                let keys = lengths.map_or(problem.max_keys, |lengths| {
                    usize::try_from(lengths[index]).unwrap_or(0).min(problem.max_keys)
                });
                let (first_row, rows, are_rows_known) = starts.map_or((0, problem.rows, true), |starts| {
                    let total = problem.total_rows.unwrap_or(0);
                    let given = [starts[index], starts[index + 1]].map(|row| usize::try_from(row).ok());
                    let begin = given[0].unwrap_or(0).clamp(last, total);
                    let end = given[1].unwrap_or(0).clamp(begin, total.min(begin + problem.rows));
                    last = end;
                    (begin, end - begin, given == [Some(begin), Some(end)])
                });
                Slot { index, first_row, rows, keys, entries: self.entries(index), are_rows_known }
            })
            .collect()
    }

    /// First entry of a slot in the block table, and how many it has there.
    fn entries(&self, index: usize) -> (usize, usize) {
        let Some(pages) = self.problem.pages else { return (0, 0) };
        let entries = match pages.table {
            BlockTable::Rows { width } => return (index * width, width),
            BlockTable::Csr { entries } => entries,
        };
        // SAFETY: `page_starts` of a list has one entry more than there are slots.
        let starts = unsafe { slice::from_raw_parts(self.operands.page_starts, self.problem.slots + 1) };
        let [begin, end] = [starts[index], starts[index + 1]].map(|entry| usize::try_from(entry).ok());
        match begin.zip(end) {
            Some((begin, end)) if begin <= end && end <= entries => (begin, end - begin),
            _ => (0, 0),
        }
    }

    /// A row of q.
    #[inline(always)]
    pub(crate) fn q(&self, slot: &Slot, row: usize, head: usize) -> &'a [T] {
        let at = self.place_of_row(slot, row, head, self.problem.q_stride);
        // SAFETY: the row is one of the problem's, so it lies in q.
        unsafe { slice::from_raw_parts(self.operands.q.cast::<T>().wrapping_add(at), self.problem.head_dim) }
    }

    /// Element at which a row of q or o starts.
    #[inline(always)]
    fn place_of_row(&self, slot: &Slot, row: usize, head: usize, stride: [usize; 3]) -> usize {
        assert!(row < slot.rows && head < self.problem.num_heads, "a row of the slot");
        let index = if self.problem.total_rows.is_some() { 0 } else { slot.index };
        index * stride[0] + (slot.first_row + row) * stride[1] + head * stride[2]
    }

    /// The keys from `first` on. `None` stands for one whose page the cache does not have.
    #[inline(always)]
    pub(crate) fn keys(&self, slot: &Slot, first: usize, keys: &mut [Option<Key>]) {
        let problem = self.problem;
        assert!(first + keys.len() <= slot.keys, "keys of the slot");
        let page_size = problem.pages.map_or(usize::MAX, |pages| pages.page_size);
        let (mut entry, mut row) = (first / page_size, first % page_size);
        let mut rest = keys;
        while !rest.is_empty() {
            let count = rest.len().min(page_size - row);
            let (here, behind) = rest.split_at_mut(count);
            let page = self.page(slot, entry);
            let place = |stride: [usize; 3]| page.unwrap_or(0) * stride[0] + row * stride[1];
            let (k, v) = (place(problem.k_stride), place(problem.v_stride));
            for (i, key) in here.iter_mut().enumerate() {
                let (k, v) = (k + i * problem.k_stride[1], v + i * problem.v_stride[1]);
                *key = page.map(|_| Key { k, v });
            }
            (entry, row, rest) = (entry + 1, 0, behind);
        }
    }

    /// The page (or slot) of K and V where entry `entry` of a slot lies.
    #[inline(always)]
    fn page(&self, slot: &Slot, entry: usize) -> Option<usize> {
        let Some(pages) = self.problem.pages else { return Some(slot.index) };
        let (first, count) = slot.entries;
        if entry >= count {
            return None;
        }
        let at = first + entry;
        // SAFETY: `entries` gives a slot entries that the table has.
        let page = unsafe { self.operands.block_table.wrapping_add(at).read() };
        usize::try_from(page).ok().filter(|page| *page < pages.num_pages)
    }

    /// K of a key; the first piece where rows lie in pieces.
    #[inline(always)]
    pub(crate) fn k(&self, key: Key, head: usize) -> &'a [T] {
        self.piece_of_k(key, head, 0)
    }

    /// V of a key, likewise.
    #[inline(always)]
    pub(crate) fn v(&self, key: Key, head: usize) -> &'a [T] {
        self.piece_of_v(key, head, 0)
    }

    #[inline(always)]
    fn piece_of_k(&self, key: Key, head: usize, piece: usize) -> &'a [T] {
        assert!(head < self.problem.num_heads_k, "a head of k");
        let (len, offset) = self.piece(0, piece);
        let at = key.k + head * self.problem.k_stride[2] + offset;
        // SAFETY: page, row, head and piece are less than the extents of k.
        unsafe { slice::from_raw_parts(self.operands.k.cast::<T>().wrapping_add(at), len) }
    }

    #[inline(always)]
    fn piece_of_v(&self, key: Key, head: usize, piece: usize) -> &'a [T] {
        assert!(head < self.problem.num_heads_k, "a head of v");
        let (len, offset) = self.piece(1, piece);
        let at = key.v + head * self.problem.v_stride[2] + offset;
        // SAFETY: page, row, head and piece are less than the extents of v.
        unsafe { slice::from_raw_parts(self.operands.v.cast::<T>().wrapping_add(at), len) }
    }

    /// Elements of a piece of a row of k or v, and where it starts in the row.
    #[inline(always)]
    fn piece(&self, tensor: usize, piece: usize) -> (usize, usize) {
        let dim = [self.problem.head_dim, self.problem.head_dim_v][tensor];
        let Some(Pieces { elements, stride }) = self.problem.pieces[tensor] else { return (dim, 0) };
        assert!((piece + 1) * elements <= dim, "a piece of a row");
        (elements, piece * stride)
    }

    /// K of a key, whose row lies in pieces or not.
    pub(crate) fn gather_k(&self, key: Key, head: usize, row: &mut [T]) {
        let (len, _) = self.piece(0, 0);
        for (i, to) in row.chunks_exact_mut(len).enumerate() {
            to.copy_from_slice(self.piece_of_k(key, head, i));
        }
    }

    /// V of a key, likewise.
    pub(crate) fn gather_v(&self, key: Key, head: usize, row: &mut [T]) {
        let (len, _) = self.piece(1, 0);
        for (i, to) in row.chunks_exact_mut(len).enumerate() {
            to.copy_from_slice(self.piece_of_v(key, head, i));
        }
    }

    /// Writes a row of o, and its lse if it is wanted.
    ///
    /// # Safety
    /// No other thread writes this row during the launch.
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(
        &self,
        s: S,
        (slot, row, head): (&Slot, usize, usize),
        o: &[f32],
        lse: f32,
    ) {
        let at = self.place_of_row(slot, row, head, self.problem.o_stride);
        let dim = self.problem.head_dim_v;
        // SAFETY: the row is one of the problem's, so it lies in o; rows of o share no elements, which
        // `Problem::check` saw to, and this one is the caller's.
        let to = unsafe { slice::from_raw_parts_mut(self.operands.o.cast::<T>().wrapping_add(at), dim) };
        T::narrow(s, &o[..dim], to);
        if self.operands.lse.is_null() {
            return;
        }
        let [slots, heads] = self.problem.lse_stride;
        let index = if self.problem.total_rows.is_some() { 0 } else { slot.index };
        let at = index * slots + head * heads + slot.first_row + row;
        // SAFETY: as for o.
        unsafe { self.operands.lse.wrapping_add(at).write(lse) };
    }
}
