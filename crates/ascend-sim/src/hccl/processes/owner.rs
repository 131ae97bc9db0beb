//! The owner's side of a connection: the handshake, what the peer says, and questions to it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ascend_sys::lobby::{Connection, Lobby};

use super::super::bootstrap::{gathering_of, Gathering, JoinRequest};
use super::super::failure::{refusal, result, Cause, Failure};
use super::line::Line;
use super::protocol::{loss_text, Answer, Hello, ToOwner, ToPeer, MAX_HELLO_BYTES, PATIENCE, VERSION};
use super::session::run_session;
use super::staging::Staging;
use crate::acl::wait::{ring, wait_until};

/// Messages that may wait for their turn. A peer has a few on each stream and thread, at most.
const MAX_WAITING: usize = 1 << 16;

/// The connection to a peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: Arc<Line>,
    /// "rank 1 (device 0 of process 77)".
    pub(super) who: String,
    /// How long the peer may take to move a piece; `None`: for as long as it lives.
    pub(super) limit: Option<Duration>,
    state: Mutex<State>,
    /// Held while a piece moves.
    staging: Mutex<Option<Staging>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What the peer said and was not done yet.
    pub(super) waiting: VecDeque<ToOwner>,
    /// To a question of [`Link::ask`].
    answer: Option<ToOwner>,
    /// Has it opened the shared memory?
    pub(super) is_ready: bool,
    /// Why nothing comes any more.
    pub(super) lost: Option<String>,
}

/// A peer that has not heard how its meeting ended.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) place: Arc<Gathering>,
}

/// Those of this process.
fn guests() -> MutexGuard<'static, Vec<Weak<Guest>>> {
    static ALL: Mutex<Vec<Weak<Guest>>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guest {
    fn enter(place: Arc<Gathering>) -> Arc<Guest> {
        let guest = Arc::new(Guest { place });
        let mut all = guests();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&guest));
        guest
    }
}

/// The process exits: its ranks have met, or failed to, which peers may not have heard yet.
pub(super) fn linger() {
    wait_until(Some(PATIENCE), || {
        let all = guests();
        all.iter().filter_map(Weak::upgrade).all(|guest| !guest.place.has_ended())
    });
}

/// Serves a connection to its end.
pub(super) fn serve(line: &Arc<Line>, lobby: &Lobby<Line>) {
    let joining = handshake(line);
    let is_open = lobby.leave(line);
    // Somebody else's connection, or one that ended in the middle of the handshake. What a peer said before
    // it had to make room can still be read: it comes again.
    let (true, Ok(Some((place, request)))) = (is_open, joining) else { return };
    let (waiting, guest) = (Arc::downgrade(&place), Guest::enter(place));
    let link = Arc::new(Link::new(Arc::clone(line), &request));
    let own = Arc::clone(&link);
    let thread = std::thread::Builder::new().name("sim-hccl-session".into());
    if let Err(e) = thread.spawn(move || run_session(&own, guest, &request)) {
        let text = format!(
            "process {}, which made rootInfo, cannot start a thread for {}: {e}",
            std::process::id(),
            link.who
        );
        link.line.say(&Answer::No(refusal(result::INTERNAL, text).into()));
        return;
    }
    let text = link.listen();
    if let Some(place) = waiting.upgrade() {
        let text = format!("{}: its process {text}, before all ranks were there", link.who);
        place.give_up(refusal(result::REMOTE, text));
    }
}

/// `None` for one who may not come in, and was told so.
fn handshake(line: &Line) -> io::Result<Option<(Arc<Gathering>, JoinRequest)>> {
    let deadline = Instant::now().checked_add(PATIENCE);
    let hello: Hello = line.hear_at_most(MAX_HELLO_BYTES, deadline)?;
    let refusal = match gathering_of(hello.number, hello.nonce) {
        Err(refusal) => refusal,
        Ok(_) if hello.version != VERSION => {
            let text = format!(
                "a process with version {} of this library's protocol given, {VERSION} wanted",
                hello.version
            );
            refusal(result::NOT_SUPPORT, text)
        }
        Ok(place) => return Ok(Some((place, line.hear(deadline)?))),
    };
    line.say(&Answer::No(refusal.into()));
    Ok(None)
}

impl Link {
    fn new(line: Arc<Line>, request: &JoinRequest) -> Link {
        let limit = request.settings.exec_timeout.map(|limit| limit.max(PATIENCE));
        let (state, staging) = (Mutex::default(), Mutex::default());
        Link { line, who: request.text(true), limit, state, staging }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state().lost.is_some()
    }

    /// Reads what the peer says, until it says nothing more; why.
    fn listen(&self) -> String {
        let text = loop {
            match self.line.hear(None) {
                Ok(ToOwner::Ping) => self.line.say(&ToPeer::Pong),
                Ok(ToOwner::Ready) => self.state().is_ready = true,
                Ok(answer @ (ToOwner::Loaded { .. } | ToOwner::Stored)) => {
                    self.state().answer = Some(answer);
                }
                Ok(_) if self.state().waiting.len() == MAX_WAITING => {
                    break format!("has sent more than {MAX_WAITING} messages that wait")
                }
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

    /// The memory that is shared with the peer.
    pub(super) fn set_staging(&self, staging: Staging) {
        *self.staging.lock().unwrap_or_else(PoisonError::into_inner) = Some(staging);
    }

    /// Uses the shared memory, alone.
    pub(super) fn with_staging(
        &self,
        body: impl FnOnce(&Staging) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        body(staging.as_ref().unwrap_or_else(|| unreachable!("made before the first operation")))
    }

    /// Has the peer move a piece.
    pub(super) fn ask(&self, question: &ToPeer) -> Result<ToOwner, Failure> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_that_sends_too_much_is_lost_with_the_number() {
        let (own, other) = UnixStream::pair().unwrap();
        let (line, peer) = (Arc::new(Line::new(own).unwrap()), Line::new(other).unwrap());
        let waiting = (0..MAX_WAITING).map(|_| ToOwner::Leave).collect();
        let state = Mutex::new(State { waiting, ..State::default() });
        let link = Link { line, who: "rank 1".into(), limit: None, state, staging: Mutex::default() };
        peer.say(&ToOwner::Leave);
        assert_eq!(link.listen(), "has sent more than 65536 messages that wait");
    }
}
