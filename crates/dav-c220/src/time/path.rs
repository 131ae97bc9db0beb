//! The critical path: what each cycle of a launch was waited for, from its last result back to its start.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::report::{core_kind, Cause, LaunchReport, TraceEvent};
use crate::access::Pipe;

/// What a part of the critical path consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PathPart {
    /// An instruction occupied its pipe.
    Run(&'static str),
    /// The result of an instruction was on its way.
    Result(&'static str),
    /// Neither: the hand-over of a flag, or scalar code before the next instruction.
    Wait(Cause),
}

impl std::fmt::Display for PathPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathPart::Run(mnemonic) => f.write_str(mnemonic),
            PathPart::Result(mnemonic) => write!(f, "{mnemonic}, result"),
            PathPart::Wait(cause) => write!(f, "wait: {cause}"),
        }
    }
}

impl Serialize for PathPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All parts of the critical path of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PathStep {
    /// `AIC` or `AIV`.
    pub core: &'static str,
    /// Pipe; of a wait, the pipe that waited.
    #[serde(serialize_with = "named")]
    pub pipe: Pipe,
    /// What.
    pub part: PathPart,
    /// How often.
    pub count: u64,
    /// Cycles, together.
    pub cycles: f64,
}

fn named<S: Serializer>(pipe: &Pipe, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(pipe)
}

#[derive(Default)]
struct Sums(BTreeMap<(&'static str, Pipe, PathPart), (u64, f64)>);

impl Sums {
    fn add(&mut self, event: &TraceEvent, part: PathPart, cycles: f64) {
        if cycles > 0.0 {
            let (count, sum) = self.0.entry((core_kind(event.core), event.pipe, part)).or_default();
            *count += 1;
            *sum += cycles;
        }
    }
}

impl LaunchReport {
    /// The critical path by core, pipe and instruction or cause, longest first; the cycles sum up to the last
    /// result of a pipe. Empty when the launch was not traced.
    pub fn critical_path(&self) -> Vec<PathStep> {
        let mut sums = Sums::default();
        let last = (0..self.trace.len()).max_by(|a, b| self.trace[*a].done.total_cmp(&self.trace[*b].done));
        let mut at = last;
        let mut until = last.map_or(0.0, |i| self.trace[i].done);
        let mut waiter: Option<&TraceEvent> = None;
        while let Some(i) = at {
            let event = &self.trace[i];
            // Of the time up to where the next one started: the hand-over, the result, the instruction
            // itself.
            let done = event.done.min(until);
            let free = event.free.min(done);
            let start = event.start.min(free);
            if let Some(waiter) = waiter {
                sums.add(waiter, PathPart::Wait(waiter.cause), until - done);
            }
            sums.add(event, PathPart::Result(event.mnemonic), done - free);
            sums.add(event, PathPart::Run(event.mnemonic), free - start);
            until = start;
            waiter = Some(event);
            // An instruction waits for ones that executed before it: numbers fall, so the walk ends.
            at = event.before.map(|before| before as usize).filter(|before| *before < i);
        }
        if let Some(first) = waiter {
            sums.add(first, PathPart::Wait(first.cause), until);
        }
        let mut steps: Vec<PathStep> = sums
            .0
            .into_iter()
            .map(|((core, pipe, part), (count, cycles))| PathStep { core, pipe, part, count, cycles })
            .collect();
        steps.sort_by(|a, b| b.cycles.total_cmp(&a.cycles));
        steps
    }
}
