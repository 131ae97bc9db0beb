//! Tables whose figures are computed from cases in model time.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::chart::{Axis, Level, Lines, Marks, Points};
use fastattention_cli::table::Row;
use fastattention_cli::workload::Workload;

/// What a cell shows.
#[derive(Clone, Debug)]
pub(super) enum Figure {
    /// Time of the cores, all launches together, in microseconds.
    Us(Workload),
    /// The same, only of launches of kernels with this beginning of their name.
    KernelUs(Workload, &'static str),
    /// Useful operations a second, in % of the peak of all Cubes.
    PeakPercent(Workload),
    /// A number that takes no simulation.
    Given(f64),
    Sum(Box<[Figure; 2]>),
    Quotient(Box<[Figure; 2]>),
}

impl Figure {
    pub(super) fn plus(self, other: Figure) -> Figure {
        Figure::Sum(Box::new([self, other]))
    }

    pub(super) fn over(self, other: Figure) -> Figure {
        Figure::Quotient(Box::new([self, other]))
    }

    fn workloads(&self) -> Vec<Workload> {
        match self {
            Figure::Us(w) | Figure::KernelUs(w, _) | Figure::PeakPercent(w) => vec![*w],
            Figure::Given(_) => Vec::new(),
            Figure::Sum(parts) | Figure::Quotient(parts) => {
                parts.iter().flat_map(Figure::workloads).collect()
            }
        }
    }

    fn value(&self, results: &Results) -> Result<f64> {
        Ok(match self {
            Figure::Us(w) => results.row(w)?.core_us,
            Figure::KernelUs(w, beginning) => {
                let launches = &results.row(w)?.launches;
                launches.iter().filter(|(kernel, _)| kernel.starts_with(beginning)).map(|(_, us)| us).sum()
            }
            Figure::PeakPercent(w) => results.row(w)?.peak_percent(),
            Figure::Given(value) => *value,
            Figure::Sum(parts) => parts[0].value(results)? + parts[1].value(results)?,
            Figure::Quotient(parts) => parts[0].value(results)? / parts[1].value(results)?,
        })
    }
}

/// A figure for every length.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What and in which unit.
    pub(super) label: String,
    /// Decimals.
    pub(super) decimals: usize,
    pub(super) is_charted: bool,
    /// By length; `None` where there is nothing to tell.
    pub(super) cells: Vec<Option<Figure>>,
}

/// How a section is drawn, and what stands beside its lines.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What the values are.
    pub(super) y_desc: &'static str,
    pub(super) axis: Axis,
    pub(super) levels: Vec<Level>,
    pub(super) marks: &'static [Marks],
}

impl Chart {
    /// Times, without anything beside them.
    pub(super) const US: Chart =
        Chart { y_desc: "model time, us", axis: Axis::Logarithmic, levels: Vec::new(), marks: &[] };
}

/// A table with a column for each length.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Name of its files, without ending.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    /// What is compared with what, and how.
    pub(super) about: String,
    pub(super) chart: Chart,
    pub(super) seqlens: Vec<u32>,
    pub(super) lines: Vec<Line>,
}

impl Section {
    pub(super) fn workloads(&self) -> Vec<Workload> {
        self.figures().flat_map(Figure::workloads).collect()
    }

    fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.lines.iter().flat_map(|line| line.cells.iter().flatten())
    }

    pub(super) fn markdown(&self, results: &Results) -> Result<String> {
        let Self { title, about, seqlens, .. } = self;
        let lengths: Vec<_> = seqlens.iter().map(u32::to_string).collect();
        let mut text = format!("### {title}\n\n{about}\n\n| seqlen | {} |\n", lengths.join(" | "));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(seqlens.len()));
        for line in self.lines.iter().filter(|line| line.cells.iter().any(Option::is_some)) {
            let mut cells = Vec::new();
            for figure in &line.cells {
                cells.push(match figure {
                    None => String::new(),
                    Some(figure) => {
                        let mark = if figure.workloads().iter().any(Workload::is_sample) { " *" } else { "" };
                        format!("{:.*}{mark}", line.decimals, figure.value(results)?)
                    }
                });
            }
            let _ = writeln!(text, "| {} | {} |", line.label, cells.join(" | "));
        }
        Ok(text)
    }

    pub(super) fn svg(&self, results: &Results) -> Result<String> {
        let &Chart { y_desc, axis, ref levels, marks } = &self.chart;
        let caption = format!("{} (model time, not measured)", self.title);
        let series = self.series(results)?;
        Lines { caption, x_desc: "seqlen", y_desc: y_desc.to_owned(), axis, series, levels, marks }.svg()
    }

    /// What the chart shows: lines of lengths and values.
    fn series(&self, results: &Results) -> Result<Vec<(String, Points)>> {
        let mut series = Vec::new();
        for line in self.lines.iter().filter(|line| line.is_charted) {
            let mut points = Points::new();
            for (seqlen, figure) in self.seqlens.iter().zip(&line.cells) {
                if let Some(figure) = figure {
                    points.push((f64::from(*seqlen), figure.value(results)?));
                }
            }
            series.push((line.label.clone(), points));
        }
        Ok(series)
    }
}

/// All cases that were run.
pub(super) struct Results(Vec<Row>);

impl Results {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        Self(rows)
    }

    fn row(&self, workload: &Workload) -> Result<&Row> {
        let found = self.0.iter().find(|row| row.workload == *workload);
        found.with_context(|| format!("{workload} was not run"))
    }

    /// The cases of a section, each once.
    pub(super) fn of(&self, section: &Section) -> Result<Vec<&Row>> {
        let mut workloads: Vec<Workload> = Vec::new();
        for workload in section.workloads() {
            if !workloads.contains(&workload) {
                workloads.push(workload);
            }
        }
        workloads.iter().map(|workload| self.row(workload)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn figures_are_computed_and_empty_cells_stay_empty() {
        let four = Figure::Given(1.5).plus(Figure::Given(2.5));
        let cells = vec![Some(four.clone()), None, Some(Figure::Given(10.0).over(four))];
        let line = Line { label: "what, unit".into(), decimals: 2, is_charted: true, cells };
        let section = Section {
            file: "f",
            title: "Title",
            about: "About.".into(),
            chart: Chart::US,
            seqlens: vec![1, 2, 3],
            lines: vec![Line { is_charted: false, ..line.clone() }, line],
        };
        let results = Results::new(Vec::new());
        let row = "| what, unit | 4.00 |  | 2.50 |\n";
        let wanted = format!(
            "### Title\n\nAbout.\n\n| seqlen | 1 | 2 | 3 |\n| --- | ---: | ---: | ---: |\n{row}{row}"
        );
        assert_eq!(section.markdown(&results).unwrap(), wanted);
        let series = section.series(&results).unwrap();
        assert_eq!(series, [("what, unit".to_owned(), vec![(1.0, 4.0), (3.0, 2.5)])]);
    }
}
