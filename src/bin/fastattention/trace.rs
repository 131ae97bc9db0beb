//! `fastattention trace`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Result};
use fastattention::sim::time::{LaunchReport, Summary, TraceDialect, TraceOptions, TraceWritten};
use flate2::write::GzEncoder;
use flate2::Compression;

use crate::output::Output;
use crate::progress::{bar, spinner};
use crate::shape::ShapeArgs;
use crate::workload::{Op, Workload};

/// What to run and what to write about it.
#[derive(clap::Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    shape: ShapeArgs,
    /// Kernel to run.
    #[arg(long, value_enum, default_value_t = Op::FlashFwd)]
    kernel: Op,
    /// Chrome trace to write: .json, or .json.gz for a compressed one.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Print pipes, stalls, traffic, roofline and critical path.
    #[arg(long)]
    summary: bool,
    /// Print the same as JSON, with every core.
    #[arg(long, conflicts_with = "summary")]
    json: bool,
    /// Integers instead of names for cores and pipes in the trace, named by metadata.
    #[arg(long)]
    integer_ids: bool,
    /// Groups of cores to write, for example 0,1 [default: all].
    #[arg(long, value_delimiter = ',')]
    cores: Option<Vec<u32>>,
    /// Longest trace in megabytes before compression; cores are left out beyond it, and the file says which.
    #[arg(long, default_value_t = 100)]
    max_mb: u64,
    /// Start with an empty L2 instead of one that an earlier run has filled.
    #[arg(long)]
    cold: bool,
}

impl Trace {
    pub(crate) fn execute(self) -> Result<()> {
        if self.output.is_none() && !self.summary && !self.json {
            bail!("nothing to do; wanted --output, --summary or --json");
        }
        let output = self.output.as_deref().map(|path| Output::check(path, None)).transpose()?;
        let workload = Workload {
            op: self.kernel,
            problem: self.shape.problem(),
            soc: self.shape.soc()?,
            tiling: None,
            sample_rows: None,
            is_warm: !self.cold,
        };
        workload.check()?;
        let progress = spinner(&format!("{} in model time", self.kernel));
        let reports = workload.time(true);
        progress.finish_and_clear();
        let reports = reports?;
        ensure!(!reports.is_empty(), "the problem has no rows: there was no launch to trace");

        if let (Some(path), Some(output)) = (&self.output, output) {
            let report = only(&reports)?;
            let written = self.write(report, path, &output)?;
            // JSON on stdout stays JSON.
            if !self.json {
                crate::print(format_args!("{}: {}", path.display(), told(&written)))?;
            }
        }
        let summaries: Vec<Summary> = reports.iter().map(LaunchReport::summary).collect();
        if self.json {
            crate::print(serde_json::to_string_pretty(&summaries)?)?;
        }
        if self.summary {
            let texts: Vec<String> = summaries.iter().map(Summary::to_string).collect();
            crate::print(texts.join("\n").trim_end())?;
        }
        Ok(())
    }

    fn write(&self, report: &LaunchReport, path: &Path, output: &Output) -> Result<TraceWritten> {
        let options = TraceOptions {
            dialect: if self.integer_ids { TraceDialect::Integer } else { TraceDialect::Vendor },
            groups: self.cores.clone(),
            max_bytes: self.max_mb.saturating_mul(1_000_000),
        };
        let progress = bar("writing", report.trace.len() as u64);
        let mut step = |done| progress.set_position(done);
        let written = output.replace(|file: &mut File| {
            let mut to = BufWriter::new(file);
            if path.extension().is_some_and(|ending| ending == "gz") {
                let mut compressed = GzEncoder::new(to, Compression::default());
                let written = report.write_trace(&mut compressed, &options, &mut step)?;
                compressed.finish()?.flush()?;
                Ok(written)
            } else {
                let written = report.write_trace(&mut to, &options, &mut step)?;
                to.flush()?;
                Ok(written)
            }
        });
        progress.finish_and_clear();
        written
    }
}

/// A trace file holds one launch.
fn only(reports: &[LaunchReport]) -> Result<&LaunchReport> {
    let [report] = reports else {
        let kernels: Vec<_> = reports.iter().map(|r| r.kernel.as_str()).collect();
        bail!("a trace holds one launch, this operator has {}: {}", kernels.len(), kernels.join(", "));
    };
    Ok(report)
}

fn told(written: &TraceWritten) -> String {
    let mut text = format!("{} instructions, {} arrows", written.instructions, written.flows);
    if let Some(left_out) = &written.left_out {
        text.push_str(&format!("; left out: {left_out}"));
    }
    text
}
