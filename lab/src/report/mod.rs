//! `fastattention-lab report`: the tables and charts of `docs/performance`.

mod figure;
mod layers;
mod readme;
mod topics;

use std::cell::LazyCell;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use fastattention::Soc;
use fastattention_cli::progress::Progress;

use fastattention_cli::output::{Folder, Output};
use fastattention_cli::pool;
use fastattention_cli::print;
use fastattention_cli::table::{self, Row};
use fastattention_cli::workload::Workload;
use figure::{Results, Section};
use readme::Marked;
use topics::Topic;

/// Where the files lie that the tables are made of.
#[derive(clap::Args)]
pub(crate) struct Report {
    /// Topics, with commas between them [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Topic>,
    /// Leave out what takes more rows of q or k.
    #[arg(long, default_value_t = 32768)]
    max_seqlen: u32,
    /// Leave out what takes more than 4096 rows of q or k: seconds instead of minutes.
    #[arg(long, conflicts_with = "max_seqlen")]
    quick: bool,
    /// SoC: Ascend910B1 to Ascend910B4. The maker's name may be left out: 910B2.
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
    /// Cases simulated at a time [default: one for each core of the host].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Markdown file whose lines between `<!-- model-time:begin -->` and `<!-- model-time:end -->` are
    /// replaced by the tables; with
    /// `--only` the sections of other topics stay.
    #[arg(long)]
    readme: Option<PathBuf>,
    /// Folder for a CSV file of each topic, with every case that was run.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Folder for a chart of each topic.
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Report {
    pub(crate) fn execute(self) -> Result<()> {
        let readme = self.readme.as_deref().map(Marked::find).transpose()?;
        let soc = Soc::by_name(&self.soc)?;
        let sections = self.sections(soc)?;
        let files = self.files(&sections)?;
        let mut workloads: Vec<Workload> = Vec::new();
        for workload in sections.iter().flat_map(Section::workloads) {
            if !workloads.contains(&workload) {
                workloads.push(workload);
            }
        }
        let threads = self
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
        let results = run(&workloads, threads)?;
        let layers = self.layers(soc, threads)?;
        ensure!(
            !sections.is_empty() || layers.is_some(),
            "no topic has a case with at most {} rows of q and k",
            self.max_seqlen()
        );
        let mut markdown = String::from("Model time of the simulator, never measured on a chip.\n");
        for section in &sections {
            let _ = write!(markdown, "\n{}", section.markdown(&results)?);
        }
        if let Some(layers) = &layers {
            let _ = write!(markdown, "\n{}", layers.markdown);
        }
        files.write(&sections, &results, layers.as_ref())?;
        if let Some(readme) = readme {
            if self.only.is_empty() {
                readme.replace(&markdown)?;
            } else {
                readme.update(&markdown)?;
            }
        }
        print(markdown.trim_end())
    }

    fn max_seqlen(&self) -> u32 {
        if self.quick {
            4096
        } else {
            self.max_seqlen
        }
    }

    fn topics(&self) -> Vec<Topic> {
        if self.only.is_empty() {
            Topic::all()
        } else {
            self.only.clone()
        }
    }

    fn sections(&self, soc: &'static Soc) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        for topic in self.topics() {
            sections.extend(topic.section(soc, self.max_seqlen())?);
        }
        Ok(sections)
    }

    /// The files to write, checked before the work begins.
    fn files(&self, sections: &[Section]) -> Result<Files> {
        let has_charts = self.topics().iter().any(|topic| *topic != Topic::Layer);
        ensure!(self.svg.is_none() || has_charts, "--svg given, none wanted: the topic layer has no chart");
        let [csv, svg] = [&self.csv, &self.svg].map(|path| path.as_deref().map(Folder::make).transpose());
        let (csv, svg) = (csv?, svg?);
        let file = |folder: &Option<Folder>, name: String| -> Result<Option<Output>> {
            folder.as_ref().map(|folder| folder.file(&name)).transpose()
        };
        let mut files = Vec::new();
        for section in sections {
            let csv = file(&csv, format!("{}.csv", section.file))?;
            files.push(SectionFiles { csv, svg: file(&svg, format!("{}.svg", section.file))? });
        }
        let has_layers = self.topics().contains(&Topic::Layer);
        let layer_csv = if has_layers { file(&csv, "layer.csv".to_owned())? } else { None };
        Ok(Files { sections: files, layer_csv })
    }

    fn layers(&self, soc: &Soc, threads: usize) -> Result<Option<layers::Table>> {
        if !self.topics().contains(&Topic::Layer) {
            return Ok(None);
        }
        let progress = Progress::of("layers in model time, %", 100);
        let table = layers::table(soc, self.max_seqlen(), threads, |share| show(&progress, share));
        progress.finish();
        table
    }
}

/// Files that were asked for.
struct Files {
    /// In the order of the sections.
    sections: Vec<SectionFiles>,
    layer_csv: Option<Output>,
}

impl Files {
    fn write(&self, sections: &[Section], results: &Results, layers: Option<&layers::Table>) -> Result<()> {
        // Asks git only if a CSV file is written.
        let made_from = LazyCell::new(MadeFrom::find);
        for (section, files) in sections.iter().zip(&self.sections) {
            if let Some(csv) = &files.csv {
                let rows = table::csv(results.of(section)?);
                csv.write_bytes(made_from.stamped(&rows).as_bytes())?;
            }
            if let Some(svg) = &files.svg {
                svg.write_bytes(section.svg(results)?.as_bytes())?;
            }
        }
        if let Some((csv, layers)) = self.layer_csv.as_ref().zip(layers) {
            csv.write_bytes(made_from.stamped(&layers.csv).as_bytes())?;
        }
        Ok(())
    }
}

/// Files of one section.
struct SectionFiles {
    csv: Option<Output>,
    svg: Option<Output>,
}

/// Runs all cases.
fn run(workloads: &[Workload], threads: usize) -> Result<Results> {
    let progress = Progress::of("report in model time, %", 100);
    let rows = pool::run(workloads, threads, Workload::host_cost, time, |share| show(&progress, share));
    progress.finish();
    Ok(Results::new(rows?))
}

fn time(workload: &Workload) -> Result<Row> {
    let reports = workload.time(false).with_context(|| workload.to_string())?;
    ensure!(!reports.is_empty(), "{workload}: no rows, so no launch");
    Ok(Row::new(*workload, &reports))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 100")]
fn show(progress: &Progress, share: f64) {
    progress.set((100.0 * share) as u64);
}

/// What the figures were made from.
struct MadeFrom {
    /// The commit of the folder that the command runs in, with `-dirty` where files differ from it.
    commit: String,
    /// The commit's date.
    date: String,
}

impl MadeFrom {
    fn find() -> Self {
        Self {
            commit: git(&["describe", "--always", "--dirty", "--exclude", "*"]),
            date: git(&["show", "--no-patch", "--format=%cs", "HEAD"]),
        }
    }

    /// A CSV text with two more columns.
    fn stamped(&self, csv: &str) -> String {
        let Self { commit, date } = self;
        let row = |(i, line): (usize, &str)| match i {
            0 => format!("{line},commit,commit_date\n"),
            _ => format!("{line},{commit},{date}\n"),
        };
        csv.lines().enumerate().map(row).collect()
    }
}

/// What git prints, or `unknown`: results can be made where there is no git.
fn git(args: &[&str]) -> String {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::MadeFrom;

    #[test]
    fn every_row_of_a_csv_file_tells_what_it_was_made_from() {
        let made_from = MadeFrom { commit: "abc1234".to_owned(), date: "2026-11-29".to_owned() };
        assert_eq!(
            made_from.stamped("a,b\n1,2\n3,4\n"),
            "a,b,commit,commit_date\n1,2,abc1234,2026-11-29\n3,4,abc1234,2026-11-29\n"
        );
    }
}
