//! The keeper's side of a connection: its first words, what the visitor says, and questions to it.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::bootstrap::Guest;
use super::super::failure::{refusal, result, Cause, Failure};
use super::attendant::attend;
use super::door::Hall;
use super::staging::Staging;
use super::words::{
    limit, loss_text, read_word, Answer, Hello, Line, ToKeeper, ToVisitor, PATIENCE, VERSION,
};
use crate::sim::acl::stream::{ring, wait_until};

/// Words that may wait for their turn. A visitor has a few on each stream and thread, at most.
const MAX_WAITING: usize = 1 << 16;

/// The connection to a visitor.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: Line,
    /// "rank 1 (device 0 of process 77)".
    pub(super) who: String,
    /// How long the visitor may take to move a piece; `None`: for as long as it lives.
    pub(super) limit: Option<Duration>,
    state: Mutex<State>,
    /// Held while a piece moves.
    staging: Mutex<Option<Staging>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What the visitor said and was not done yet.
    pub(super) waiting: VecDeque<ToKeeper>,
    /// To a question of [`Link::ask`].
    answer: Option<ToKeeper>,
    /// Has it opened the shared memory?
    pub(super) is_ready: bool,
    /// Why nothing comes any more.
    pub(super) lost: Option<String>,
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_lost(&self) -> bool {
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

    /// The memory that is shared with the visitor.
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
