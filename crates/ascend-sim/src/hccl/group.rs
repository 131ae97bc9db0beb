//! A communicator as all its ranks see it: the operations that were issued, and where ranks meet.
//!
//! Every operation is numbered where it is issued: collectives count 0, 1, 2 for the communicator, transfers
//! for each pair of ranks. Operations with the same number meet. An operation is compared with what other
//! ranks have issued in that moment, so ranks that disagree get an error at once, naming both, and not when
//! time has run out. It executes when the stream of every rank has reached it, on the thread of the last one.
//!
//! A communicator fails once, as a whole, and says why to everybody from then on.
//!
//! It is kept in one process, that of its root info. Ranks in other processes take part through threads here
//! that do what those ranks say (`processes`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::buffers::Buffers;
use super::failure::{Cause, Failure};
use super::home::{rank_text, Home};
use super::operation::Operation;
use super::transfer::{execute, Arithmetic, Part};
use crate::acl::border::{catch, Outcome};
use crate::acl::wait::ring;

/// Which operations meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Collective(u64),
    /// Transfer `number` between two ranks.
    Pair {
        low: u32,
        high: u32,
        number: u64,
    },
}

impl Key {
    fn number(self) -> u64 {
        match self {
            Key::Collective(number) | Key::Pair { number, .. } => number,
        }
    }
}

const OPEN: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;

/// Where the ranks of one operation meet.
#[derive(Debug)]
pub(super) struct Meeting {
    /// No other meeting of this process has it.
    pub(super) number: u64,
    key: Key,
    status: AtomicU8,
}

impl Meeting {
    fn new(key: Key) -> Arc<Meeting> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Meeting { number, key, status: AtomicU8::new(OPEN) })
    }

    fn status(&self) -> u8 {
        self.status.load(Ordering::Acquire)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status(), DONE | FAILED)
    }

    /// Is nobody executing it, and may it still be given up?
    pub(super) fn is_open(&self) -> bool {
        self.status() == OPEN
    }
}

/// What is known of a meeting that has not ended.
#[derive(Debug)]
struct Agenda {
    meeting: Arc<Meeting>,
    parts: Vec<Part>,
    /// Collectives that the ranks of a transfer had issued before it.
    after: u64,
    /// Ranks whose streams are here.
    arrived: Vec<u32>,
    expected: usize,
}

#[derive(Debug, Default)]
struct Rank {
    collectives: u64,
    /// Transfers with each other rank.
    transfers: BTreeMap<u32, u64>,
    has_left: bool,
}

#[derive(Debug)]
struct State {
    ranks: Vec<Rank>,
    open: BTreeMap<Key, Agenda>,
    failed: Option<Failure>,
}

/// A communicator.
#[derive(Debug)]
pub(super) struct RankGroup {
    pub(super) name: String,
    /// Where each rank is, for texts.
    pub(super) homes: Vec<Home>,
    arithmetic: Arithmetic,
    state: Mutex<State>,
}

impl RankGroup {
    pub(super) fn new(name: String, homes: Vec<Home>, arithmetic: Arithmetic) -> RankGroup {
        let ranks = homes.iter().map(|_| Rank::default()).collect();
        let state = Mutex::new(State { ranks, open: BTreeMap::new(), failed: None });
        RankGroup { name, homes, arithmetic, state }
    }

    pub(super) fn ranks(&self) -> u32 {
        u32::try_from(self.homes.len()).unwrap_or(u32::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.state().failed.clone()
    }

    fn rank_text(&self, rank: u32) -> String {
        rank_text(rank, &self.homes)
    }

    /// "AllReduce, number 3 of communicator x", counted from 1.
    fn title(&self, operation: &Operation, key: Key) -> String {
        format!("{operation}, number {} of communicator {}", key.number() + 1, self.name)
    }

    /// Announces an operation of `rank`, which its stream will reach later.
    pub(super) fn issue(&self, rank: u32, operation: Operation, buffers: Buffers) -> Outcome<Arc<Meeting>> {
        let mut state = self.state();
        if let Some(failure) = &state.failed {
            return Err(failure.of_later_call(&self.name));
        }
        let (key, after) = state.number(rank, &operation);
        if let Some(failure) = self.conflict(&state, rank, &operation, key, after) {
            return Err(self.fail_locked(state, failure).of_call());
        }
        let expected = if operation.kind.peer().is_some() { 2 } else { self.homes.len() };
        let agenda = state.open.entry(key).or_insert_with(|| Agenda {
            meeting: Meeting::new(key),
            parts: Vec::with_capacity(expected),
            after,
            arrived: Vec::with_capacity(expected),
            expected,
        });
        let place = agenda.parts.partition_point(|part| part.rank < rank);
        agenda.parts.insert(place, Part { rank, operation, buffers });
        let meeting = Arc::clone(&agenda.meeting);
        state.count(rank, &operation);
        Ok(meeting)
    }

    /// Why this operation cannot meet those of the other ranks.
    fn conflict(
        &self,
        state: &State,
        rank: u32,
        operation: &Operation,
        key: Key,
        after: u64,
    ) -> Option<Failure> {
        let mismatch = |other: &Part, what: &str, own: &str, theirs: &str| Failure {
            cause: Cause::Mismatch,
            text: format!(
                "{}: ranks disagree on the {what}: {} gives {own}, {} gives {theirs}",
                self.title(operation, key),
                self.rank_text(rank),
                self.rank_text(other.rank)
            ),
        };
        if let Some(agenda) = state.open.get(&key) {
            let other = agenda.parts.first()?;
            if let Some((what, own, theirs)) = operation.difference(&other.operation) {
                return Some(mismatch(other, what, &own, &theirs));
            }
            if agenda.after != after {
                let place = |n: u64| format!("this operation after {n} collectives");
                return Some(mismatch(other, "order", &place(after), &place(agenda.after)));
            }
        }
        // Another rank has issued an operation of the other sort where this rank issues this one.
        if let Some(other) = state.out_of_order(rank, operation, after) {
            let (own, theirs) = (operation.to_string(), other.operation.to_string());
            return Some(mismatch(other, "operation", &own, &theirs));
        }
        let gone = self.others(operation, rank).find(|&other| {
            state.ranks[other as usize].has_left
                && !state.open.get(&key).is_some_and(|a| a.parts.iter().any(|p| p.rank == other))
        })?;
        Some(Failure {
            cause: Cause::RankLost,
            text: format!(
                "{}: {} has destroyed its communicator",
                self.title(operation, key),
                self.rank_text(gone)
            ),
        })
    }

    /// The ranks that take part beside `rank`.
    fn others(&self, operation: &Operation, rank: u32) -> impl Iterator<Item = u32> {
        let peer = operation.kind.peer();
        (0..self.ranks()).filter(move |&other| other != rank && peer.is_none_or(|peer| peer == other))
    }

    /// The stream of `rank` is here. True when it is the last one and must [`Self::execute`].
    pub(super) fn arrive(&self, rank: u32, meeting: &Meeting) -> bool {
        let mut state = self.state();
        let Some(agenda) = state.open.get_mut(&meeting.key) else { return false };
        agenda.arrived.push(rank);
        let complete = agenda.arrived.len() == agenda.expected;
        if complete {
            meeting.status.store(RUNNING, Ordering::Release);
        }
        complete
    }

    /// Executes a meeting that is complete.
    pub(super) fn execute(&self, meeting: &Meeting) {
        let Some(agenda) = self.state().open.remove(&meeting.key) else { return };
        let number = meeting.key.number();
        let failure = match catch(|| Ok(execute(&agenda.parts, self.arithmetic, number))) {
            Ok(Ok(())) => None,
            Ok(Err(Failure { cause, text })) => {
                let title = agenda.parts.first().map(|part| self.title(&part.operation, meeting.key));
                Some(Failure { cause, text: format!("{}: {text}", title.unwrap_or_default()) })
            }
            Err(defect) => Some(Failure { cause: Cause::Defect, text: defect.text }),
        };
        let status = if failure.is_none() { DONE } else { FAILED };
        if let Some(failure) = failure {
            self.fail(failure);
        }
        meeting.status.store(status, Ordering::Release);
        ring();
    }

    /// What the stream gets from a meeting that has ended.
    pub(super) fn outcome(&self, meeting: &Meeting) -> Outcome {
        match (meeting.status(), self.failure()) {
            (FAILED, Some(failure)) => Err(failure.of_work()),
            _ => Ok(()),
        }
    }

    /// `rank` waited in vain.
    pub(super) fn time_out(&self, rank: u32, meeting: &Meeting, waited: std::time::Duration) {
        let state = self.state();
        let Some(agenda) = state.open.get(&meeting.key).filter(|_| meeting.is_open()) else { return };
        let Some(own) = agenda.parts.iter().find(|part| part.rank == rank) else { return };
        let missing: Vec<String> = self
            .others(&own.operation, rank)
            .filter(|other| !agenda.arrived.contains(other))
            .map(|other| {
                let issued = agenda.parts.iter().any(|part| part.rank == other);
                let why = if issued { "issued, but its stream has not come to it" } else { "not issued" };
                format!("{}: {why}", self.rank_text(other))
            })
            .collect();
        let text = format!(
            "{}: {} waited {waited:?} for {}",
            self.title(&own.operation, meeting.key),
            self.rank_text(rank),
            missing.join(", ")
        );
        self.fail_locked(state, Failure { cause: Cause::Timeout, text });
    }

    /// `rank` takes no further part, because it `did` something, as "dropped its work".
    pub(super) fn lose(&self, rank: u32, did: &str) {
        let text = format!("{} {did}", self.rank_text(rank));
        self.fail(Failure { cause: Cause::RankLost, text });
    }

    /// Have all ranks of a process destroyed their communicators?
    #[cfg(target_os = "linux")]
    pub(super) fn has_left(&self, process: u32) -> bool {
        let state = self.state();
        self.homes.iter().zip(&state.ranks).all(|(home, rank)| home.process != process || rank.has_left)
    }

    /// `rank` has destroyed its communicator. What it issued before still happens.
    pub(super) fn leave(&self, rank: u32) {
        let mut state = self.state();
        state.ranks[rank as usize].has_left = true;
        let waits = |agenda: &Agenda| {
            let first = agenda.parts.first()?;
            let takes_part = first.operation.kind.peer().is_none_or(|peer| peer == rank);
            let has_issued = agenda.parts.iter().any(|part| part.rank == rank);
            (takes_part && !has_issued).then(|| self.title(&first.operation, agenda.meeting.key))
        };
        let Some(title) = state.open.values().find_map(waits) else { return };
        let text = format!("{title}: {} has destroyed its communicator", self.rank_text(rank));
        self.fail_locked(state, Failure { cause: Cause::RankLost, text });
    }

    fn fail(&self, failure: Failure) {
        self.fail_locked(self.state(), failure);
    }

    /// Fails everything that is not being executed. The first failure stays; it is returned.
    fn fail_locked(&self, mut state: MutexGuard<'_, State>, failure: Failure) -> Failure {
        let failure = state.failed.get_or_insert(failure).clone();
        state.open.retain(|_, agenda| {
            let open = agenda.meeting.is_open();
            if open {
                agenda.meeting.status.store(FAILED, Ordering::Release);
            }
            !open
        });
        drop(state);
        ring();
        failure
    }
}

impl State {
    /// Where the next operation of `rank` meets others, and how many collectives `rank` issued before.
    fn number(&self, rank: u32, operation: &Operation) -> (Key, u64) {
        let own = &self.ranks[rank as usize];
        let key = match operation.kind.peer() {
            None => Key::Collective(own.collectives),
            Some(peer) => Key::Pair {
                low: rank.min(peer),
                high: rank.max(peer),
                number: own.transfers.get(&peer).copied().unwrap_or(0),
            },
        };
        (key, own.collectives)
    }

    fn count(&mut self, rank: u32, operation: &Operation) {
        let own = &mut self.ranks[rank as usize];
        match operation.kind.peer() {
            None => own.collectives += 1,
            Some(peer) => *own.transfers.entry(peer).or_insert(0) += 1,
        }
    }

    /// An operation of another rank that comes before this one there, and after it here.
    fn out_of_order(&self, rank: u32, operation: &Operation, after: u64) -> Option<&Part> {
        if let Some(peer) = operation.kind.peer() {
            // The peer has gone on to a collective that this rank has not issued, without the transfer.
            let key = self.number(rank, operation).0;
            if self.open.contains_key(&key) {
                return None;
            }
            let next = self.open.get(&Key::Collective(after))?;
            return next.parts.iter().find(|part| part.rank == peer);
        }
        // Another rank wants a transfer with this one before this collective.
        let waiting = self.open.iter().filter(|(key, agenda)| {
            matches!(key, Key::Pair { low, high, .. } if *low == rank || *high == rank)
                && agenda.parts.len() == 1
                && agenda.after <= after
        });
        waiting.filter_map(|(_, agenda)| agenda.parts.first()).find(|part| part.rank != rank)
    }
}
