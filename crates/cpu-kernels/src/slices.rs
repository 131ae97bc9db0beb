//! The same on slices.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::memory::Operands;
use crate::problem::{Pages, Problem};

/// Operands as slices: see [`Operands`]. They may be longer than the problem needs.
#[derive(Debug)]
pub struct Slices<'a, T> {
    /// Query rows.
    pub q: &'a [T],
    /// Keys.
    pub k: &'a [T],
    /// Values.
    pub v: &'a [T],
    /// Results.
    pub o: &'a mut [T],
    /// Natural logarithm of the sum of exp of the scores of each row.
    pub lse: Option<&'a mut [f32]>,
    /// `[slots]`; `None`: all have `max_keys`.
    pub lengths: Option<&'a [i32]>,
    /// `[slots + 1]`, exactly when q is packed.
    pub row_starts: Option<&'a [i32]>,
    /// `[slots, width]`, or the list, exactly when there are pages.
    pub block_table: Option<&'a [i32]>,
    /// `[slots + 1]`, exactly when the block table is one list.
    pub page_starts: Option<&'a [i32]>,
}

impl<'a, T> Slices<'a, T> {
    /// q, k, v and o, and nothing else.
    pub fn new(q: &'a [T], k: &'a [T], v: &'a [T], o: &'a mut [T]) -> Self {
        Self { q, k, v, o, lse: None, lengths: None, row_starts: None, block_table: None, page_starts: None }
    }
}

impl Host {
    /// As [`Host::attention`], on slices.
    ///
    /// # Errors
    /// A size or stride that is wrong, a slice that is too short, missing or not used; nothing is written
    /// then.
    pub fn attention_slices<T: Element>(&self, problem: &Problem, mut slices: Slices<'_, T>) -> Result<()> {
        if problem.dtype != T::DTYPE {
            return Err(Error::new(format!(
                "dtype = {}, slices of it wanted, given {}",
                problem.dtype,
                T::DTYPE
            )));
        }
        problem.check()?;
        check_sizes(problem, &slices)?;
        let list = |list: Option<&[i32]>| list.map_or(std::ptr::null(), <[i32]>::as_ptr);
        let operands = Operands {
            q: slices.q.as_ptr().cast(),
            k: slices.k.as_ptr().cast(),
            v: slices.v.as_ptr().cast(),
            o: slices.o.as_mut_ptr().cast(),
            lse: slices.lse.as_mut().map_or(std::ptr::null_mut(), |lse| lse.as_mut_ptr()),
            lengths: list(slices.lengths),
            row_starts: list(slices.row_starts),
            block_table: list(slices.block_table),
            page_starts: list(slices.page_starts),
        };
        // SAFETY: `check_sizes` compared every slice with what the problem needs, and borrows keep them
        // alive, unshared where they are written.
        #[allow(unsafe_code, reason = "the safe side of the interface")]
        unsafe {
            self.attention(problem, &operands)
        }
    }
}

fn check_sizes<T>(problem: &Problem, slices: &Slices<'_, T>) -> Result<()> {
    let [q, k, v, o, lse] = problem.elements()?;
    let slots = problem.slots;
    // `check` has found it to fit memory.
    let table = problem.pages.map(|pages| pages.table_entries(slots).unwrap_or(usize::MAX));
    let page_starts = problem.pages.filter(Pages::is_csr).map(|_| slots + 1);
    for (name, given, wanted) in [
        ("q", Some(slices.q.len()), Some(q)),
        ("k", Some(slices.k.len()), Some(k)),
        ("v", Some(slices.v.len()), Some(v)),
        ("o", Some(slices.o.len()), Some(o)),
        ("lse", slices.lse.as_ref().map(|lse| lse.len()), slices.lse.as_ref().map(|_| lse)),
        ("lengths", slices.lengths.map(<[i32]>::len), slices.lengths.map(|_| slots)),
        ("row_starts", slices.row_starts.map(<[i32]>::len), problem.total_rows.map(|_| slots + 1)),
        ("block_table", slices.block_table.map(<[i32]>::len), table),
        ("page_starts", slices.page_starts.map(<[i32]>::len), page_starts),
    ] {
        match (given, wanted) {
            (Some(given), Some(wanted)) if given < wanted => {
                return Err(Error::new(format!("{name} has {given} elements, {wanted} wanted")));
            }
            (None, Some(wanted)) => {
                return Err(Error::new(format!("{name} is missing, {wanted} elements wanted")))
            }
            (Some(given), None) => {
                return Err(Error::new(format!("{name} has {given} elements, none wanted for this problem")));
            }
            _ => {}
        }
    }
    Ok(())
}
