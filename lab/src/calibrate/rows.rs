//! The rows: published values, what is run for them, and where they were published.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fastattention::sim::Pipe;
use serde::Deserialize;

/// `lab/calibration.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    sources: BTreeMap<String, String>,
    /// Reasons for rows that are not met, by id.
    pub(super) unmet: BTreeMap<String, String>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) run: Vec<Run>,
}

/// Rows that nothing is run for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeftOut {
    pub(super) ids: String,
    pub(super) why: String,
}

/// One run and the rows that it answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) what: String,
    pub(super) soc: String,
    source: String,
    /// More than a few seconds on the host.
    #[serde(default)]
    pub(super) is_long: bool,
    /// The published kernel is another one.
    #[serde(default)]
    pub(super) is_other_kernel: bool,
    /// Times that the published run repeats, on each core, what is run here.
    #[serde(default = "one")]
    pub(super) share: f64,
    /// Launches; the last one counts, so that two find L2 warm.
    #[serde(default = "once")]
    pub(super) launches: u32,
    #[serde(default)]
    pub(super) note: String,
    pub(super) kernel: Kernel,
    pub(super) row: Vec<Row>,
}

fn one() -> f64 {
    1.0
}

fn once() -> u32 {
    1
}

/// A kernel and its parameters, as the operators of the crate take them.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Kernel {
    /// Reads of a matrix of 16-bit elements.
    Read {
        to_l1: bool,
        shape: [u32; 2],
        tile: [u32; 2],
        cores: u32,
        #[serde(default)]
        order: Order,
        slice_cols: Option<u32>,
        #[serde(default = "once")]
        passes: u32,
    },
    /// f16 product with f16 result, B as [n, k].
    Matmul {
        mnk: [u32; 3],
        block: [u32; 2],
        tile: [u32; 3],
        step_k: [u32; 2],
        l1_buffers: u32,
        #[serde(default)]
        unit_flag: bool,
        /// Blocks down a column before the next one.
        band: u32,
        cores: u32,
    },
    /// Sum of two vectors of f16.
    Add { n: u64, tile: u32, buffers: u32, cores: u32, y_gap_bytes: u32 },
    /// One vector instruction; cycles without those of the kernel around it.
    Vector {
        op: String,
        f32: bool,
        count: u32,
        repeat: u8,
        /// dst, src0, src1 in UB.
        at: [u32; 3],
        /// Block and repeat stride of src0.
        #[serde(default = "dense")]
        src0: [u8; 2],
    },
    /// Attention of one head of 128, f16.
    Attention { seqlen_q: u32, seqlen_k: u32 },
}

fn dense() -> [u8; 2] {
    [1, 8]
}

/// Which core reads what.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    #[default]
    Own,
    All,
    Rotated,
}

/// A published value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) metric: Metric,
    pub(super) value: f64,
}

/// What a value says: microseconds unless the name says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Metric {
    /// The task, launch included.
    Task,
    /// From the first instruction to the last result.
    Core,
    /// Busy time of a pipe, mean of the cores.
    M,
    Mte1,
    Mte2,
    Mte3,
    Fix,
    V,
    /// GB/s read.
    Gbps,
    /// Cycles of the vector unit.
    VCycles,
    /// Cycles of MTE2.
    Mte2Cycles,
}

impl Metric {
    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Task => "task us",
            Metric::Core => "core us",
            Metric::M => "M us",
            Metric::Mte1 => "MTE1 us",
            Metric::Mte2 => "MTE2 us",
            Metric::Mte3 => "MTE3 us",
            Metric::Fix => "FIX us",
            Metric::V => "V us",
            Metric::Gbps => "GB/s",
            Metric::VCycles => "V cycles",
            Metric::Mte2Cycles => "MTE2 cyc.",
        }
    }

    pub(super) fn pipe(self) -> Option<Pipe> {
        match self {
            Metric::M => Some(Pipe::M),
            Metric::Mte1 => Some(Pipe::Mte1),
            Metric::Mte2 | Metric::Mte2Cycles => Some(Pipe::Mte2),
            Metric::Mte3 => Some(Pipe::Mte3),
            Metric::Fix => Some(Pipe::Fix),
            Metric::V | Metric::VCycles => Some(Pipe::V),
            Metric::Task | Metric::Core | Metric::Gbps => None,
        }
    }
}

impl Table {
    pub(super) fn read() -> Result<Self> {
        toml::from_str(include_str!("../../calibration.toml"))
            .context("lab/calibration.toml, which is part of this program")
    }

    /// Where the values of a run were published.
    pub(super) fn source<'a>(&'a self, run: &'a Run) -> &'a str {
        self.sources.get(&run.source).unwrap_or(&run.source)
    }
}
