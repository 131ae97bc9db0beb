//! The rows: published values, what is run for them, and where they were published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use fastattention::sim::Pipe;
use serde::Deserialize;

/// `lab/calibration.toml`, or a file of the same form (docs/calibration.md).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    sources: BTreeMap<String, String>,
    /// Reasons for rows that are not met, by id.
    #[serde(default)]
    pub(super) unmet: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) left_out: Vec<LeftOut>,
    pub(super) run: Vec<PublishedRun>,
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
pub(super) struct PublishedRun {
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
    /// Before each launch, L2 is filled with written lines, as benchmarks do that write a large buffer to
    /// have L2 cold.
    #[serde(default)]
    pub(super) is_flushed: bool,
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
        #[serde(default)]
        past_l2: bool,
    },
    /// f16 product.
    Matmul {
        mnk: [u32; 3],
        /// B as [k, n] instead of [n, k].
        #[serde(default)]
        is_b_kn: bool,
        /// C in f32 instead of f16.
        #[serde(default)]
        is_c_f32: bool,
        block: [u32; 2],
        tile: [u32; 3],
        step_k: [u32; 2],
        l1_buffers: u32,
        /// Each operand has a half of L1 to itself.
        #[serde(default)]
        is_l1_by_operand: bool,
        #[serde(default)]
        unit_flag: bool,
        /// Blocks down a column before the next one.
        band: u32,
        cores: u32,
    },
    /// Sum of two vectors of f16.
    Add {
        n: u64,
        tile: u32,
        buffers: u32,
        cores: u32,
        y_gap_bytes: u32,
        #[serde(default)]
        past_l2: bool,
    },
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
    /// The slowest core, from its start to its last result.
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

/// Most launches of one run.
const MAX_LAUNCHES: u32 = 100;

impl Table {
    /// The built-in table, or that of a file.
    ///
    /// # Errors
    /// The file cannot be read, is not of this form, or has a value that no row can have.
    pub(super) fn read(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else {
            return Self::parse(include_str!("../../calibration.toml"))
                .context("lab/calibration.toml, which is part of this program");
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Self = toml::from_str(text)?;
        ensure!(!table.run.is_empty(), "run = [] given, at least one wanted");
        table.run.iter().try_for_each(PublishedRun::check)?;
        let ids: BTreeSet<&String> = table.run.iter().flat_map(|run| &run.row).map(|row| &row.id).collect();
        if let Some(id) = table.unmet.keys().find(|id| !ids.contains(id)) {
            anyhow::bail!("unmet.{id:?} given, no row has this id");
        }
        Ok(table)
    }

    /// Where the values of a run were published.
    pub(super) fn source<'a>(&'a self, run: &'a PublishedRun) -> &'a str {
        self.sources.get(&run.source).unwrap_or(&run.source)
    }
}

impl PublishedRun {
    fn check(&self) -> Result<()> {
        let PublishedRun { what, share, launches, row, .. } = self;
        ensure!(
            is_line(what) && is_line(&self.soc) && is_line(&self.source),
            "what = {what:?}, soc = {:?}, source = {:?} given; text of one line wanted",
            self.soc,
            self.source
        );
        ensure!(share.is_finite() && *share > 0.0, "{what}: share = {share} given, a number above 0 wanted");
        ensure!(
            (1..=MAX_LAUNCHES).contains(launches),
            "{what}: launches = {launches} given, from 1 to {MAX_LAUNCHES} wanted"
        );
        ensure!(!row.is_empty(), "{what}: row = [] given, at least one wanted");
        for Row { id, value, .. } in row {
            ensure!(is_line(id), "{what}: id = {id:?} given, text of one line wanted");
            ensure!(
                value.is_finite() && *value > 0.0,
                "{id}: value = {value} given, a number above 0 wanted"
            );
        }
        Ok(())
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    const RUN: &str = "[[run]]\nwhat = \"w\"\nsoc = \"910B2\"\nsource = \"s\"\n\
                       kernel = { add = { n = 8, tile = 16, buffers = 1, cores = 1, y_gap_bytes = 0 } }\n\
                       row = [{ id = \"i\", metric = \"core\", value = 1.5 }]\n";

    #[test]
    fn a_file_needs_only_its_runs() {
        let table = Table::parse(RUN).unwrap();
        assert_eq!((table.run[0].launches, table.run[0].share, table.source(&table.run[0])), (1, 1.0, "s"));
        let shipped = Table::read(None).unwrap().run.len();
        assert!(shipped > 50, "{shipped} runs");
    }

    #[test]
    fn values_that_no_row_has_are_refused() {
        for (from, to, wanted) in [
            ("1.5", "0.0", "i: value = 0 given, a number above 0 wanted"),
            ("1.5", "-1", "i: value = -1 given, a number above 0 wanted"),
            ("1.5", "nan", "i: value = NaN given, a number above 0 wanted"),
            ("1.5", "inf", "i: value = inf given, a number above 0 wanted"),
            ("\"s\"", "\"s\"\nshare = 0", "w: share = 0 given, a number above 0 wanted"),
            ("\"s\"", "\"s\"\nlaunches = 0", "w: launches = 0 given, from 1 to 100 wanted"),
            ("\"i\"", "\"a\\nb\"", "w: id = \"a\\nb\" given, text of one line wanted"),
            ("[[run]]", "[unmet]\nx = \"y\"\n[[run]]", "unmet.\"x\" given, no row has this id"),
        ] {
            let error = Table::parse(&RUN.replacen(from, to, 1)).err().unwrap().to_string();
            assert_eq!(error, wanted);
        }
        for (from, to) in
            [("\"core\"", "\"cores\""), ("n = 8", "n = -8"), ("add", "sub"), ("[[run]]", "x = 1\n[[run]]")]
        {
            let error = Table::parse(&RUN.replacen(from, to, 1)).err().unwrap().to_string();
            assert!(error.starts_with("TOML parse error at line "), "{error}");
        }
    }
}
