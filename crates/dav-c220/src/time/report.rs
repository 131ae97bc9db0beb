//! What model time tells about a launch.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::gm::MemoryTraffic;
use crate::access::Pipe;
use ascend_soc::Soc;

/// Why a pipe, or the scalar unit, had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// The instruction had not been issued.
    Issue,
    /// Its own pipe was busy.
    Pipe,
    /// Its own pipe's earlier results (`pipe_barrier`).
    Barrier,
    /// A flag of another pipe.
    Flag(Pipe),
    /// A flag of another core.
    Cross,
    /// A full queue.
    Queue(Pipe),
    /// All pipes (`pipe_barrier(PIPE_ALL)`).
    AllPipes,
    /// Memory.
    Memory,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Issue => f.write_str("issue"),
            Cause::Pipe => f.write_str("own pipe"),
            Cause::Barrier => f.write_str("barrier"),
            Cause::Flag(pipe) => write!(f, "flag from {pipe}"),
            Cause::Cross => f.write_str("cross-core flag"),
            Cause::Queue(pipe) => write!(f, "queue of {pipe}"),
            Cause::AllPipes => f.write_str("all pipes"),
            Cause::Memory => f.write_str("memory"),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One instruction in model time, in cycles since the first core started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InstrSpan {
    pub(crate) start: f64,
    pub(crate) free: f64,
    pub(crate) done: f64,
    pub(crate) before: Option<u32>,
    pub(crate) cause: Cause,
}

/// Model time of one pipe of one core, in cycles.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipeReport {
    /// Cycles in which at least one instruction was on its way, results included.
    #[serde(rename = "busy_cycles")]
    pub busy: f64,
    /// Cycles in which the pipe could not take another instruction.
    #[serde(rename = "occupied_cycles")]
    pub occupied: f64,
    /// Instructions.
    pub instructions: u64,
    /// Bytes moved from or to GM.
    pub gm_bytes: u64,
    /// Cycles without an instruction, by what the next one waited for.
    #[serde(rename = "stall_cycles")]
    pub stalls: BTreeMap<Cause, f64>,
    /// Up to where `busy` and `stalls` have been counted.
    #[serde(skip)]
    pub(crate) covered: f64,
}

impl PipeReport {
    pub(crate) fn stall(&mut self, cause: Cause, cycles: f64) {
        *self.stalls.entry(cause).or_default() += cycles;
    }

    pub(crate) fn add(&mut self, other: &PipeReport) {
        self.busy += other.busy;
        self.occupied += other.occupied;
        self.instructions += other.instructions;
        self.gm_bytes += other.gm_bytes;
        for (cause, cycles) in &other.stalls {
            self.stall(*cause, *cycles);
        }
    }
}

/// Model time of one core in one launch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreReport {
    /// Place of the core: group number on the chip.
    pub group: u32,
    /// `AIC`, `AIV0` or `AIV1`.
    pub core: &'static str,
    /// When the core started, in cycles since the first core did.
    #[serde(rename = "start_cycles")]
    pub start: f64,
    /// When the core's last result was there, in cycles since the first core started.
    #[serde(rename = "end_cycles")]
    pub end: f64,
    /// By pipe, in the order S, V, M, MTE1, MTE2, MTE3, FIX.
    #[serde(serialize_with = "by_name")]
    pub pipes: [PipeReport; 7],
}

impl CoreReport {
    /// `AIC` or `AIV`.
    pub fn kind(&self) -> &'static str {
        core_kind(self.core)
    }

    fn cycles(&self) -> f64 {
        self.end - self.start
    }
}

/// The pipes that did something, by name.
fn by_name<S: Serializer>(pipes: &[PipeReport; 7], serializer: S) -> Result<S::Ok, S::Error> {
    let used = Pipe::ALL.into_iter().zip(pipes).filter(|(_, report)| report.instructions > 0);
    serializer.collect_map(used.map(|(pipe, report)| (pipe.to_string(), report)))
}

/// `AIC` or `AIV`, from the name of a core.
pub(super) fn core_kind(core: &'static str) -> &'static str {
    if core.starts_with("AIV") {
        "AIV"
    } else {
        core
    }
}

/// An instruction, for a trace. Times in cycles since the first core started.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEvent {
    /// Place of the core: group number on the chip.
    pub group: u32,
    /// Block that the core worked on.
    pub block: u32,
    /// `AIC`, `AIV0` or `AIV1`.
    pub core: &'static str,
    /// Pipe.
    pub pipe: Pipe,
    /// CANN's name of the intrinsic.
    pub mnemonic: &'static str,
    /// Number of the instruction on its core.
    pub number: u64,
    /// When the pipe took it.
    pub start: f64,
    /// When the pipe took the next one at the earliest.
    pub free: f64,
    /// When its result was visible.
    pub done: f64,
    /// What it waited for.
    pub cause: Cause,
    /// Index of the event that this one waited for.
    pub before: Option<u32>,
    /// Bytes moved from or to GM.
    pub gm_bytes: u64,
}

/// Model time of one launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchReport {
    /// Name of the kernel.
    pub kernel: String,
    /// The SoC.
    pub soc: &'static Soc,
    /// Blocks launched.
    pub blocks: u32,
    /// Microseconds of the task outside its cores: before the first one starts and after the last one ends.
    pub launch_us: f64,
    /// From the start of the first core to the last result, in cycles.
    pub cycles: f64,
    /// By group and core.
    pub cores: Vec<CoreReport>,
    /// Traffic with GM.
    pub traffic: MemoryTraffic,
    /// Products on the Cube, in multiplications with addition.
    pub cube_macs: u64,
    /// Every instruction, when the device was asked for a trace.
    pub trace: Vec<TraceEvent>,
}

impl LaunchReport {
    /// Model time of the whole task in microseconds, launch included.
    pub fn task_us(&self) -> f64 {
        self.launch_us + self.cores_us()
    }

    /// Model time from the start of the first core to the last result, in microseconds.
    pub fn cores_us(&self) -> f64 {
        self.cycles / f64::from(self.soc.clock_mhz)
    }

    /// Model time of the slowest core, from its own start to its last result, in microseconds.
    pub fn core_us(&self) -> f64 {
        self.cores.iter().map(CoreReport::cycles).fold(0.0, f64::max) / f64::from(self.soc.clock_mhz)
    }

    /// Mean time of a core, from its own start to its last result, in microseconds; profilers call it the
    /// time of the AI cores.
    pub fn mean_core_us(&self) -> f64 {
        let sum: f64 = self.cores.iter().map(CoreReport::cycles).sum();
        sum / self.cores.len().max(1) as f64 / f64::from(self.soc.clock_mhz)
    }

    /// Floating-point operations of the Cube, two for each multiplication with addition.
    pub fn cube_flops(&self) -> f64 {
        2.0 * self.cube_macs as f64
    }

    /// Bytes between GM and the cores, both ways.
    pub fn gm_bytes(&self) -> u64 {
        self.traffic.read_bytes + self.traffic.written_bytes
    }

    /// Bytes between HBM and L2, both ways.
    pub fn hbm_bytes(&self) -> u64 {
        self.traffic.hbm_read_bytes + self.traffic.hbm_written_bytes
    }

    /// Share of the sectors read that L2 held; `None` when nothing was read.
    pub fn l2_hit_rate(&self) -> Option<f64> {
        let read = self.traffic.read_sectors;
        (read > 0).then(|| 1.0 - self.traffic.missed_sectors as f64 / read as f64)
    }

    /// Mean busy time of a pipe over the cores that have it and used it, in microseconds.
    pub fn mean_busy_us(&self, pipe: Pipe) -> f64 {
        let busy: Vec<f64> =
            self.cores.iter().map(|c| c.pipes[pipe as usize].busy).filter(|b| *b > 0.0).collect();
        if busy.is_empty() {
            return 0.0;
        }
        busy.iter().sum::<f64>() / busy.len() as f64 / f64::from(self.soc.clock_mhz)
    }
}
