//! `fastattention trace`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use fastattention::sim::time::{LaunchReport, Summary, TraceDialect, TraceOptions, TraceWritten};
use fastattention_cli::output::Output;
use fastattention_cli::print;
use fastattention_cli::progress::Progress;
use fastattention_cli::sweep::{Defaults, Sweep};
use flate2::write::GzEncoder;
use flate2::Compression;
use serde_json::json;

/// What to run and what to write about it.
#[derive(clap::Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    case: Sweep,
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
    #[arg(long, requires = "output")]
    integer_ids: bool,
    /// Groups of cores to write, for example 0,1 [default: all].
    #[arg(long, value_delimiter = ',', requires = "output")]
    groups: Option<Vec<u32>>,
    /// Longest trace in megabytes before compression; cores are left out beyond it, and the file says which.
    #[arg(
        long,
        default_value_t = 100,
        requires = "output",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_mb: u64,
}

impl Trace {
    pub(crate) fn execute(self) -> Result<()> {
        if self.output.is_none() && !self.summary && !self.json {
            bail!("none of --output, --summary and --json given, at least one wanted");
        }
        let output = self.output.as_deref().map(|path| Output::check(path, None)).transpose()?;
        let workload = self.case.workload(&Defaults::ONE)?;
        let progress = Progress::new(format!("{} in model time", workload.op));
        let reports = workload.time(true);
        progress.finish();
        let reports = reports?;
        if let (Some(path), Some(output)) = (&self.output, output) {
            let written = self.write(only(&reports)?, path, &output)?;
            // JSON on stdout stays JSON.
            if !self.json {
                print(format_args!("{}: {}", path.display(), told(&written)))?;
            }
        }
        let summaries: Vec<Summary> = reports.iter().map(LaunchReport::summary).collect();
        if self.json {
            print(serde_json::to_string_pretty(&summaries)?)?;
        }
        if self.summary {
            let texts: Vec<String> = summaries.iter().map(Summary::to_string).collect();
            let text = if texts.is_empty() { NO_LAUNCH.to_owned() } else { texts.join("\n") };
            print(text.trim_end())?;
        }
        Ok(())
    }

    /// Without a launch the trace has no events, and says so.
    fn write(&self, report: Option<&LaunchReport>, path: &Path, output: &Output) -> Result<TraceWritten> {
        let options = TraceOptions {
            dialect: if self.integer_ids { TraceDialect::Integer } else { TraceDialect::Vendor },
            groups: self.groups.clone(),
            max_bytes: self.max_mb.saturating_mul(1_000_000),
        };
        let progress = Progress::of("writing", report.map_or(0, |report| report.trace.len() as u64));
        let mut step = |done| progress.set(done);
        let mut events = |to: &mut dyn Write| -> Result<TraceWritten> {
            if let Some(report) = report {
                return Ok(report.write_trace(to, &options, &mut step)?);
            }
            let empty = json!({"otherData": {"left_out": "nothing", "launch": NO_LAUNCH}, "traceEvents": []});
            serde_json::to_writer(to, &empty)?;
            Ok(TraceWritten { instructions: 0, flows: 0, left_out: None })
        };
        let written = output.replace(|file: &mut File| {
            let mut to = BufWriter::new(file);
            if path.extension().is_some_and(|ending| ending == "gz") {
                let mut compressed = GzEncoder::new(to, Compression::default());
                let written = events(&mut compressed)?;
                compressed.finish()?.flush()?;
                Ok(written)
            } else {
                let written = events(&mut to)?;
                to.flush()?;
                Ok(written)
            }
        });
        progress.finish();
        written
    }
}

/// What is told of a problem without rows.
const NO_LAUNCH: &str = "no launch: the problem has no rows";

/// A trace file holds one launch; `None` when there was none.
fn only(reports: &[LaunchReport]) -> Result<Option<&LaunchReport>> {
    if let [] | [_] = reports {
        return Ok(reports.first());
    }
    let kernels: Vec<_> = reports.iter().map(|r| r.kernel.as_str()).collect();
    bail!(
        "an operator with {} launches given ({}), one with a single launch wanted, as a trace holds one",
        kernels.len(),
        kernels.join(", ")
    );
}

fn told(written: &TraceWritten) -> String {
    let mut text = format!("{} instructions, {} arrows", written.instructions, written.flows);
    if let Some(left_out) = &written.left_out {
        text.push_str(&format!("; left out: {left_out}"));
    }
    text
}
