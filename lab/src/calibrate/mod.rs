//! `fastattention-lab calibrate`: published measurements of the 910B series next to the simulator's model
//! time, what they say about its parameters, and the same kernels on a chip.

mod chip;
mod fit;
mod rows;
mod runs;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};
use fastattention::Soc;
use fastattention_cli::chip::{description, kept};
use fastattention_cli::print;
use fastattention_cli::table::csv_line;
use rows::{PublishedRun, Row, Table};

/// What is run, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Calibrate {
    /// Rows to compare with, in the place of the built-in ones: a file as docs/calibration.md describes it.
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// TOML file with figures in the place of those of cann.toml: those that differ, or further SoCs.
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    soc_file: Option<PathBuf>,
    /// Also the runs that take longer than a few seconds.
    #[arg(long)]
    all: bool,
    /// Only rows whose id starts with this.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
    /// Comma-separated values, and no summary.
    #[arg(long)]
    csv: bool,
    /// Tell how the rows follow these numbers of cann.toml, and which values would suit them better: names
    /// as timing.gm.outstanding or soc.Ascend910B2.memory.hbm_gbps, with commas between them. Nothing is
    /// written.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["csv", "device"])]
    fit: Vec<String>,
    /// Time the kernels of the rows on this device, npu:0 for example, beside model time of the same chip.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Take a simulated device to try the command: its times are the host's and say nothing about a chip.
    #[arg(long, requires = "device")]
    rehearse: bool,
    /// Launches of each kernel on the device before those that are timed.
    #[arg(long, requires = "device", default_value_t = 5)]
    warm_up: u32,
    /// Launches of each kernel on the device that are timed; the median counts.
    #[arg(
        long,
        requires = "device",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    repetitions: u32,
}

/// A published value and what the model makes of it, in the same unit.
struct Compared<'a> {
    run: &'a PublishedRun,
    row: &'a Row,
    model: f64,
}

impl Compared<'_> {
    fn ratio(&self) -> f64 {
        self.model / self.row.value
    }
}

/// Largest error of a row that counts as reproduced, and the aim for the median.
const TOLERANCE: f64 = 0.15;
const MEDIAN: f64 = 0.05;

impl Calibrate {
    pub(crate) fn execute(self) -> Result<()> {
        let table = Table::read(self.rows.as_deref())?;
        let wanted = self.wanted(&table)?;
        if let Some(name) = &self.device {
            let timing = chip::Timing { warm_up: self.warm_up, repetitions: self.repetitions };
            let device = chip::open(name, self.rehearse)?;
            return chip::execute(&table, &wanted, &device, timing, self.csv);
        }
        let description = description(self.soc_file.as_deref())?;
        if self.fit.is_empty() {
            return self.compare(&table, &wanted, &description.socs()?);
        }
        fit::execute(&table, &wanted, &description, &self.fit)
    }

    /// The runs with the rows that were asked for.
    fn wanted<'a>(&self, table: &'a Table) -> Result<Vec<(&'a PublishedRun, Vec<&'a Row>)>> {
        let runs = table.run.iter().filter(|run| self.all || !run.is_long);
        let rows = |run: &'a PublishedRun| run.row.iter().filter(|r| r.id.starts_with(&self.only)).collect();
        let wanted: Vec<(&PublishedRun, Vec<&Row>)> =
            runs.map(|run| (run, rows(run))).filter(|(_, rows): &(_, Vec<_>)| !rows.is_empty()).collect();
        if wanted.is_empty() {
            bail!("--only {:?}: no row of this selection starts with it", self.only);
        }
        Ok(wanted)
    }

    fn compare(&self, table: &Table, wanted: &[(&PublishedRun, Vec<&Row>)], socs: &[Soc]) -> Result<()> {
        if self.csv {
            print("id,metric,published,model,ratio,fitted,soc,what,source,note")?;
        } else {
            print(format_args!(
                "{:15} {:9} {:>12} {:>12} {:>6}  what is run; note",
                "id", "metric", "published", "model", "ratio"
            ))?;
        }
        let mut compared = Vec::new();
        for (run, rows) in wanted {
            let modelled = model_on(socs, run)?;
            for row in rows {
                let one = Compared { run, row, model: model_value(&modelled, run, row) };
                self.print(table, &one)?;
                compared.push(one);
            }
        }
        if !self.csv {
            summary(table, &compared)?;
        }
        Ok(())
    }

    fn print(&self, table: &Table, one: &Compared<'_>) -> Result<()> {
        let Compared { run, row, model } = one;
        let (metric, ratio) = (row.metric.name(), one.ratio());
        if self.csv {
            let cells = [
                row.id.clone(),
                metric.to_owned(),
                row.value.to_string(),
                format!("{model:.3}"),
                format!("{ratio:.4}"),
                (!run.is_other_kernel).to_string(),
                run.soc.clone(),
                run.what.clone(),
                table.source(run).to_owned(),
                run.note.clone(),
            ];
            return print(csv_line(cells).trim_end());
        }
        let mark = if run.is_other_kernel { " *" } else { "" };
        let note = if run.note.is_empty() { String::new() } else { format!("; {}", run.note) };
        print(format_args!(
            "{:15} {metric:9} {:12.3} {model:12.3} {ratio:6.3}  {}{note}{mark}",
            row.id, row.value, run.what
        ))
    }
}

/// A run in model time, on its SoC as `socs` describe it.
fn model_on(socs: &[Soc], run: &PublishedRun) -> Result<runs::Modelled> {
    let soc = Soc::find(socs, &run.soc).with_context(|| run.what.clone())?;
    runs::model(run, kept(soc.clone()))
}

fn model_value(modelled: &runs::Modelled, run: &PublishedRun, row: &Row) -> f64 {
    modelled.value(row.metric, run.share)
}

/// The middle one; of an even number, the larger one of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// How many errors count as none.
fn within(errors: &[f64]) -> usize {
    errors.iter().filter(|error| **error <= TOLERANCE).count()
}

/// Median and worst error, and what is not reproduced. Rows of other kernels than the published ones do not
/// count.
fn summary(table: &Table, compared: &[Compared<'_>]) -> Result<()> {
    let own: Vec<&Compared<'_>> = compared.iter().filter(|c| !c.run.is_other_kernel).collect();
    let error = |c: &Compared<'_>| (c.ratio() - 1.0).abs();
    let errors: Vec<f64> = own.iter().map(|c| error(c)).collect();
    if let Some(worst) = own.iter().max_by(|a, b| error(a).total_cmp(&error(b))) {
        print(format_args!(
            "\n{} of {} values within {:.0} %; median error {:.1} % (aim {:.0} %), worst {:.1} % ({} {})",
            within(&errors),
            own.len(),
            100.0 * TOLERANCE,
            100.0 * median(&errors),
            100.0 * MEDIAN,
            100.0 * error(worst),
            worst.row.id,
            worst.row.metric.name()
        ))?;
    }
    let outside: BTreeSet<&str> =
        own.iter().filter(|c| error(c) > TOLERANCE).map(|c| c.row.id.as_str()).collect();
    for id in outside {
        let why = table.unmet.get(id).map_or("not explained", String::as_str);
        print(format_args!("outside: {id}: {why}"))?;
    }
    if own.len() < compared.len() {
        print("* another kernel than the published one: for orientation, not counted")?;
    }
    for left in &table.left_out {
        print(format_args!("not run: {}: {}", left.ids, left.why))?;
    }
    Ok(())
}
