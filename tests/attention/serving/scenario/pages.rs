//! Which pages of the cache are whose.

use std::collections::{HashMap, VecDeque};

/// What is done to a page before the launches of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageWork {
    /// Nobody has it any more: all of it becomes NaN.
    Poison(usize),
    /// The first is copied to the second.
    Copy(usize, usize),
}

/// Pages, counted by their holders. Full pages are found again by the hash of all tokens up to their end,
/// also after their last holder has left, until room is needed.
#[derive(Debug)]
pub(super) struct Pages {
    holders: Vec<u32>,
    free: Vec<usize>,
    full: HashMap<u64, usize>,
    hash_of: Vec<Option<u64>>,
    /// Full pages without a holder, the oldest first.
    kept: VecDeque<usize>,
    /// In the order in which it is to be done.
    pub(super) work: Vec<PageWork>,
    /// The mistake of an engine: a page is free when the first of its holders leaves.
    pub(super) ignores_holders: bool,
}

impl Pages {
    pub(super) fn new(count: usize) -> Self {
        Self {
            holders: vec![0; count],
            free: (0..count).collect(),
            full: HashMap::new(),
            hash_of: vec![None; count],
            kept: VecDeque::new(),
            work: Vec::new(),
            ignores_holders: false,
        }
    }

    /// A page for one holder, and whether it was a full one that was kept.
    pub(super) fn take(&mut self) -> Option<(usize, bool)> {
        let free = self.free.pop().map(|page| (page, false));
        let (page, was_kept) = free.or_else(|| {
            let page = self.kept.pop_front()?;
            self.forget(page);
            self.work.push(PageWork::Poison(page));
            Some((page, true))
        })?;
        self.holders[page] = 1;
        Some((page, was_kept))
    }

    /// The full page with these tokens, for one more holder.
    pub(super) fn share(&mut self, hash: u64) -> Option<usize> {
        let page = *self.full.get(&hash)?;
        self.kept.retain(|kept| *kept != page);
        self.hold(page);
        Some(page)
    }

    pub(super) fn hold(&mut self, page: usize) {
        self.holders[page] += 1;
    }

    pub(super) fn is_shared(&self, page: usize) -> bool {
        self.holders[page] > 1
    }

    /// One holder leaves.
    pub(super) fn release(&mut self, page: usize) {
        self.holders[page] = self.holders[page].saturating_sub(1);
        let is_held = self.holders[page] > 0;
        if is_held && !self.ignores_holders {
            return;
        }
        if is_held {
            self.forget(page);
        }
        if self.hash_of[page].is_some() {
            self.kept.push_back(page);
        } else {
            self.work.push(PageWork::Poison(page));
            self.free.push(page);
        }
    }

    fn forget(&mut self, page: usize) {
        if let Some(hash) = self.hash_of[page].take() {
            self.full.remove(&hash);
        }
    }

    /// A page has become full. Another one with the same tokens stays the one that is found.
    pub(super) fn fill(&mut self, page: usize, hash: u64) {
        if self.hash_of[page].is_none() && !self.full.contains_key(&hash) {
            self.full.insert(hash, page);
            self.hash_of[page] = Some(hash);
        }
    }
}
