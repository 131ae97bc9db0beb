//! `fastattention-lab calibrate`: published measurements of the 910B series next to the simulator's model
//! time.

mod rows;
mod runs;

use std::collections::BTreeSet;

use anyhow::{bail, Result};
use fastattention_cli::print;
use fastattention_cli::table::csv_line;
use rows::{Row, Run, Table};

/// What is run, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Calibrate {
    /// Also the runs that take longer than a few seconds.
    #[arg(long)]
    all: bool,
    /// Only rows whose id starts with this.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
    /// Comma-separated values, and no summary.
    #[arg(long)]
    csv: bool,
}

/// A published value and what the model makes of it, in the same unit.
struct Compared<'a> {
    run: &'a Run,
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
const MEDIAN: f64 = 0.07;

impl Calibrate {
    pub(crate) fn execute(self) -> Result<()> {
        let table = Table::read()?;
        if self.csv {
            print("id,metric,published,model,ratio,fitted,soc,what,source,note")?;
        } else {
            print(format_args!(
                "{:15} {:9} {:>12} {:>12} {:>6}  what is run; note",
                "id", "metric", "published", "model", "ratio"
            ))?;
        }
        let mut compared = Vec::new();
        for run in &table.run {
            let wanted: Vec<&Row> = run.row.iter().filter(|r| r.id.starts_with(&self.only)).collect();
            if wanted.is_empty() || run.is_long && !self.all {
                continue;
            }
            let measured = runs::measure(run)?;
            for row in wanted {
                let one = Compared { run, row, model: measured.value(row.metric, run.share) };
                self.print(&table, &one)?;
                compared.push(one);
            }
        }
        if compared.is_empty() {
            bail!("--only {:?}: no row of this selection starts with it", self.only);
        }
        if !self.csv {
            summary(&table, &compared)?;
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

/// Median and worst error, and what is not reproduced. Rows of other kernels than the published ones do not
/// count.
fn summary(table: &Table, compared: &[Compared<'_>]) -> Result<()> {
    let own: Vec<&Compared<'_>> = compared.iter().filter(|c| !c.run.is_other_kernel).collect();
    let error = |c: &Compared<'_>| (c.ratio() - 1.0).abs();
    let mut sorted = own.clone();
    sorted.sort_by(|a, b| error(a).total_cmp(&error(b)));
    if let (Some(middle), Some(worst)) = (sorted.get(sorted.len() / 2), sorted.last()) {
        let good = own.iter().filter(|c| error(c) <= TOLERANCE).count();
        print(format_args!(
            "\n{good} of {} values within {:.0} %; median error {:.1} % (aim {:.0} %), worst {:.1} % ({} {})",
            own.len(),
            100.0 * TOLERANCE,
            100.0 * error(middle),
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
