//! A graph: the work of a capture, and its replays.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ascend_sys::codes;

use super::Mode;
use crate::acl::border::{refuse, thread_number, Outcome};
use crate::acl::device::SimDevice;
use crate::acl::handles::{self, Handled};
use crate::acl::stream::Stream;
use crate::acl::wait::wait_until;

/// Work that queues itself on the stream that it is given, each time anew.
pub(in crate::acl) type Task = Arc<dyn Fn(&Arc<Stream>, Issued) -> Outcome + Send + Sync>;

/// Who has queued a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acl) enum Issued {
    ByHost,
    ByGraph,
}

/// What a stream takes part in.
#[derive(Clone)]
pub(in crate::acl) struct Member {
    pub(in crate::acl) graph: Arc<Graph>,
    /// Its place among the streams of the capture; the origin's is 0.
    pub(in crate::acl) branch: usize,
}

/// A model running instance.
pub(crate) struct Graph {
    handle: OnceLock<usize>,
    pub(super) context: u64,
    pub(super) mode: Mode,
    /// The thread that began the capture.
    thread: u64,
    device: Arc<SimDevice>,
    state: Mutex<State>,
    /// Held while a replay is queued: records and waits of two replays must not mix.
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    branches: Vec<Branch>,
    /// In the order in which they were given, with their branches.
    tasks: Vec<(usize, Task)>,
    /// The branches that wait for each record.
    records: Vec<Vec<usize>>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Capturing,
    /// With the reason.
    Invalid(&'static str),
    Ready,
}

/// What one stream was given.
struct Branch {
    stream: Weak<Stream>,
    /// The record that came last, when nothing came behind it.
    last_record: Option<usize>,
}

#[derive(Default)]
struct Lanes {
    /// Run the branches but the first one, which runs on the stream of each replay.
    streams: Vec<Arc<Stream>>,
    /// Replays that may still run: a stream, and the number of the last piece of work of its newest one.
    running: Vec<(Arc<Stream>, u64)>,
}

/// How long `aclmdlRIDestroy` waits for replays (open runtime, `Context::ModelDestroy`).
const PATIENCE: Duration = Duration::from_secs(10);

impl Graph {
    /// Begins a capture on a stream.
    pub(super) fn begin(stream: &Arc<Stream>, mode: Mode) -> Outcome<Arc<Graph>> {
        let graph = Arc::new(Graph {
            handle: OnceLock::new(),
            context: stream.context(),
            mode,
            thread: thread_number(),
            device: Arc::clone(&stream.device),
            state: Mutex::default(),
            lanes: Mutex::default(),
        });
        graph.join(stream)?;
        let inserted = handles::insert(Arc::clone(&graph));
        match inserted {
            Ok(handle) => drop(graph.handle.set(handle.addr())),
            Err(_) => graph.release_streams(),
        }
        inserted.map(|_| graph)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::acl) fn handle(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.handle.get().copied().unwrap_or(0))
    }

    /// Did the calling thread begin the capture?
    pub(super) fn is_of_this_thread(&self) -> bool {
        self.thread == thread_number()
    }

    /// Does the capture go on, whatever became of it?
    pub(in crate::acl) fn is_capturing(&self) -> bool {
        !matches!(self.state().phase, Phase::Ready)
    }

    pub(in crate::acl) fn is_invalid(&self) -> bool {
        matches!(self.state().phase, Phase::Invalid(_))
    }

    /// The capture cannot succeed any more. The first reason is kept.
    pub(in crate::acl) fn invalidate(&self, why: &'static str) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Capturing) {
            state.phase = Phase::Invalid(why);
        }
    }

    /// Takes a stream into the capture and returns its branch.
    pub(in crate::acl) fn join(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome<usize> {
        let mut state = self.state();
        state.require_capturing()?;
        let branch = state.branches.len();
        stream.enter_capture(Member { graph: Arc::clone(self), branch })?;
        state.branches.push(Branch { stream: Arc::downgrade(stream), last_record: None });
        Ok(branch)
    }

    /// Keeps work of a branch.
    pub(in crate::acl) fn keep(&self, branch: usize, task: Task) -> Outcome {
        self.state().keep(branch, task)
    }

    /// Keeps the record of an event, and returns its number.
    pub(in crate::acl) fn keep_record(&self, branch: usize, task: Task) -> Outcome<usize> {
        let mut state = self.state();
        state.keep(branch, task)?;
        let record = state.records.len();
        state.records.push(Vec::new());
        state.branches[branch].last_record = Some(record);
        Ok(record)
    }

    /// Keeps a wait for a record.
    pub(in crate::acl) fn keep_wait(&self, branch: usize, record: usize, task: Task) -> Outcome {
        let mut state = self.state();
        state.keep(branch, task)?;
        state.records[record].push(branch);
        Ok(())
    }

    /// Ends the capture.
    pub(super) fn finish(&self) -> Outcome {
        let mut state = self.state();
        state.require_capturing()?;
        if let Some(branch) = state.first_unjoined() {
            let stream = state.branches[branch].stream.upgrade().map(|stream| stream.number().to_string());
            state.phase = Phase::Invalid("a stream was not joined to the origin");
            let stream = stream.unwrap_or_else(|| "that was destroyed".into());
            return refuse(
                codes::RT_STREAM_UNJOINED,
                format!(
                    "stream {stream} took part and is not joined to the origin; wanted as its last work: the record of \
                     an event that a joined stream waits for"
                ),
            );
        }
        state.phase = Phase::Ready;
        Ok(())
    }

    /// The streams of the capture are plain streams again.
    pub(super) fn release_streams(&self) {
        let streams: Vec<_> =
            self.state().branches.iter().filter_map(|branch| branch.stream.upgrade()).collect();
        streams.iter().for_each(|stream| stream.leave_capture());
    }

    /// Queues the work on a stream, as one piece: what other threads queue there comes before it or behind
    /// it.
    pub(in crate::acl) fn replay(&self, stream: &Arc<Stream>) -> Outcome {
        stream.refuse_captured("executing a graph")?;
        let (tasks, branches) = {
            let state = self.state();
            match state.phase {
                Phase::Ready => (state.tasks.clone(), state.branches.len()),
                _ => {
                    return refuse(
                        codes::RT_MODEL_CAPTURED,
                        "a graph that is captured given, a finished one wanted",
                    )
                }
            }
        };
        let mut lanes = self.lanes();
        while lanes.streams.len() + 1 < branches {
            lanes.streams.push(Arc::new(Stream::new(self.context, Arc::clone(&self.device))));
        }
        // A stream runs its work in order, so the newest replay of each is enough.
        lanes.running.retain(|(other, number)| !Arc::ptr_eq(other, stream) && !other.has_finished(*number));
        let _turn = stream.turn();
        let queued = tasks.iter().try_for_each(|(branch, task)| {
            let lane = branch.checked_sub(1).map_or(stream, |at| &lanes.streams[at]);
            task(lane, Issued::ByGraph)
        });
        lanes.running.push((Arc::clone(stream), stream.num_submitted()));
        queued
    }

    /// Waits for the replays, but not for ever.
    pub(in crate::acl) fn require_idle(&self) -> Outcome {
        if self.is_capturing() {
            return refuse(codes::RT_MODEL_CAPTURED, "a graph that is captured given, a finished one wanted");
        }
        let running = self.lanes().running.clone();
        let is_over = || running.iter().all(|(stream, number)| stream.has_finished_or_rings(*number));
        if !wait_until(Some(PATIENCE), is_over) {
            return refuse(
                codes::RT_MODEL_RUNNING,
                format!(
                    "a graph given that still runs after {PATIENCE:?}, one whose replays are over wanted"
                ),
            );
        }
        Ok(())
    }
}

impl State {
    fn require_capturing(&self) -> Outcome {
        match self.phase {
            Phase::Capturing => Ok(()),
            Phase::Invalid(why) => {
                refuse(codes::RT_STREAM_CAPTURE_INVALIDATED, format!("the capture is invalid: {why}"))
            }
            Phase::Ready => refuse(codes::RT_STREAM_NOT_CAPTURED, "the capture has ended"),
        }
    }

    fn keep(&mut self, branch: usize, task: Task) -> Outcome {
        self.require_capturing()?;
        self.branches[branch].last_record = None;
        self.tasks.push((branch, task));
        Ok(())
    }

    /// A branch is joined when its last work is the record of an event for which a joined one waits.
    fn first_unjoined(&self) -> Option<usize> {
        let mut joined = vec![false; self.branches.len()];
        joined[0] = true;
        loop {
            let next = (1..joined.len()).find(|&branch| {
                let record = self.branches[branch].last_record;
                !joined[branch]
                    && record.is_some_and(|record| self.records[record].iter().any(|&by| joined[by]))
            });
            match next {
                Some(branch) => joined[branch] = true,
                None => return joined.iter().position(|&is_joined| !is_joined),
            }
        }
    }
}

impl Handled for Graph {
    fn kind() -> &'static str {
        "a graph (aclmdlRI)"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }

    fn end(&self) {
        self.invalidate("its context has ended");
        self.release_streams();
        self.lanes().streams.iter().for_each(|stream| stream.close_now());
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let lanes = self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        lanes.streams.iter().for_each(|stream| stream.let_worker_go());
    }
}
