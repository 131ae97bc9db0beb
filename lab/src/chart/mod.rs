//! Charts of results in model time, as SVG.

mod lines;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use fastattention::sim::time::{Ceiling, Roofline};
use fastattention::Soc;
use fastattention_cli::output::{Folder, Output};
use fastattention_cli::table::{split_case, Row, PIPES};
use fastattention_cli::workload::Workload;
use plotters::prelude::*;

/// Width and height.
const SIZE: (u32, u32) = (960, 540);

const FONT: &str = "sans-serif";

pub(crate) use lines::{Axis, Level, Lines, Marks};

pub(crate) type Points = Vec<(f64, f64)>;

/// Files `time.svg`, `pipes.svg`, and `roofline_<SoC>.svg` for each chip; with clock and cores where several
/// chips are of one name.
pub(crate) struct Files {
    times: Output,
    pipes: Output,
    rooflines: Vec<(Chip, Output)>,
}

/// What has a peak and roofs of its own.
struct Chip {
    soc: &'static Soc,
    /// Are others of its name drawn?
    has_namesakes: bool,
}

impl Chip {
    /// Each once.
    fn all(workloads: &[Workload]) -> Vec<Self> {
        let mut socs: Vec<&'static Soc> = Vec::new();
        for Workload { soc, .. } in workloads {
            if !socs.contains(soc) {
                socs.push(soc);
            }
        }
        let namesakes = |soc: &Soc| socs.iter().filter(|other| other.name == soc.name).count();
        socs.iter().map(|soc| Self { soc, has_namesakes: namesakes(soc) > 1 }).collect()
    }

    fn file(&self) -> String {
        let Soc { name, clock_mhz, cube_cores, .. } = self.soc;
        match self.has_namesakes {
            true => format!("roofline_{name}_{clock_mhz}MHz_{cube_cores}cores.svg"),
            false => format!("roofline_{name}.svg"),
        }
    }
}

impl std::fmt::Display for Chip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Soc { name, clock_mhz, cube_cores, .. } = self.soc;
        f.write_str(name)?;
        match self.has_namesakes {
            true => write!(f, ", {clock_mhz} MHz, {cube_cores} cores"),
            false => Ok(()),
        }
    }
}

impl Files {
    /// The files for the results of these.
    pub(crate) fn check(folder: &Path, workloads: &[Workload]) -> Result<Self> {
        let folder = Folder::make(folder)?;
        let rooflines = Chip::all(workloads).into_iter().map(|chip| {
            let output = folder.file(&chip.file())?;
            Ok((chip, output))
        });
        let rooflines = rooflines.collect::<Result<_>>()?;
        Ok(Self { times: folder.file("time.svg")?, pipes: folder.file("pipes.svg")?, rooflines })
    }

    pub(crate) fn write(&self, rows: &[Row]) -> Result<()> {
        self.times.write_bytes(times(rows)?.as_bytes())?;
        self.pipes.write_bytes(pipes(rows)?.as_bytes())?;
        for (chip, output) in &self.rooflines {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.workload.soc == chip.soc).collect();
            output.write_bytes(roofline(chip, &rows)?.as_bytes())?;
        }
        Ok(())
    }
}

/// What tells a row from the others, with or without its length: seqlen_q, or rows of a product.
fn labels(rows: &[Row], has_length: bool) -> Vec<String> {
    let (_, cases) = split_case(rows);
    let label = |(case, row): (Vec<(&'static str, String)>, &Row)| {
        let shown = case.into_iter().filter(|(name, _)| has_length || !matches!(*name, "seqlen_q" | "m"));
        let parts: Vec<_> = shown.map(|(_, value)| value).filter(|value| !value.is_empty()).collect();
        if parts.is_empty() {
            row.workload.op.to_string()
        } else {
            parts.join(" ")
        }
    };
    cases.into_iter().zip(rows).map(label).collect()
}

/// From a bit below the least to a bit above the largest of positive numbers.
fn around(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    if most > 0.0 {
        least / 1.5..most * 1.5
    } else {
        0.1..10.0
    }
}

/// Model time of the task against seqlen_q, which products with sizes of their own have as rows.
fn times(rows: &[Row]) -> Result<String> {
    let mut series: BTreeMap<String, Points> = BTreeMap::new();
    for (row, label) in rows.iter().zip(labels(rows, false)) {
        let at = (f64::from(row.workload.problem.seqlen_q), row.task_us);
        // Logarithmic axes have no place for a problem without rows.
        if at.0 > 0.0 && at.1 > 0.0 {
            series.entry(label).or_default().push(at);
        }
    }
    for points in series.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let caption = "Model time of the task (not measured)".to_owned();
    let series = series.into_iter().collect();
    let has_products = rows.iter().any(|row| row.workload.product.is_some());
    let x_desc = if has_products { "rows" } else { "seqlen_q" };
    let y_desc = "model time, us".to_owned();
    Lines { caption, x_desc, y_desc, axis: Axis::Logarithmic, series, levels: &[], marks: &[] }.svg()
}

/// Busy share of every pipe, a group of bars for each row.
fn pipes(rows: &[Row]) -> Result<String> {
    let labels = labels(rows, true);
    let mut svg = String::new();
    {
        let width = SIZE.0.max(u32::try_from(rows.len()).unwrap_or(u32::MAX).saturating_mul(110));
        let root = SVGBackend::with_string(&mut svg, (width, SIZE.1)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Busy share of the pipes in model time (not measured)", (FONT, 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            // One more place on the right, for the legend.
            .build_cartesian_2d(-0.5..rows.len() as f64 + 0.5, 0.0..100.0)?;
        let name = |x: &f64| {
            let near = labels.iter().enumerate().find(|(i, _)| (*i as f64 - x).abs() < 1e-6);
            near.map_or_else(String::new, |(_, label)| label.clone())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .x_labels(2 * rows.len() + 3)
            .x_label_formatter(&name)
            .y_desc("% of the cores' time")
            .draw()?;
        let bar = 0.8 / PIPES.len() as f64;
        for (p, (kind, pipe, _)) in PIPES.iter().enumerate() {
            let colour = Palette99::pick(p).to_rgba();
            let bars = rows.iter().enumerate().map(|(r, row)| {
                let left = r as f64 - 0.4 + p as f64 * bar;
                Rectangle::new([(left, 0.0), (left + bar, row.busy_percent[p])], colour.filled())
            });
            chart
                .draw_series(bars)?
                .label(format!("{kind} {pipe}"))
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
        root.present().context("drawing the pipes")?;
    }
    Ok(svg)
}

/// What launches reached below one ceiling: operations a byte, and TFLOPS. Those that used nothing of it are
/// left out.
fn below(launches: &[Roofline], ceiling: fn(&Roofline) -> Ceiling) -> Points {
    let place = |r: &Roofline| ceiling(r).flops_per_byte.map(|i| (i, r.tflops));
    launches.iter().filter_map(place).filter(|(i, tflops)| *i > 0.0 && *tflops > 0.0).collect()
}

/// TFLOPS of the Cube against its operations for each byte of L2 and of HBM, below their roofs.
fn roofline(chip: &Chip, rows: &[&Row]) -> Result<String> {
    let all: Vec<Roofline> = rows.iter().flat_map(|r| r.rooflines.iter().copied()).collect();
    let (l2, hbm) = (below(&all, |r| r.l2), below(&all, |r| r.hbm));
    let places = || l2.iter().chain(&hbm).copied();
    let peak = all.first().map_or(1.0, |r| r.peak_tflops);
    let x = around(places().map(|p| p.0).chain([1.0, 1000.0]));
    let y = around(places().map(|p| p.1).chain([peak]));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("Roofline of {chip} in model time (not measured)"), (FONT, 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(x.clone().log_scale(), y.clone().log_scale())?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .x_desc("FLOPs of the Cube a byte")
            .y_desc("TFLOPS of the Cube")
            .draw()?;
        let rates = all.first().map_or((0.0, 0.0), |r| (r.l2.gbps, r.hbm.gbps));
        for (i, (name, gbps, points)) in [("L2", rates.0, l2), ("HBM", rates.1, hbm)].into_iter().enumerate()
        {
            let colour = Palette99::pick(i).to_rgba();
            let knee = peak * 1e3 / gbps.max(1.0);
            // From where the slope enters the chart.
            let first = x.start.max(y.start * 1e3 / gbps.max(1.0));
            let roof = [first, knee.clamp(first, x.end), x.end].map(|i| (i, peak.min(i * gbps / 1e3)));
            chart
                .draw_series(LineSeries::new(roof, colour.stroke_width(2)))?
                .label(format!("{name}, {gbps:.0} GB/s"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(points.into_iter().map(|at| Circle::new(at, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        root.present().context("drawing the roofline")?;
    }
    Ok(svg)
}
