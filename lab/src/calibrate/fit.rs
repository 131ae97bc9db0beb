//! `--fit`: how rows follow parameters of `cann.toml`, and which values would suit them better. Nothing is
//! written: rules are fitted in the order of docs/timing.md, and never to one row.

use std::fmt::Write as _;

use anyhow::{bail, ensure, Result};
use fastattention::soc::Description;
use fastattention_cli::print;
use fastattention_cli::progress::Progress;

use super::rows::{PublishedRun, Row, Table};
use super::{median, model_value, within, MEDIAN, TOLERANCE};

/// Factors at which a row is looked at.
const FACTORS: [f64; 2] = [0.9, 1.1];
/// Rows that move by less than this share between the two are not told.
const MOVES: f64 = 0.002;
/// Most that one proposal changes a parameter by.
const MAX_STEP: f64 = 1.5;
/// How often a step that does not help is halved.
const HALVINGS: usize = 3;

/// A row that counts.
struct Point<'a> {
    row: &'a Row,
    /// Not met for a known reason: told, but nothing is fitted to it.
    is_unmet: bool,
}

/// A parameter with the ratios of all points at the two factors.
struct Tried {
    name: String,
    value: f64,
    /// As they could be set.
    at: [f64; 2],
    ratios: [Vec<f64>; 2],
}

/// Points, in the order of the runs that they are of.
struct Fit<'a> {
    runs: Vec<(&'a PublishedRun, Vec<&'a Row>)>,
    points: Vec<Point<'a>>,
    description: &'a Description,
    progress: Progress,
}

/// Tells sensitivities and a proposal for the parameters of these names.
pub(super) fn execute<'a>(
    table: &Table,
    runs: &[(&'a PublishedRun, Vec<&'a Row>)],
    description: &'a Description,
    names: &[String],
) -> Result<()> {
    for (i, name) in names.iter().enumerate() {
        ensure!(description.number(name)? != 0.0, "--fit {name}: it is 0, and a factor makes nothing of it");
        ensure!(!names[..i].contains(name), "--fit {name}: given twice");
    }
    let runs: Vec<_> = runs.iter().filter(|(run, _)| !run.is_other_kernel).cloned().collect();
    let rows = runs.iter().flat_map(|(_, rows)| rows);
    let points: Vec<_> = rows.map(|row| Point { row, is_unmet: table.unmet.contains_key(&row.id) }).collect();
    if points.iter().all(|point| point.is_unmet) {
        bail!("--fit: no row of this selection is one to fit to");
    }
    let evaluations = 1 + 2 * names.len() + HALVINGS + 1;
    let progress = Progress::of("runs in model time", (evaluations * runs.len()) as u64);
    let fit = Fit { runs, points, description, progress };
    let told = fit.tell(names);
    fit.progress.finish();
    print(told?.trim_end())
}

impl Fit<'_> {
    fn tell(&self, names: &[String]) -> Result<String> {
        let before = self.ratios(self.description)?;
        let mut text = String::new();
        let mut tried = Vec::new();
        for name in names {
            let parameter = self.vary(name)?;
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", self.sensitivity(&parameter, &before));
            tried.push(parameter);
        }
        let _ = write!(text, "{}", self.proposal(&tried, &before)?);
        Ok(text)
    }

    /// Model over published, of every point.
    fn ratios(&self, description: &Description) -> Result<Vec<f64>> {
        let socs = description.socs()?;
        let mut ratios = Vec::new();
        for (run, rows) in &self.runs {
            self.progress.add(1);
            let modelled = super::model_on(&socs, run)?;
            ratios.extend(rows.iter().map(|row| model_value(&modelled, run, row) / row.value));
        }
        Ok(ratios)
    }

    fn vary(&self, name: &str) -> Result<Tried> {
        let value = self.description.number(name)?;
        let mut at = [value; 2];
        let mut ratios = [Vec::new(), Vec::new()];
        for (side, factor) in FACTORS.into_iter().enumerate() {
            let mut changed = self.description.clone();
            at[side] = changed.set(name, value * factor)?;
            if at[side] == value {
                // A whole number so small that a tenth of it is rounded away.
                at[side] = changed.set(name, value + (factor - 1.0).signum())?;
            }
            ratios[side] = self.ratios(&changed)?;
        }
        Ok(Tried { name: name.to_owned(), value, at, ratios })
    }

    fn sensitivity(&self, tried: &Tried, before: &[f64]) -> String {
        let Tried { name, value, at: [low, high], ratios } = tried;
        let mut text = format!("{name} = {value}: model over published at {low}, {value} and {high}\n");
        let mut still = 0;
        for (i, point) in self.points.iter().enumerate() {
            let (a, b) = (ratios[0][i], ratios[1][i]);
            if (a / b - 1.0).abs() < MOVES {
                still += 1;
                continue;
            }
            let mark = if point.is_unmet { "  not fitted to: not met for a known reason" } else { "" };
            let (id, metric) = (&point.row.id, point.row.metric.name());
            let _ = writeln!(text, "  {id:15} {metric:9} {a:7.3} {:7.3} {b:7.3}{mark}", before[i]);
        }
        let _ = writeln!(text, "  {still} of {} rows do not move\n", self.points.len());
        text
    }

    /// One step of least squares on the logarithms of the ratios, halved until the rows fit better.
    fn proposal(&self, tried: &[Tried], before: &[f64]) -> Result<String> {
        let fitted: Vec<usize> = (0..self.points.len()).filter(|i| !self.points[*i].is_unmet).collect();
        let slope = |t: &Tried, i: usize| (t.ratios[1][i] / t.ratios[0][i]).ln() / (t.at[1] / t.at[0]).ln();
        let columns: Vec<Vec<f64>> =
            tried.iter().map(|t| fitted.iter().map(|&i| slope(t, i)).collect()).collect();
        let errors: Vec<f64> = fitted.iter().map(|&i| before[i].ln()).collect();
        let quality = |ratios: &[f64]| Quality::of(fitted.iter().map(|&i| ratios[i]));
        let now = quality(before);
        let mut text =
            format!("least squares over {} rows; nothing is written\n  now: {now}\n", fitted.len());
        let Some(step) = least_squares(&columns, &errors) else {
            return Ok(
                text + "  no proposal: the rows do not tell these parameters apart, or none of them moves\n"
            );
        };
        for halved in 0..=HALVINGS {
            let mut changed = self.description.clone();
            let mut values = Vec::new();
            for (t, step) in tried.iter().zip(&step) {
                let step = (step / f64::from(1 << halved)).clamp(-MAX_STEP.ln(), MAX_STEP.ln());
                values.push(changed.set(&t.name, rounded(t.value * step.exp()))?);
            }
            let then = quality(&self.ratios(&changed)?);
            if then.rms < now.rms {
                let _ = writeln!(
                    text,
                    "  then: {then}\n\nproposal, as a file for --soc-file:\n{}",
                    as_toml(tried, &values)
                );
                return Ok(text);
            }
        }
        Ok(text + "  no proposal: no step in the direction of least squares makes the rows fit better\n")
    }
}

/// How well rows are met.
struct Quality {
    rms: f64,
    median: f64,
    within: usize,
    all: usize,
}

impl Quality {
    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let ratios: Vec<f64> = ratios.collect();
        let squares: f64 = ratios.iter().map(|ratio| ratio.ln().powi(2)).sum();
        let errors: Vec<f64> = ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        Self {
            rms: (squares / ratios.len().max(1) as f64).sqrt(),
            median: median(&errors),
            within: within(&errors),
            all: errors.len(),
        }
    }
}

impl std::fmt::Display for Quality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "root mean square {:.2} %, median {:.2} % (aim {:.0} %), {} of {} within {:.0} %",
            100.0 * self.rms,
            100.0 * self.median,
            100.0 * MEDIAN,
            self.within,
            self.all,
            100.0 * TOLERANCE
        )
    }
}

/// Four digits: more would say more than the rows know.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Numbers of SoCs come last, in entries of their own.
fn as_toml(tried: &[Tried], values: &[f64]) -> String {
    let (mut figures, mut socs) = (String::new(), String::new());
    for (Tried { name, .. }, value) in tried.iter().zip(values) {
        let _ = match name.strip_prefix("soc.").and_then(|rest| rest.split_once('.')) {
            Some((soc, field)) => writeln!(socs, "[[soc]]\nname = {soc:?}\n{field} = {value}"),
            None => writeln!(figures, "{name} = {value}"),
        };
    }
    figures + &socs
}

/// The steps x of the parameters for which `errors + sum of columns * x` has the least squares. `None` where
/// several steps have, as for a parameter that moves nothing.
fn least_squares(columns: &[Vec<f64>], errors: &[f64]) -> Option<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let size = columns.len();
    let mut rows: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| columns.iter().map(|b| dot(a, b)).chain([-dot(a, errors)]).collect())
        .collect();
    let scale = (0..size).map(|i| rows[i][i]).fold(0.0, f64::max);
    for at in 0..size {
        let pivot = (at..size).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        let size = rows[at][at].abs();
        if size.is_nan() || size <= 1e-9 * scale {
            return None;
        }
        let upper = rows[at].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            if i != at {
                let factor = row[at] / upper[at];
                row.iter_mut().zip(&upper).for_each(|(own, upper)| *own -= factor * upper);
            }
        }
    }
    Some((0..size).map(|i| rows[i][size] / rows[i][i]).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_a_system_that_is_solved_by_hand() {
        // errors + x * [1, 2] + y * [0, 1] = 0 for x = -3, y = 2.
        let step = least_squares(&[vec![1.0, 2.0], vec![0.0, 1.0]], &[3.0, 4.0]).unwrap();
        assert!((step[0] + 3.0).abs() < 1e-12 && (step[1] - 2.0).abs() < 1e-12, "{step:?}");
        // One parameter, errors 1 and 3: the mean.
        let step = least_squares(&[vec![1.0, 1.0]], &[1.0, 3.0]).unwrap();
        assert!((step[0] + 2.0).abs() < 1e-12, "{step:?}");
        assert_eq!(least_squares(&[vec![0.0, 0.0]], &[1.0, 3.0]), None);
        assert_eq!(least_squares(&[vec![1.0, 2.0], vec![2.0, 4.0]], &[1.0, 3.0]), None, "the same twice");
        assert_eq!(least_squares(&[vec![f64::NAN]], &[1.0]), None);
    }

    #[test]
    fn a_proposal_is_a_file_that_is_taken() {
        let tried = ["soc.Ascend910B2.memory.hbm_gbps", "timing.control.launch_us"].map(|name| Tried {
            name: name.to_owned(),
            value: 1.0,
            at: [1.0; 2],
            ratios: [Vec::new(), Vec::new()],
        });
        let changed = Description::built_in().with_changes(&as_toml(&tried, &[1500.0, 0.6])).unwrap();
        assert_eq!(changed.number("soc.Ascend910B2.memory.hbm_gbps").unwrap(), 1500.0);
        assert_eq!(changed.number("timing.control.launch_us").unwrap(), 0.6);
    }
}
