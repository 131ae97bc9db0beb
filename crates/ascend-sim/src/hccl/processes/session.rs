//! One peer, as a rank of the owner's process: a thread that does what the peer says, and tells it what has
//! ended.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ascend_sys::lobby::Connection;

use super::super::bootstrap::JoinRequest;
use super::super::buffers::Seat;
use super::super::failure::{refusal, result};
use super::super::group::RankGroup;
use super::super::member::{Appointment, Member, Membership};
use super::super::operation::Operation;
use super::owner::{Guest, Link};
use super::protocol::{Answer, ToOwner, ToPeer, PATIENCE};
use super::region;
use super::staging::Staging;
use crate::acl::border::{Outcome, Refusal};
use crate::acl::wait::{ring, wait_until};

/// Joins the communicator in the peer's stead, and does what it says until it has gone.
pub(super) fn run_session(link: &Arc<Link>, guest: Arc<Guest>, request: &JoinRequest) {
    let joined =
        guest.place.meet(request).and_then(|group| welcome(link, Member { group, rank: request.rank }));
    match joined {
        Ok(member) => {
            let session = Session::enter(link, member);
            drop(guest);
            ring();
            session.run();
        }
        Err(refusal) => {
            link.line.say(&Answer::No(refusal.into()));
            link.line.hang_up();
            drop(guest);
            ring();
        }
    }
}

fn welcome(link: &Link, member: Member) -> Outcome<Member> {
    let memory = match Staging::create() {
        Ok((staging, memory)) => {
            link.set_staging(staging);
            memory
        }
        Err(e) => {
            let did = format!("cannot share memory: {e}");
            member.group.lose(member.rank, &did);
            return Err(refusal(result::MEMORY, format!("{} {did}", link.who)));
        }
    };
    let RankGroup { name, homes, .. } = &*member.group;
    let (name, homes) = (name.clone(), homes.clone());
    link.line.say_with(&Answer::Welcome { name, homes }, Some(memory.as_fd()));
    wait_until(None, || {
        let state = link.state();
        state.is_ready || state.lost.is_some()
    });
    Ok(member)
}

/// An operation of the peer.
struct Entry {
    appointment: Arc<dyn Appointment>,
    has_arrived: bool,
}

/// A peer's rank.
struct Session {
    link: Arc<Link>,
    member: Member,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By ticket; those whose end was not told yet.
    open: BTreeMap<u64, Entry>,
    next_ticket: u64,
    /// Is it doing what the peer said?
    is_busy: bool,
    has_told_failure: bool,
    has_left: bool,
}

impl Session {
    fn enter(link: &Arc<Link>, member: Member) -> Arc<Session> {
        let session = Arc::new(Session { link: Arc::clone(link), member, state: Mutex::default() });
        let mut all = sessions();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&session));
        session
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            wait_until(None, || self.has_news());
            self.state().is_busy = true;
            let word = self.link.state().waiting.pop_front();
            let is_over = word.is_none() && self.link.is_lost();
            if let Some(Err(why)) = word.map(|word| self.hear(word)) {
                self.link.state().lost.get_or_insert(why);
                self.link.line.hang_up();
            }
            self.tell();
            self.state().is_busy = false;
            if is_over {
                return self.part();
            }
            // The end of the process may wait for this.
            ring();
        }
    }

    /// Is there something to do?
    fn has_news(&self) -> bool {
        let (state, link) = (self.state(), self.link.state());
        !link.waiting.is_empty()
            || link.lost.is_some()
            || state.open.values().any(|entry| entry.appointment.has_ended())
            || (!state.has_told_failure && self.member.failure().is_some())
    }

    /// Does what the peer says. The error is for a peer that does not keep the rules.
    fn hear(&self, word: ToOwner) -> Result<(), String> {
        match word {
            ToOwner::Issue { ticket, operation } => {
                let next = std::mem::replace(&mut self.state().next_ticket, ticket.wrapping_add(1));
                if ticket != next {
                    return Err(format!("gave operation {ticket}, {next} was next"));
                }
                let refusal = self.issue(ticket, operation).err().map(Into::into);
                // A refused call finds the communicator failed.
                self.tell();
                self.link.line.say(&ToPeer::Issued { ticket, refusal });
            }
            ToOwner::Arrive { ticket } => {
                if let Some(appointment) = self.appointment(ticket, true)? {
                    appointment.arrive();
                }
            }
            ToOwner::TimedOut { ticket, waited } => {
                if let Some(appointment) = self.appointment(ticket, false)? {
                    appointment.time_out(waited);
                }
            }
            ToOwner::Abandon { ticket, why } => {
                if let Some(appointment) = self.appointment(ticket, false)?.filter(|own| own.is_open()) {
                    appointment.abandon(&why.into());
                }
            }
            ToOwner::Leave => {
                self.state().has_left = true;
                self.member.leave();
            }
            ToOwner::Ready | ToOwner::Ping | ToOwner::Loaded { .. } | ToOwner::Stored => {
                unreachable!("`listen` keeps these")
            }
        }
        Ok(())
    }

    /// Operation `ticket`, where the peer may arrive once; `None` when its end is on its way to the peer.
    fn appointment(&self, ticket: u64, arrives: bool) -> Result<Option<Arc<dyn Appointment>>, String> {
        let mut state = self.state();
        if ticket >= state.next_ticket {
            return Err(format!("spoke of operation {ticket} of {}", state.next_ticket));
        }
        let Some(entry) = state.open.get_mut(&ticket) else { return Ok(None) };
        if arrives && std::mem::replace(&mut entry.has_arrived, true) {
            return Err(format!("came to operation {ticket} twice"));
        }
        Ok(Some(Arc::clone(&entry.appointment)))
    }

    fn issue(&self, ticket: u64, given: Operation) -> Result<(), Refusal> {
        let seat = Seat { rank: self.member.rank, ranks: self.member.ranks() };
        let operation = Operation::new(given.kind, given.count, given.data_type, seat.ranks, seat.rank)?;
        let buffers = region::buffers(&self.link, ticket, &operation, seat);
        let appointment = Arc::from(self.member.issue(operation, buffers)?);
        self.state().open.insert(ticket, Entry { appointment, has_arrived: false });
        Ok(())
    }

    /// Tells the peer what has ended.
    fn tell(&self) {
        let ended: Vec<(u64, bool)> = {
            let state = self.state();
            let all = state.open.iter().filter(|(_, entry)| entry.appointment.has_ended());
            all.map(|(ticket, entry)| (*ticket, entry.appointment.outcome().is_ok())).collect()
        };
        // Looked for after the ends, so that it comes before those that it brought about.
        let failure = self.member.failure();
        if let Some(failure) = failure.filter(|_| !self.state().has_told_failure) {
            self.link.line.say(&ToPeer::Failed(failure));
            self.state().has_told_failure = true;
        }
        for (ticket, is_done) in ended {
            self.link.line.say(&ToPeer::Ended { ticket, is_done });
            self.state().open.remove(&ticket);
        }
    }

    /// The peer has gone. What it owes the others fails them.
    fn part(&self) {
        let owes = {
            let state = self.state();
            !state.has_left || state.open.values().any(|entry| !entry.appointment.has_ended())
        };
        if owes {
            let why = self.link.state().lost.clone().unwrap_or_default();
            self.member.group.lose(self.member.rank, &format!("is lost: its process {why}"));
        }
    }

    /// The process exits. On a cluster the peer would not need it for what has ended, nor for what follows
    /// when the ranks of this process have left: it gets the time for that.
    fn linger(&self) {
        let group = &self.member.group;
        if group.has_left(std::process::id()) {
            wait_until(self.link.limit, || self.link.is_lost() || group.failure().is_some());
        }
        wait_until(Some(PATIENCE), || self.link.is_lost() || !(self.state().is_busy || self.has_news()));
    }
}

/// Those of this process.
fn sessions() -> MutexGuard<'static, Vec<Weak<Session>>> {
    static ALL: Mutex<Vec<Weak<Session>>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the end of the process waits for.
pub(super) fn linger() {
    let all = std::mem::take(&mut *sessions());
    all.iter().filter_map(Weak::upgrade).for_each(|session| session.linger());
}
