//! What an engine does between launches: it admits, evicts, shares and copies, and chooses the rows of a
//! step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastattention::reference::Element;
use fastrand::Rng;

use super::events::{Event, Events};
use super::pages::{PageWork, Pages};
use super::sequence::Sequence;
use super::{Bug, Class, MAX_KEYS, ROWS, SLOTS, TOTAL_ROWS};

/// Sequences that have pages at the same time; more than a launch has slots.
const MAX_RUNNING: usize = 8;
const MAX_WAITING: usize = 4;

/// Prompts start with one of so many texts of the operator.
const PREFIXES: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prefill,
    Decode,
    Speculation,
}

/// Rows of a sequence in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: usize,
    pub(super) rows: usize,
    kind: Kind,
}

/// What a slot of a launch is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Padded,
    /// Keys without rows.
    Idle(usize),
    Rows(Entry),
}

/// A token of a sequence, and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) id: usize,
    pub(super) token: usize,
    pub(super) place: usize,
}

/// A step: first the work on pages, then the append, then attention.
#[derive(Debug, Default)]
pub(super) struct EngineStep {
    pub(super) work: Vec<PageWork>,
    /// `None`: padding.
    pub(super) appended: Vec<Option<Appended>>,
    pub(super) slots: Vec<Slot>,
}

#[derive(Debug)]
pub(super) struct ServingEngine<T> {
    class: Class,
    bug: Option<Bug>,
    rng: Rng,
    pages: Pages,
    /// By id.
    running: BTreeMap<usize, Sequence<T>>,
    waiting: VecDeque<Sequence<T>>,
    pub(super) events: Events,
    next_id: usize,
}

impl<T: Element> ServingEngine<T> {
    pub(super) fn new(class: Class, seed: u64, bug: Option<Bug>) -> Self {
        let mut pages = Pages::new(class.num_pages as usize);
        pages.ignores_holders = bug == Some(Bug::FreesSharedPages);
        Self {
            class,
            bug,
            rng: Rng::with_seed(seed),
            pages,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            events: Events::default(),
            next_id: 0,
        }
    }

    pub(super) fn sequence(&self, id: usize) -> &Sequence<T> {
        &self.running[&id]
    }

    fn page_size(&self) -> usize {
        self.class.page_size as usize
    }

    /// Chooses the next step.
    pub(super) fn schedule(&mut self) -> EngineStep {
        self.events.next_step();
        self.end_sequences();
        self.arrive();
        self.admit();
        self.fork();
        let mut order: Vec<usize> = self.running.values().filter(|s| !s.is_over()).map(|s| s.id).collect();
        self.rng.shuffle(&mut order);
        let (mut entries, mut appended) = (Vec::new(), Vec::new());
        let mut rows_left = TOTAL_ROWS;
        // Now and then fewer slots are used.
        let most = if self.rng.u8(..4) == 0 { self.rng.usize(1..SLOTS) } else { SLOTS };
        for id in order {
            if entries.len() == most || rows_left == 0 {
                break;
            }
            // It may have been evicted for the one before.
            let Some((kind, rows)) = self.running.contains_key(&id).then(|| self.rows_of(id, rows_left))
            else {
                continue;
            };
            let busy = entries.iter().map(|entry: &Entry| entry.id).chain([id]).collect();
            if self.give_pages(id, rows, &busy, &mut appended) {
                rows_left -= rows;
                entries.push(self.enter(Entry { id, rows, kind }, &mut appended));
            }
        }
        let slots = self.deal(&entries);
        let appended = self.pad(appended);
        EngineStep { work: std::mem::take(&mut self.pages.work), appended, slots }
    }

    fn end_sequences(&mut self) {
        let over: Vec<usize> = self.running.values().filter(|s| s.is_over()).map(|s| s.id).collect();
        for id in over {
            let sequence = self.running.remove(&id).expect("one that runs");
            self.events.add(Event::End, format_args!("{id} with {} tokens", sequence.len()));
            sequence.pages.iter().for_each(|page| self.pages.release(*page));
        }
    }

    fn arrive(&mut self) {
        if self.waiting.len() >= MAX_WAITING || self.rng.u8(..3) > 0 {
            return;
        }
        let (prefix, of_prefix) = (self.rng.u64(..PREFIXES), self.rng.usize(5..40));
        let own = self.rng.usize(1..50);
        let end = (of_prefix + own + self.rng.usize(1..40)).min(MAX_KEYS);
        let mut sequence = Sequence::new(self.next_id, end);
        for token in 0..of_prefix as u64 {
            sequence.push(&self.class, prefix << 32 | token);
        }
        for _ in 0..own.min(end - of_prefix) {
            sequence.push(&self.class, self.rng.u64(..));
        }
        self.next_id += 1;
        let (id, prompt) = (sequence.id, sequence.len());
        self.events.add(Event::Arrival, format_args!("{id} with {prompt} tokens of text {prefix}"));
        self.waiting.push_back(sequence);
    }

    /// Starts a sequence with the pages that others have computed.
    fn admit(&mut self) {
        if self.running.len() == MAX_RUNNING {
            return;
        }
        let Some(mut sequence) = self.waiting.pop_front() else { return };
        let (id, page_size) = (sequence.id, self.page_size());
        if std::mem::take(&mut sequence.was_evicted) {
            self.events.add(Event::Readmission, format_args!("{id} with {} tokens", sequence.len()));
        }
        for hash in sequence.hashes.chunks_exact(page_size).map(|page| page[page_size - 1]) {
            let Some(page) = self.pages.share(hash) else { break };
            self.events.add(Event::SharedPage, format_args!("{id} gets page {page}"));
            sequence.pages.push(page);
            sequence.cached += page_size;
        }
        self.running.insert(id, sequence);
    }

    fn fork(&mut self) {
        if self.running.len() == MAX_RUNNING || self.rng.u8(..4) > 0 {
            return;
        }
        let may = |s: &&Sequence<T>| s.cached == s.len() && s.len() < s.end;
        let able: Vec<usize> = self.running.values().filter(may).map(|s| s.id).collect();
        let Some(&of) = self.rng.choice(&able) else { return };
        let sequence = Sequence { id: self.next_id, ..self.running[&of].clone() };
        self.next_id += 1;
        sequence.pages.iter().for_each(|page| self.pages.hold(*page));
        let (id, cached) = (sequence.id, sequence.cached);
        self.events.add(Event::Fork, format_args!("{id} of {of} with {cached} keys in {:?}", sequence.pages));
        self.running.insert(id, sequence);
    }

    /// What a sequence wants of a launch.
    fn rows_of(&mut self, id: usize, most: usize) -> (Kind, usize) {
        let sequence = &self.running[&id];
        let most = most.min(ROWS);
        let pending = sequence.len() - sequence.cached;
        if pending > 0 {
            let chunk = self.rng.usize(1..=most);
            return (Kind::Prefill, pending.min(chunk));
        }
        let room = (sequence.end - sequence.len()).min(most).min(5);
        if room > 1 && self.rng.bool() {
            return (Kind::Speculation, self.rng.usize(2..=room));
        }
        (Kind::Decode, 1)
    }

    /// Pages for more rows, and an own one where rows would go to one that is shared. False when there are
    /// none.
    fn give_pages(
        &mut self,
        id: usize,
        rows: usize,
        busy: &BTreeSet<usize>,
        appended: &mut Vec<Appended>,
    ) -> bool {
        let page_size = self.page_size();
        let sequence = &self.running[&id];
        let (cached, last) = (sequence.cached, sequence.pages.last().copied());
        let shared = last.filter(|page| cached % page_size > 0 && self.pages.is_shared(*page));
        let shared = shared.filter(|_| self.bug != Some(Bug::WritesToSharedPages));
        let needed =
            (cached + rows).div_ceil(page_size) - sequence.pages.len() + usize::from(shared.is_some());
        let mut taken = VecDeque::new();
        while taken.len() < needed {
            let Some(page) = self.take_page(id, busy) else {
                taken.into_iter().for_each(|page| self.pages.release(page));
                return false;
            };
            taken.push_back(page);
        }
        if let (Some(shared), Some(own)) = (shared, taken.front().copied()) {
            taken.pop_front();
            self.leave_shared(id, shared, own, appended);
        }
        self.running.get_mut(&id).expect("one that runs").pages.extend(taken);
        true
    }

    fn take_page(&mut self, id: usize, busy: &BTreeSet<usize>) -> Option<usize> {
        loop {
            if let Some((page, was_kept)) = self.pages.take() {
                if was_kept {
                    self.events.add(Event::Reclaim, format_args!("page {page} for {id}"));
                }
                return Some(page);
            }
            // The newest that is not in this step.
            let victims = self.running.values().rev();
            let victim = victims.filter(|s| !busy.contains(&s.id)).find(|s| !s.pages.is_empty())?.id;
            let mut sequence = self.running.remove(&victim)?;
            let pages = std::mem::take(&mut sequence.pages);
            self.events.add(Event::Eviction, format_args!("{victim} loses {pages:?} for {id}"));
            pages.into_iter().for_each(|page| self.pages.release(page));
            sequence.cached = 0;
            sequence.was_evicted = true;
            self.waiting.push_front(sequence);
        }
    }

    /// Copy-on-write of the last page of a sequence, by one of two ways.
    fn leave_shared(&mut self, id: usize, shared: usize, own: usize, appended: &mut Vec<Appended>) {
        let page_size = self.page_size();
        let sequence = self.running.get_mut(&id).expect("one that runs");
        *sequence.pages.last_mut().expect("the shared one") = own;
        if self.rng.bool() {
            self.pages.work.push(PageWork::Copy(shared, own));
            self.events.add(Event::CopyOnWrite, format_args!("{id}: page {shared} to {own}"));
        } else {
            let first = sequence.cached / page_size * page_size;
            let rows = (first..sequence.cached).enumerate();
            appended.extend(rows.map(|(row, token)| Appended { id, token, place: own * page_size + row }));
            self.events.add(Event::AppendOnWrite, format_args!("{id}: page {shared} to {own}"));
        }
        self.pages.release(shared);
    }

    /// Gives the new tokens of a sequence their places.
    fn enter(&mut self, entry: Entry, appended: &mut Vec<Appended>) -> Entry {
        let Entry { id, rows, kind } = entry;
        let page_size = self.page_size();
        let sequence = self.running.get_mut(&id).expect("one that runs");
        if kind != Kind::Prefill {
            (0..rows).for_each(|_| sequence.push(&self.class, self.rng.u64(..)));
        }
        let (cached, end) = (sequence.cached, sequence.cached + rows);
        let place = |token: usize| sequence.pages[token / page_size] * page_size + token % page_size;
        appended.extend((cached..end).map(|token| Appended { id, token, place: place(token) }));
        let event = match kind {
            Kind::Prefill if end < sequence.len() => Event::PrefillChunk,
            Kind::Prefill => Event::PrefillEnd,
            Kind::Decode => Event::Decode,
            Kind::Speculation => Event::Speculation,
        };
        self.events
            .add(event, format_args!("{id}: {rows} rows behind {cached} keys in {:?}", sequence.pages));
        entry
    }

    /// Slots in any order, padding between them.
    fn deal(&mut self, entries: &[Entry]) -> Vec<Slot> {
        let is_prefill = |entry: &Entry| entry.kind == Kind::Prefill;
        if entries.iter().any(is_prefill) && !entries.iter().all(is_prefill) {
            self.events.add(Event::MixedStep, format_args!("{} sequences", entries.len()));
        }
        let idle = self.running.keys().copied().filter(|id| entries.iter().all(|entry| entry.id != *id));
        let mut idle: Vec<usize> = idle.collect();
        let mut slots: Vec<Slot> = entries.iter().copied().map(Slot::Rows).collect();
        while slots.len() < SLOTS {
            slots.push(match idle.pop().filter(|_| self.rng.bool()) {
                Some(id) => {
                    self.events.count(Event::IdleSlot);
                    Slot::Idle(id)
                }
                None => {
                    self.events.count(Event::PaddedSlot);
                    Slot::Padded
                }
            });
        }
        self.rng.shuffle(&mut slots);
        slots
    }

    /// Tokens in the order of the sequences, or in any; padding between them and behind.
    fn pad(&mut self, mut appended: Vec<Appended>) -> Vec<Option<Appended>> {
        if self.rng.u8(..4) == 0 {
            self.rng.shuffle(&mut appended);
        }
        if self.bug == Some(Bug::LosesToken) {
            appended.pop();
        }
        let mut padded: Vec<Option<Appended>> = appended.into_iter().map(Some).collect();
        let padding = self.class.tokens() - padded.len();
        for _ in 0..padding {
            let at = if self.rng.bool() { self.rng.usize(..=padded.len()) } else { padded.len() };
            padded.insert(at, None);
        }
        self.events.count(Event::NoPlace);
        padded
    }

    /// A random page, where a table has an entry that nothing is to look at.
    pub(super) fn stale_page(&mut self) -> i32 {
        [-1, self.rng.i32(0..self.class.num_pages.cast_signed()), self.rng.i32(..)][self.rng.usize(..3)]
    }

    /// The step is done: tokens are taken or given up, and full pages may be shared.
    pub(super) fn commit(&mut self, step: &EngineStep) {
        let page_size = self.page_size();
        for slot in &step.slots {
            let Slot::Rows(Entry { id, rows, kind }) = *slot else { continue };
            let sequence = self.running.get_mut(&id).expect("one of the step");
            sequence.cached += rows;
            let kept = self.rng.usize(1..=rows);
            if kind == Kind::Speculation && kept < rows {
                self.events.add(Event::Rejection, format_args!("{id}: {} tokens", rows - kept));
                sequence.truncate(&self.class, sequence.cached - (rows - kept));
                let needed = sequence.cached.div_ceil(page_size);
                sequence.pages.drain(needed..).for_each(|page| self.pages.release(page));
            }
            let full = sequence.hashes[..sequence.cached].chunks_exact(page_size);
            for (page, hashes) in sequence.pages.iter().zip(full) {
                self.pages.fill(*page, hashes[page_size - 1]);
            }
        }
    }
}
