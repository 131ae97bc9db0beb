//! A server with the interface of OpenAI's, over HTTP/1.1: what it takes, refuses and bounds is in
//! `docs/llama.md`.
//!
//! One thread of its own runs the engine, another one all connections. Each request has a channel that its
//! whole answer fits in, so the engine waits for no reader; a request whose reader is gone is given up before
//! the next step. Requests that are let in, connections and bodies are counted, which bounds the memory.

mod answer;
mod connections;
mod fields;
mod metrics;
mod problem;
mod request;
mod routes;
mod worker;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, Semaphore};

use crate::engine::Engine;
use crate::text::{ChatTemplate, Tokenizer};
use metrics::Metrics;
use worker::{Job, Phases};

/// What a server lets in, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Requests that are in work or wait; more are refused for now.
    pub requests: u32,
    /// Open connections; more wait until one is closed.
    pub connections: u32,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Tokens of an answer; 0: as many as there is room for.
    pub answer_tokens: usize,
    /// For the head of a request, and again for its body; so long an idle connection is kept.
    pub read_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// For answers to end when the server is told to.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests: 64,
            connections: 256,
            body_bytes: 1 << 20,
            answer_tokens: 0,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// What answering a request needs.
#[derive(Debug)]
struct State {
    options: Options,
    /// The name of the model.
    name: String,
    /// When the server was started, in seconds since 1970.
    created: u64,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    /// Most tokens of prompt and answer.
    room: usize,
    jobs: mpsc::UnboundedSender<Job>,
    phases: Phases,
    /// One for each request that may be let in.
    places: Arc<Semaphore>,
    metrics: Metrics,
    next_id: AtomicU64,
}

/// Serves an engine, whose model is called `name`, until `until` is there. Then connections are refused, and
/// so are requests on those that are open; answers go on for `options.grace`, and are cut after it.
///
/// # Errors
/// What the system says of threads, and of sockets that cannot be listened to.
pub fn serve(
    engine: Engine,
    name: &str,
    options: Options,
    listener: TcpListener,
    until: impl Future<Output = ()>,
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let metrics = Metrics::new();
    metrics.tell(&engine);
    let phases = Phases::new();
    let (jobs, inbox) = mpsc::unbounded_channel();
    let state = Arc::new(State {
        options,
        name: name.to_owned(),
        created: now(),
        tokenizer: engine.tokenizer().clone(),
        chat_template: engine.chat_template().cloned(),
        room: engine.room(),
        jobs,
        phases: phases.clone(),
        places: Arc::new(Semaphore::new(options.requests as usize)),
        metrics: metrics.clone(),
        next_id: AtomicU64::new(1),
    });
    let worker = std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || worker::work(engine, inbox, &phases, &metrics))?;
    let served = runtime.block_on(connections::serve(listener, state, until));
    // Whatever still holds the state goes with the runtime, or when it has made its prompt. The engine ends
    // when nobody can ask it any more.
    drop(runtime);
    if worker.join().is_err() {
        return Err(io::Error::other("the thread of the engine has panicked"));
    }
    served
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() {
    let [Ok(mut terminate), Ok(mut interrupt)] =
        [SignalKind::terminate(), SignalKind::interrupt()].map(signal)
    else {
        // Without handlers the signals end the process as they would anyway.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
