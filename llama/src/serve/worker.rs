//! The thread of the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch, OwnedSemaphorePermit};

use super::metrics::Metrics;
use super::problem::Problem;
use crate::engine::{Engine, Finish, Output, Request};

/// A request on its way to the engine.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reader: Reader,
}

/// Who waits for the answer.
#[derive(Debug)]
pub(super) struct Reader {
    /// Has room for each token of the answer, or one refusal. Closed, the request is given up.
    pub(super) events: mpsc::Sender<Event>,
    pub(super) since: Instant,
    pub(super) is_begun: bool,
    /// A place among the requests that are let in, until both the engine and the reader are done.
    pub(super) _place: Arc<OwnedSemaphorePermit>,
}

/// What becomes of a request. A channel that ends without a finish ends for the reason that `Phases` has.
#[derive(Debug)]
pub(super) enum Event {
    /// A token: what the text has become longer by.
    Token(String, Option<Finish>),
    /// The engine does not take the request.
    Refused(String),
}

/// How far the life of a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Nothing new is taken.
    Stopping,
    /// Answers end where they are.
    Cut,
    /// The engine has failed, and is of no more use.
    Broken(String),
}

/// The phase, for all to see.
#[derive(Clone, Debug)]
pub(super) struct Phases(watch::Sender<Phase>);

impl Phases {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    /// What is broken stays broken.
    pub(super) fn set(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let is_whole = !matches!(phase, Phase::Broken(_));
            if is_whole {
                *phase = to;
            }
            is_whole
        });
    }

    /// Why nothing new is taken, if so.
    pub(super) fn problem(&self) -> Option<Problem> {
        match &*self.0.borrow() {
            Phase::Serving => None,
            Phase::Stopping | Phase::Cut => Some(Problem::stopping()),
            Phase::Broken(why) => Some(Problem::broken(why)),
        }
    }

    /// Waits until answers are to end where they are.
    pub(super) async fn cut(&self) {
        // It cannot fail: this is a sender.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Cut).await;
    }
}

/// Tells of a panic of its thread.
struct Guard<'a>(&'a Phases);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Phase::Broken("the engine has panicked".into()));
        }
    }
}

/// Runs the engine as long as anybody may ask it something, or until it fails.
pub(super) fn work(
    mut engine: Engine,
    mut inbox: mpsc::UnboundedReceiver<Job>,
    phases: &Phases,
    metrics: &Metrics,
) {
    let _guard = Guard(phases);
    let mut readers: HashMap<u64, Reader> = HashMap::new();
    loop {
        metrics.tell(&engine);
        if !engine.has_work() {
            let Some(job) = inbox.blocking_recv() else { return };
            add(&mut engine, &mut readers, job);
        }
        while let Ok(job) = inbox.try_recv() {
            add(&mut engine, &mut readers, job);
        }
        readers.retain(|id, reader| {
            let is_gone = reader.events.is_closed();
            if is_gone {
                engine.cancel(*id);
                metrics.cancelled.inc();
            }
            !is_gone
        });
        match engine.step() {
            Ok(outputs) => outputs.into_iter().for_each(|output| give(&mut readers, output, metrics)),
            Err(e) => {
                phases.set(Phase::Broken(format!("the engine has failed: {e}")));
                return;
            }
        }
    }
}

fn add(engine: &mut Engine, readers: &mut HashMap<u64, Reader>, job: Job) {
    match engine.add(job.request) {
        Ok(id) => {
            readers.insert(id, job.reader);
        }
        Err(e) => {
            // The reader may be gone.
            let _ = job.reader.events.try_send(Event::Refused(e.to_string()));
        }
    }
}

/// Hands a token to its reader, who may be gone: then the request is given up before the next step.
fn give(readers: &mut HashMap<u64, Reader>, output: Output, metrics: &Metrics) {
    let Output { id, text, finish, .. } = output;
    let Some(reader) = readers.get_mut(&id) else { return };
    if !std::mem::replace(&mut reader.is_begun, true) {
        metrics.first_token.observe(reader.since.elapsed().as_secs_f64());
    }
    let _ = reader.events.try_send(Event::Token(text, finish));
    if finish.is_some() {
        metrics.answer.observe(reader.since.elapsed().as_secs_f64());
        readers.remove(&id);
    }
}
