//! The keeper's side of a connection: one visitor, as a rank of this process.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::super::bootstrap::Guest;
use super::super::buffers::Seat;
use super::super::failure::{refusal, result, Cause, Failure};
use super::super::group::Group;
use super::super::member::{Appointment, Member, Membership};
use super::super::operation::Operation;
use super::door::Hall;
use super::region;
use super::staging::Staging;
use super::words::{
    limit, loss_text, read_word, Answer, Hello, Line, ToKeeper, ToVisitor, PATIENCE, VERSION,
};
use crate::sim::acl::border::{Outcome, Refusal};
use crate::sim::acl::stream::{ring, wait_until};

/// Words that may wait for their turn. A visitor has a few on each stream and thread, at most.
const MAX_WAITING: usize = 1 << 16;

/// The connection to a visitor.
#[derive(Debug)]
pub(super) struct Link {
    line: Line,
    /// "rank 1 (device 0 of process 77)".
    who: String,
    /// How long the visitor may take to move a piece; `None`: for as long as it lives.
    limit: Option<Duration>,
    state: Mutex<State>,
    /// Held while a piece moves.
    staging: Mutex<Option<Staging>>,
}

#[derive(Debug, Default)]
struct State {
    /// What the visitor said and was not done yet.
    waiting: VecDeque<ToKeeper>,
    /// To a question of [`Link::ask`].
    answer: Option<ToKeeper>,
    /// Has it opened the shared memory?
    is_ready: bool,
    /// Why nothing comes any more.
    lost: Option<String>,
}

/// Serves a connection to its end.
pub(super) fn serve(stream: &UnixStream, hall: Hall) {
    // Somebody else's connection, or one that ended in the middle of the first words.
    let Ok(Some(guest)) = greet(stream, hall.nonce) else { return };
    let Ok(line) = Line::new(stream) else { return };
    let link = Arc::new(Link::new(line, &guest));
    let (own, place) = (Arc::clone(&link), hall.place.clone());
    let thread = std::thread::Builder::new().name("sim-hccl-attend".into());
    if let Err(e) = thread.spawn(move || attend(&own, hall, &guest)) {
        let text = format!("the keeper's host gives no thread for {}: {e}", link.who);
        link.line.say(&Answer::No(refusal(result::INTERNAL, text).into()));
        return;
    }
    let text = link.listen(stream);
    if let Some(place) = place.upgrade() {
        let text = format!("{}: its process {text}, before all ranks were there", link.who);
        place.give_up(refusal(result::REMOTE, text));
    }
}

/// `None` for one who may not come in, and was told so.
fn greet(stream: &UnixStream, nonce: u64) -> io::Result<Option<Guest>> {
    limit(stream, Some(PATIENCE))?;
    let hello: Hello = read_word(stream)?;
    let line = Line::new(stream)?;
    let refusal = if hello.nonce != nonce {
        refusal(result::PARA, "rootInfo: its nonce is not that of the process at its door")
    } else if hello.version != VERSION {
        let text = format!("a process with version {} given, {VERSION} wanted", hello.version);
        refusal(result::NOT_SUPPORT, text)
    } else {
        let guest = read_word(stream)?;
        limit(stream, None)?;
        return Ok(Some(guest));
    };
    line.say(&Answer::No(refusal.into()));
    Ok(None)
}

impl Link {
    fn new(line: Line, guest: &Guest) -> Link {
        let limit = guest.settings.exec_timeout.map(|limit| limit.max(PATIENCE));
        let (state, staging) = (Mutex::default(), Mutex::default());
        Link { line, who: guest.text(true), limit, state, staging }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_lost(&self) -> bool {
        self.state().lost.is_some()
    }

    /// Reads what the visitor says, until it says nothing more; why.
    fn listen(&self, stream: &UnixStream) -> String {
        let text = loop {
            match read_word(stream) {
                Ok(ToKeeper::Ping) => self.line.say(&ToVisitor::Pong),
                Ok(ToKeeper::Ready) => self.state().is_ready = true,
                Ok(answer @ (ToKeeper::Loaded { .. } | ToKeeper::Stored)) => {
                    self.state().answer = Some(answer);
                }
                Ok(_) if self.state().waiting.len() == MAX_WAITING => break "says too much at once".into(),
                Ok(word) => self.state().waiting.push_back(word),
                Err(e) => break loss_text(&e),
            }
            ring();
        };
        self.line.hang_up();
        self.state().lost.get_or_insert_with(|| text.clone());
        ring();
        text
    }

    /// Uses the shared memory, alone.
    pub(super) fn with_staging(
        &self,
        body: impl FnOnce(&Staging) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        body(staging.as_ref().unwrap_or_else(|| unreachable!("made before the first operation")))
    }

    /// Has the visitor move a piece.
    pub(super) fn ask(&self, question: &ToVisitor) -> Result<ToKeeper, Failure> {
        self.state().answer = None;
        self.line.say(question);
        let has_answer = |state: &State| state.answer.is_some() || state.lost.is_some();
        if !wait_until(self.limit, || has_answer(&self.state())) {
            let text =
                format!("{} took more than {:?} to move its data", self.who, self.limit.unwrap_or_default());
            self.line.hang_up();
            return Err(Failure { cause: Cause::Timeout, text });
        }
        let mut state = self.state();
        match (state.answer.take(), &state.lost) {
            (Some(answer), _) => Ok(answer),
            (None, why) => Err(self.loss(why.as_deref().unwrap_or_default())),
        }
    }

    fn loss(&self, why: &str) -> Failure {
        Failure { cause: Cause::RankLost, text: format!("{} is lost: its process {why}", self.who) }
    }

    pub(super) fn wrong_answer(&self) -> Failure {
        self.line.hang_up();
        self.loss("gave the answer to another question")
    }
}

/// Joins the communicator in the visitor's stead, and does what it says until it has gone.
fn attend(link: &Arc<Link>, hall: Hall, guest: &Guest) {
    let Some(place) = hall.place.upgrade() else { return link.line.hang_up() };
    let joined = place.meet(guest).and_then(|group| welcome(link, &hall, Member { group, rank: guest.rank }));
    drop((place, hall));
    match joined {
        Ok(member) => Attendant::new(link, member).run(),
        Err(refusal) => {
            link.line.say(&Answer::No(refusal.into()));
            link.line.hang_up();
        }
    }
}

fn welcome(link: &Link, hall: &Hall, member: Member) -> Outcome<Member> {
    let memory = hall.folder.path().join(format!("memory-{}", member.rank));
    match Staging::create(&memory) {
        Ok(staging) => *link.staging.lock().unwrap_or_else(PoisonError::into_inner) = Some(staging),
        Err(e) => {
            let did = format!("cannot share memory at {}: {e}", memory.display());
            member.group.lose(member.rank, &did);
            return Err(refusal(result::MEMORY, format!("{} {did}", link.who)));
        }
    }
    let Group { name, homes, .. } = &*member.group;
    let (name, homes) = (name.clone(), homes.clone());
    link.line.say(&Answer::Welcome { name, homes, memory });
    wait_until(None, || {
        let state = link.state();
        state.is_ready || state.lost.is_some()
    });
    Ok(member)
}

/// An operation of the visitor.
struct Entry {
    appointment: Box<dyn Appointment>,
    has_arrived: bool,
}

/// A visitor's rank.
struct Attendant {
    link: Arc<Link>,
    member: Member,
    /// By ticket; those whose end was not told yet.
    open: BTreeMap<u64, Entry>,
    next_ticket: u64,
    has_told_failure: bool,
    has_left: bool,
}

impl Attendant {
    fn new(link: &Arc<Link>, member: Member) -> Attendant {
        let mut kept = kept();
        kept.retain(|(_, link)| link.strong_count() > 0);
        kept.push((Arc::downgrade(&member.group), Arc::downgrade(link)));
        Attendant {
            link: Arc::clone(link),
            member,
            open: BTreeMap::new(),
            next_ticket: 0,
            has_told_failure: false,
            has_left: false,
        }
    }

    fn run(mut self) {
        loop {
            wait_until(None, || self.has_news());
            let word = self.link.state().waiting.pop_front();
            match word {
                Some(word) => {
                    if let Err(why) = self.hear(word) {
                        self.link.line.hang_up();
                        self.link.state().lost.get_or_insert(why);
                    }
                }
                None if self.link.is_lost() => return self.part(),
                None => {}
            }
            self.tell();
        }
    }

    fn has_news(&self) -> bool {
        let state = self.link.state();
        !state.waiting.is_empty()
            || state.lost.is_some()
            || self.open.values().any(|entry| entry.appointment.has_ended())
            || (!self.has_told_failure && self.member.failure().is_some())
    }

    /// Does what the visitor says. The error is for a visitor that does not keep the rules.
    fn hear(&mut self, word: ToKeeper) -> Result<(), String> {
        match word {
            ToKeeper::Issue { ticket, operation } => {
                if ticket != self.next_ticket {
                    return Err(format!("gave operation {ticket}, {} was next", self.next_ticket));
                }
                self.next_ticket += 1;
                let refusal = self.issue(ticket, operation).err().map(Into::into);
                // A refused call finds the communicator failed.
                self.tell();
                self.link.line.say(&ToVisitor::Issued { ticket, refusal });
            }
            ToKeeper::Arrive { ticket } => {
                if let Some(entry) = self.entry(ticket)? {
                    if std::mem::replace(&mut entry.has_arrived, true) {
                        return Err(format!("came to operation {ticket} twice"));
                    }
                    entry.appointment.arrive();
                }
            }
            ToKeeper::TimedOut { ticket, waited } => {
                if let Some(entry) = self.entry(ticket)? {
                    entry.appointment.time_out(waited);
                }
            }
            ToKeeper::Abandon { ticket, why } => {
                if let Some(entry) = self.entry(ticket)?.filter(|entry| entry.appointment.is_open()) {
                    entry.appointment.abandon(&why.into());
                }
            }
            ToKeeper::Leave => {
                self.has_left = true;
                self.member.leave();
            }
            ToKeeper::Ready | ToKeeper::Ping | ToKeeper::Loaded { .. } | ToKeeper::Stored => {
                unreachable!("`listen` keeps these")
            }
        }
        Ok(())
    }

    /// Operation `ticket`; `None` when its end is on its way to the visitor.
    fn entry(&mut self, ticket: u64) -> Result<Option<&mut Entry>, String> {
        if ticket >= self.next_ticket {
            return Err(format!("spoke of operation {ticket} of {}", self.next_ticket));
        }
        Ok(self.open.get_mut(&ticket))
    }

    fn issue(&mut self, ticket: u64, given: Operation) -> Result<(), Refusal> {
        let seat = Seat { rank: self.member.rank, ranks: self.member.ranks() };
        let operation = Operation::new(given.kind, given.count, given.data_type, seat.ranks, seat.rank)?;
        let buffers = region::buffers(&self.link, ticket, &operation, seat);
        let appointment = self.member.issue(operation, buffers)?;
        self.open.insert(ticket, Entry { appointment, has_arrived: false });
        Ok(())
    }

    /// Tells the visitor what has ended.
    fn tell(&mut self) {
        let ended: Vec<u64> =
            self.open.iter().filter(|(_, e)| e.appointment.has_ended()).map(|(ticket, _)| *ticket).collect();
        // Looked for after the ends, so that it comes before those that it brought about.
        if let Some(failure) = self.member.failure().filter(|_| !self.has_told_failure) {
            self.has_told_failure = true;
            self.link.line.say(&ToVisitor::Failed(failure));
        }
        for ticket in ended {
            let entry = self.open.remove(&ticket);
            let is_done = entry.is_some_and(|entry| entry.appointment.outcome().is_ok());
            self.link.line.say(&ToVisitor::Ended { ticket, is_done });
        }
    }

    /// The visitor has gone. What it owes the others fails them.
    fn part(self) {
        let owes = self.open.values().any(|entry| !entry.appointment.has_ended());
        if owes || !self.has_left {
            let why = self.link.state().lost.clone().unwrap_or_default();
            self.member.group.lose(self.member.rank, &format!("is lost: its process {why}"));
        }
    }
}

type Kept = (Weak<Group>, Weak<Link>);

/// Visitors of this process, with their communicators.
fn kept() -> MutexGuard<'static, Vec<Kept>> {
    static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits at the end of the process for visitors that still use communicators whose ranks here have all left: on a
/// cluster they need this process no more.
pub(super) fn linger() {
    let kept = std::mem::take(&mut *kept());
    for (group, link) in kept {
        let (Some(group), Some(link)) = (group.upgrade(), link.upgrade()) else { continue };
        if group.has_left(std::process::id()) {
            wait_until(link.limit, || link.is_lost() || group.failure().is_some());
        }
    }
}
