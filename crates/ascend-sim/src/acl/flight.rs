//! Work in flight: finds launches, copies and collectives of several streams that use the same device memory,
//! one of them writing, while nothing orders them. On an NPU their result depends on chance.
//!
//! Of two pieces of work the first to end is ordered before the other one
//! - in one stream, and through events ([`Clock`]), exactly;
//! - when it had ended before the other one was queued: whoever queued it may have seen that;
//! - when it had ended before something else that the other one's stream has waited for since: a notify, a
//!   value, a collective, a function of the program.
//!
//! The last two may hide a race where the host was slow; they never report work that the program has ordered.
//! Which bytes a kernel used is told by its engine, so disjoint parts of an allocation and reads of the
//! same bytes are no race; without [`Config::check_races`](crate::config::Config::check_races) nothing is
//! reported. What is not in a stream (`aclrtMemcpy`, the host's own accesses to pinned memory) is not
//! followed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ascend_sys::codes;

use super::border::{Outcome, Refusal};
use super::stream::Stream;
use crate::engine::{Allocation, Used, Uses};

#[cfg(test)]
mod tests;

/// Work that has ended and is still compared with, at most. Of more, the oldest is forgotten.
const MAX_ENDED: usize = 256;

/// Ranges of bytes that are compared with, at most: of one operand, and of all work that has ended.
const MAX_RANGES: usize = 1 << 20;

/// Which work is known to have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Everything that had ended when so many pieces of work had.
    ends: u64,
    /// Work of a stream, up to this number.
    streams: BTreeMap<u64, u64>,
}

impl Clock {
    /// Learns what another one knows. This one belongs to the stream `own`.
    pub(super) fn join(&mut self, other: &Clock, own: u64) {
        self.ends = self.ends.max(other.ends);
        for (&stream, &number) in &other.streams {
            let known = self.streams.entry(stream).or_default();
            *known = number.max(*known);
        }
        self.forget(own, &air());
    }

    /// Learns that everything has ended that has ended by now.
    pub(super) fn join_now(&mut self, own: u64) {
        let air = air();
        self.ends = air.ends;
        self.forget(own, &air);
    }

    /// Forgets streams without work that is still compared with. All work that an entry counts had ended
    /// before the entry was made, so none of it is still to come. The entry of the own stream counts its
    /// work and stays.
    fn forget(&mut self, own: u64, air: &Air) {
        let ends = self.ends;
        self.streams.retain(|&stream, &mut number| {
            let counts = |ended: &Ended| ended.stream == stream && ended.number <= number;
            stream == own || air.ended.iter().any(|ended| ended.ends > ends && counts(ended))
        });
    }

    fn knows(&self, ended: &Ended) -> bool {
        ended.ends <= self.ends || self.streams.get(&ended.stream).is_some_and(|&n| n >= ended.number)
    }
}

/// What an operand is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Label {
    Argument(usize),
    Name(&'static str),
}

/// What a piece of work uses of an allocation; bytes are counted from its start.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Device and number, which no other allocation ever has.
    allocation: (i32, u64),
    len: u64,
    ranges: Vec<Used>,
    operands: Vec<(u64, Label)>,
}

impl Part {
    /// With the addresses of operands, of which some lie in the allocation.
    pub(super) fn new(
        device: i32,
        allocation: &dyn Allocation,
        ranges: Vec<Used>,
        operands: impl Iterator<Item = (u64, Label)>,
    ) -> Part {
        let (base, len) = (allocation.base(), allocation.size());
        let inside = operands.filter_map(|(address, label)| Some((address.checked_sub(base)?, label)));
        let operands = inside.filter(|&(at, _)| at < len).collect();
        Part { allocation: (device, allocation.number()), len, ranges, operands }
    }

    /// One range of addresses.
    pub(crate) fn of_range(
        device: i32,
        allocation: &dyn Allocation,
        range: Range<u64>,
        uses: Uses,
        name: &'static str,
    ) -> Part {
        Self::of_rows(device, allocation, std::iter::once(range), uses, name)
    }

    /// Ranges of addresses of one operand. Of more than [`MAX_RANGES`] the first are compared, which finds no
    /// race that is none.
    pub(super) fn of_rows(
        device: i32,
        allocation: &dyn Allocation,
        rows: impl Iterator<Item = Range<u64>>,
        uses: Uses,
        name: &'static str,
    ) -> Part {
        let (base, mut ranges) = (allocation.base(), Vec::new());
        for row in rows {
            if ranges.len() == MAX_RANGES || ranges.try_reserve(1).is_err() {
                break;
            }
            Used::append(&mut ranges, Used { start: row.start - base, end: row.end - base, uses });
        }
        let start = ranges.first().map_or(0, |used| used.start);
        let (allocation, len) = ((device, allocation.number()), allocation.size());
        Part { allocation, len, ranges, operands: vec![(start, Label::Name(name))] }
    }

    /// The first bytes that both use so that the order matters; the ranges of each are as [`merged`] makes
    /// them.
    fn conflict(&self, other: &Part) -> Option<(Used, Used)> {
        let (mut own, mut its) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (own.peek(), its.peek()) {
            let (start, end) = (a.start.max(b.start), a.end.min(b.end));
            if start < end && a.uses.conflict(b.uses) {
                return Some((Used { start, end, ..a }, Used { start, end, ..b }));
            }
            if a.end <= b.end {
                own.next();
            } else {
                its.next();
            }
        }
        None
    }

    /// What is done to bytes, and through which operand: the nearest one that starts before them.
    fn text(&self, used: Used) -> String {
        let verb = if used.uses.is_write() { "writes" } else { "reads" };
        let before = self.operands.iter().filter(|(at, _)| *at <= used.start);
        match before.max_by_key(|(at, _)| *at) {
            Some((_, Label::Argument(index))) => format!("{verb} them (argument {index})"),
            Some((_, Label::Name(name))) => format!("{verb} them ({name})"),
            None => format!("{verb} them"),
        }
    }
}

/// Work that is queued or runs. Dropped when it will never run or has failed.
pub(crate) struct Flight {
    stream: u64,
    /// Numbers all work of the process in the order in which it was queued.
    ticket: u64,
    /// Work that had ended when it was queued.
    ends: u64,
}

/// A flight that runs.
pub(crate) struct Running {
    flight: Flight,
    /// Place in its stream.
    number: u64,
    clock: Clock,
    is_checked: bool,
}

/// Work that has ended.
struct Ended {
    stream: u64,
    number: u64,
    ticket: u64,
    ends: u64,
    name: String,
    parts: Vec<Part>,
}

impl Ended {
    fn num_ranges(&self) -> usize {
        self.parts.iter().map(|part| part.ranges.len()).sum()
    }
}

/// What is in flight in this process.
#[derive(Default)]
struct Air {
    tickets: u64,
    /// Pieces of work that have ended.
    ends: u64,
    /// By stream and ticket: what had ended when it was queued.
    open: Option<HashMap<u64, BTreeMap<u64, u64>>>,
    ended: VecDeque<Arc<Ended>>,
}

static AIR: Mutex<Air> = Mutex::new(Air { tickets: 0, ends: 0, open: None, ended: VecDeque::new() });

fn air() -> MutexGuard<'static, Air> {
    AIR.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Air {
    /// Forgets what everything that is open on other streams was queued behind.
    fn forget(&mut self) {
        let open = self.open.get_or_insert_default();
        self.ended.retain(|ended| {
            open.iter().any(|(&stream, queued)| {
                stream != ended.stream && queued.first_key_value().is_some_and(|(_, &ends)| ends < ended.ends)
            })
        });
        let mut ranges: usize = self.ended.iter().map(|ended| ended.num_ranges()).sum();
        while self.ended.len() > MAX_ENDED || ranges > MAX_RANGES {
            ranges -= self.ended.pop_front().map_or(ranges, |oldest| oldest.num_ranges());
        }
    }
}

impl Flight {
    /// Work is about to be queued on a stream.
    pub(crate) fn queue(stream: &Stream) -> Flight {
        let (mut air, stream) = (air(), stream.number());
        air.tickets += 1;
        let (ticket, ends) = (air.tickets, air.ends);
        air.open.get_or_insert_default().entry(stream).or_default().insert(ticket, ends);
        Flight { stream, ticket, ends }
    }

    /// Its turn has come.
    pub(crate) fn start(self, stream: &Stream) -> Running {
        let mut clock = stream.clock();
        clock.ends = clock.ends.max(self.ends);
        let number = clock.streams.entry(self.stream).or_default();
        *number += 1;
        let number = *number;
        Running { flight: self, number, clock: clock.clone(), is_checked: stream.device.config().check_races }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut air = air();
        let open = air.open.get_or_insert_default();
        if let Some(queued) = open.get_mut(&self.stream) {
            queued.remove(&self.ticket);
            if queued.is_empty() {
                open.remove(&self.stream);
            }
        }
        air.forget();
    }
}

impl Running {
    /// Did the other work end before this one began, for all that the program relies on?
    fn comes_behind(&self, ended: &Ended) -> bool {
        ended.stream == self.flight.stream || self.clock.knows(ended)
    }

    /// May something else be in flight with this work?
    fn has_company(&self, air: &Air) -> bool {
        air.ended.iter().any(|ended| !self.comes_behind(ended))
            || air.open.iter().flatten().any(|(&stream, _)| stream != self.flight.stream)
    }

    /// The work has ended; `parts` is asked for when something else may have been in flight with it.
    ///
    /// # Errors
    /// The race with other work, in the words in which a kernel's faults are told.
    pub(super) fn end(
        self,
        name: impl FnOnce() -> String,
        parts: impl FnOnce() -> Vec<Part>,
    ) -> Result<(), String> {
        let mut air = air();
        if !self.is_checked || !self.has_company(&air) {
            air.ends += 1;
            return Ok(());
        }
        // Large launches have many ranges: other streams go on meanwhile.
        drop(air);
        let (name, parts) = (name(), merged(parts()));
        let mut air = self::air();
        air.ends += 1;
        let Flight { stream, ticket, .. } = self.flight;
        let own = Arc::new(Ended { stream, number: self.number, ticket, ends: air.ends, name, parts });
        let unordered = air.ended.iter().filter(|ended| !self.comes_behind(ended));
        let unordered: Vec<_> = unordered.cloned().collect();
        air.ended.push_back(Arc::clone(&own));
        // Of two pieces of work the later one to come here compares, while other streams go on. The flight is
        // dropped behind the lock, and forgets what nobody needs.
        drop(air);
        let found = unordered.iter().find_map(|other| race(other, &own));
        found.map_or(Ok(()), |detail| Err(format!("Fault: Race: {detail}")))
    }

    /// As [`Self::end`], of work that is no kernel.
    pub(crate) fn end_of(self, name: &str, parts: impl FnOnce() -> Vec<Part>) -> Outcome {
        let outcome = self.end(|| name.to_owned(), parts);
        outcome.map_err(|race| {
            let text = format!("{name} went wrong\n{race}");
            Refusal { code: codes::RT_AICORE_EXCEPTION, text }
        })
    }
}

/// One part for each allocation, with ascending ranges that do not overlap.
fn merged(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| part.allocation);
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        match merged.last_mut() {
            Some(last) if last.allocation == part.allocation => {
                last.ranges.extend(part.ranges);
                last.operands.extend(part.operands);
            }
            _ => merged.push(part),
        }
    }
    for part in &mut merged {
        if !part.ranges.is_sorted_by(|a, b| a.end <= b.start) {
            part.ranges = apart(std::mem::take(&mut part.ranges));
        }
    }
    merged
}

/// The same uses as ranges that do not overlap, as of an operand that is read and written in place.
fn apart(mut ranges: Vec<Used>) -> Vec<Used> {
    ranges.sort_by_key(|used| used.start);
    let mut cuts: Vec<u64> = ranges.iter().flat_map(|used| [used.start, used.end]).collect();
    cuts.sort_unstable();
    let (mut next, mut open, mut apart) = (ranges.into_iter().peekable(), Vec::<Used>::new(), Vec::new());
    for (start, end) in cuts.iter().copied().zip(cuts.iter().copied().skip(1)).filter(|(a, b)| a < b) {
        open.retain(|used| used.end > start);
        open.extend(std::iter::from_fn(|| next.next_if(|used| used.start <= start)));
        if let Some(uses) = open.iter().map(|used| used.uses).reduce(Uses::and) {
            Used::append(&mut apart, Used { start, end, uses });
        }
    }
    apart
}

/// What two pieces of work that nothing orders have in common, if that matters.
fn race(a: &Ended, b: &Ended) -> Option<String> {
    let (first, second) = if a.ticket < b.ticket { (a, b) } else { (b, a) };
    let pairs = first.parts.iter().flat_map(|own| second.parts.iter().map(move |its| (own, its)));
    pairs.filter(|(own, its)| own.allocation == its.allocation).find_map(|(own, its)| {
        let (used, its_used) = own.conflict(its)?;
        Some(format!(
            "race on bytes {:#x}..{:#x} of the GM allocation of {} bytes: {} on stream {} {}; {} on stream {} {}; neither \
             an event nor a synchronisation orders the two",
            used.start,
            used.end,
            own.len,
            first.name,
            first.stream,
            own.text(used),
            second.name,
            second.stream,
            its.text(its_used)
        ))
    })
}
