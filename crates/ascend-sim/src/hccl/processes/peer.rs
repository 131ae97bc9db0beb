//! The peer's side of a connection: a rank whose communicator is kept in another process.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ascend_sys::hccl::COMM_NAME_BYTES;
use ascend_sys::lobby::Connection;

use super::super::bootstrap::JoinRequest;
use super::super::buffers::Buffers;
use super::super::failure::{refusal, refuse, result, Cause, Failure};
use super::super::home::{rank_text, Home};
use super::super::member::{Appointment, Membership};
use super::super::operation::Operation;
use super::super::root::Root;
use super::endpoint::connect;
use super::line::Line;
use super::protocol::{loss_text, Answer, Hello, No, Side, ToOwner, ToPeer, PATIENCE, VERSION};
use super::staging::{Staging, PIECE};
use crate::acl::border::{Outcome, Refusal};
use crate::acl::wait::{ring, wait_until};
use crate::engine::Contents;

const OPEN: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

/// Between attempts to join.
const PAUSE: Duration = Duration::from_millis(20);

/// Joins the communicator of another process, and waits for its other ranks.
pub(crate) fn join_remote(root: &Root, request: &JoinRequest) -> Outcome<Box<dyn Membership>> {
    let endpoint = match &root.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => {
            let text =
                format!("rootInfo of process {} given, which ranks of that process only can use, as it has no endpoint: {why}", root.process);
            return refuse(result::NOT_SUPPORT, text);
        }
    };
    let process = root.process;
    let (line, answer, memory) = ask(root, endpoint, request)?;
    match answer {
        Answer::No(no) => Err(no.into()),
        Answer::Welcome { name, .. } if name.len() >= COMM_NAME_BYTES => {
            let text = format!(
                "process {process} gives the communicator a name of {} bytes, at most {} wanted",
                name.len(),
                COMM_NAME_BYTES - 1
            );
            refuse(result::REMOTE, text)
        }
        Answer::Welcome { name, homes } => {
            let memory = memory.ok_or_else(|| io::Error::other("none given"));
            let staging = memory.and_then(|memory| Staging::open(memory.as_fd())).map_err(|e| {
                refusal(
                    result::MEMORY,
                    format!("the memory that process {process} shares cannot be mapped: {e}"),
                )
            })?;
            let owner = owner_text(process, &homes);
            let seat = Seat { rank: request.rank, ranks: request.ranks };
            start(OwnerLink { line, seat, name, owner, state: Mutex::default() }, staging)
        }
    }
}

/// Asks the owner until it answers.
fn ask(root: &Root, endpoint: &str, request: &JoinRequest) -> Outcome<(Line, Answer, Option<OwnedFd>)> {
    let (process, timeout) = (root.process, request.settings.connect_timeout);
    // The owner itself ends the wait when the time is over.
    let deadline = Instant::now().checked_add(timeout.saturating_add(PATIENCE));
    let lost = |e: io::Error| {
        refusal(result::REMOTE, format!("process {process}, which made rootInfo, {}", loss_text(&e)))
    };
    loop {
        let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        let stream =
            connect(endpoint, left.min(timeout)).map_err(|e| not_let_in(root, endpoint, timeout, &e))?;
        let line = Line::new(stream).map_err(lost)?;
        line.say(&Hello { version: VERSION, number: root.number, nonce: root.nonce });
        line.say(request);
        let e = match line.hear_with_descriptor(deadline) {
            Ok((answer, memory)) => return Ok((line, answer, memory)),
            Err(e) => e,
        };
        // The owner lets the oldest go when many come at once. The connection of a process that ends is
        // closed a moment before its end can be seen.
        std::thread::sleep(PAUSE);
        let has_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
        let is_cut = matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
        if !is_cut || !has_time || line.has_ended() {
            return Err(lost(e));
        }
    }
}

/// Why there is no connection to the owner.
fn not_let_in(root: &Root, endpoint: &str, timeout: Duration, e: &io::Error) -> Refusal {
    let process = root.process;
    match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => refusal(
            result::NOT_FOUND,
            format!("rootInfo of process {process} given, which is used up, or whose process has ended: {endpoint}: {e}"),
        ),
        ErrorKind::WouldBlock => {
            let text = format!("process {process}, which made rootInfo, accepted no connection within {timeout:?}");
            refusal(result::TIMEOUT, text)
        }
        _ => refusal(result::REMOTE, format!("rootInfo of process {process} given, whose endpoint cannot be reached: {endpoint}: {e}")),
    }
}

#[derive(Clone, Copy)]
struct Seat {
    rank: u32,
    ranks: u32,
}

/// "the process of rank 0 (device 0 of process 77)".
fn owner_text(process: u32, homes: &[Home]) -> String {
    let own = (0..).zip(homes).filter(|(_, home)| home.process == process);
    let ranks: Vec<String> = own.map(|(rank, _)| rank_text(rank, homes)).collect();
    if ranks.is_empty() {
        return format!("process {process}, which made rootInfo,");
    }
    format!("the process of {}", ranks.join(", "))
}

fn start(rank: OwnerLink, staging: Staging) -> Outcome<Box<dyn Membership>> {
    let rank = Arc::new(rank);
    let reader = Arc::clone(&rank);
    let thread = std::thread::Builder::new().name("sim-hccl-reader".into());
    thread.spawn(move || reader.listen(&staging)).map_err(|e| {
        refusal(result::INTERNAL, format!("the host cannot start a thread for the connection: {e}"))
    })?;
    rank.line.say(&ToOwner::Ready);
    Ok(Box::new(Peer(Arc::new(Joined(rank)))))
}

/// This process's end of the connection to the owner.
struct OwnerLink {
    line: Line,
    seat: Seat,
    name: String,
    /// Who keeps the communicator, for texts.
    owner: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_ticket: u64,
    /// Operations that have not ended.
    open: BTreeMap<u64, Entry>,
    /// The owner's answers to operations that were issued.
    answers: BTreeMap<u64, Option<No>>,
    pongs: u64,
    failed: Option<Failure>,
    is_lost: bool,
}

struct Entry {
    buffers: Arc<Buffers>,
    status: Arc<AtomicU8>,
}

impl OwnerLink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the owner says until it has gone.
    fn listen(&self, staging: &Staging) {
        loop {
            let heard =
                self.line.hear(None).map_err(|e| loss_text(&e)).and_then(|word| self.hear(word, staging));
            if let Err(why) = heard {
                return self.lose(&why);
            }
            ring();
        }
    }

    /// The error is for a owner that does not keep the rules.
    fn hear(&self, word: ToPeer, staging: &Staging) -> Result<(), String> {
        match word {
            ToPeer::Issued { ticket, refusal } => {
                self.state().answers.insert(ticket, refusal);
            }
            ToPeer::Load { ticket, side, start, len } => {
                let contents = self.piece(ticket, side, (start, len), |buffers, range| {
                    buffers.load(range).map_err(|failure| failure.text)
                })?;
                let has_unset = staging.put(&contents);
                self.line.say(&ToOwner::Loaded { has_unset });
            }
            ToPeer::Store { ticket, side, start, len, has_unset } => {
                self.piece(ticket, side, (start, len), |buffers, range| {
                    let mut contents = Contents::default();
                    staging.take(len, has_unset, &mut contents);
                    buffers.store(range.start, &contents).map_err(|failure| failure.text)
                })?;
                self.line.say(&ToOwner::Stored);
            }
            ToPeer::Failed(failure) => {
                self.state().failed.get_or_insert(failure);
            }
            ToPeer::Ended { ticket, is_done } => {
                if let Some(entry) = self.state().open.remove(&ticket) {
                    entry.status.store(if is_done { DONE } else { FAILED }, Ordering::Release);
                }
            }
            ToPeer::Pong => self.state().pongs += 1,
        }
        Ok(())
    }

    /// Moves a piece of a buffer, which must be inside.
    fn piece<T>(
        &self,
        ticket: u64,
        side: Side,
        (start, len): (u64, usize),
        body: impl FnOnce(&super::super::buffers::Region, std::ops::Range<u64>) -> Result<T, String>,
    ) -> Result<T, String> {
        let buffers = self.state().open.get(&ticket).map(|entry| Arc::clone(&entry.buffers));
        let buffer = buffers.as_ref().and_then(|buffers| match side {
            Side::Send => buffers.send.as_ref(),
            Side::Recv => buffers.recv.as_ref(),
        });
        let range = start..start.saturating_add(len as u64);
        match buffer {
            Some(buffer) if len <= PIECE && range.end <= buffer.len() => body(buffer, range),
            _ => Err(format!("asked for bytes {range:?} of the {side:?} buffer of operation {ticket}")),
        }
    }

    /// The owner is gone, and the communicator with it.
    fn lose(&self, why: &str) {
        self.line.hang_up();
        let mut state = self.state();
        state.is_lost = true;
        let text = format!("{}, where the communicator is kept, {why}", self.owner);
        state.failed.get_or_insert(Failure { cause: Cause::RankLost, text });
        for entry in std::mem::take(&mut state.open).into_values() {
            entry.status.store(FAILED, Ordering::Release);
        }
        drop(state);
        ring();
    }

    /// Waits for something that the owner does by itself. It may take its time, but it has to be alive.
    fn wait(&self, ready: impl Fn() -> bool) {
        let is_over = || ready() || self.state().is_lost;
        while !wait_until(Some(PATIENCE), is_over) {
            let pongs = self.state().pongs;
            self.line.say(&ToOwner::Ping);
            if !wait_until(Some(PATIENCE), || is_over() || self.state().pongs != pongs) {
                self.lose("does not answer");
            }
        }
    }

    fn failure(&self) -> Option<Failure> {
        self.state().failed.clone()
    }

    /// Why the communicator has failed. A owner says so before an operation fails.
    fn reason(&self) -> Failure {
        let untold = || Failure { cause: Cause::RankLost, text: format!("{} gave no reason", self.owner) };
        self.failure().unwrap_or_else(untold)
    }
}

/// Ends the connection with the communicator and the last operation of it.
struct Joined(Arc<OwnerLink>);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.line.hang_up();
    }
}

/// A rank whose communicator is kept in another process.
struct Peer(Arc<Joined>);

impl Membership for Peer {
    fn rank(&self) -> u32 {
        self.0 .0.seat.rank
    }

    fn ranks(&self) -> u32 {
        self.0 .0.seat.ranks
    }

    fn name(&self) -> &str {
        &self.0 .0.name
    }

    fn failure(&self) -> Option<Failure> {
        self.0 .0.failure()
    }

    fn issue(&self, operation: Operation, buffers: Buffers) -> Outcome<Box<dyn Appointment>> {
        let remote = &self.0 .0;
        if let Some(failure) = remote.failure() {
            return Err(failure.of_later_call(&remote.name));
        }
        let status = Arc::new(AtomicU8::new(OPEN));
        let entry = Entry { buffers: Arc::new(buffers), status: Arc::clone(&status) };
        let mut state = remote.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.open.insert(ticket, entry);
        drop(state);
        remote.line.say(&ToOwner::Issue { ticket, operation });
        remote.wait(|| remote.state().answers.contains_key(&ticket));
        let answer = remote.state().answers.remove(&ticket);
        if let Some(None) = answer {
            return Ok(Box::new(IssuedOperation { joined: Arc::clone(&self.0), ticket, status }));
        }
        remote.state().open.remove(&ticket);
        match answer.flatten() {
            Some(no) => Err(no.into()),
            None => Err(remote.reason().of_later_call(&remote.name)),
        }
    }

    fn leave(&self) {
        self.0 .0.line.say(&ToOwner::Leave);
    }
}

/// An operation that the owner knows of.
struct IssuedOperation {
    joined: Arc<Joined>,
    ticket: u64,
    status: Arc<AtomicU8>,
}

impl Appointment for IssuedOperation {
    fn number(&self) -> Option<u64> {
        None
    }

    fn arrive(&self) {
        self.joined.0.line.say(&ToOwner::Arrive { ticket: self.ticket });
    }

    fn has_ended(&self) -> bool {
        self.status.load(Ordering::Acquire) != OPEN
    }

    /// The owner knows whether it is being executed, and gives it up only if not.
    fn is_open(&self) -> bool {
        !self.has_ended()
    }

    fn time_out(&self, waited: Duration) {
        self.joined.0.line.say(&ToOwner::TimedOut { ticket: self.ticket, waited });
    }

    fn abandon(&self, why: &Refusal) {
        self.joined.0.line.say(&ToOwner::Abandon { ticket: self.ticket, why: why.clone().into() });
    }

    fn wait_for_end(&self) {
        self.joined.0.wait(|| self.has_ended());
    }

    fn outcome(&self) -> Outcome {
        if self.status.load(Ordering::Acquire) != FAILED {
            return Ok(());
        }
        Err(self.joined.0.reason().of_work())
    }
}
