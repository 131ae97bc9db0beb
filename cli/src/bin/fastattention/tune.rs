//! `fastattention tune`: the fastest tilings by simulation.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};
use fastattention::attention::{plan, Problem};
use fastattention::tiling::{Candidate, Timed, Tuned};
use fastattention::Soc;

use fastattention_cli::output::Output;
use fastattention_cli::print;
use fastattention_cli::progress::Progress;
use fastattention_cli::shape::ShapeFlags;
use fastattention_cli::tiling::Tiling;
use fastattention_cli::workload::{Op, Workload};

use crate::tuned::parsed;

/// Shapes to tune for.
#[derive(clap::Args)]
pub(crate) struct Tune {
    /// Rows of q; several lengths with commas between them. One that fails is told at the end; the results
    /// of the others are kept.
    #[arg(long, required = true, value_delimiter = ',')]
    seqlen_q: Vec<u32>,
    #[command(flatten)]
    shape: ShapeFlags,
    /// Candidates to simulate for each shape, the best ones by prediction.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    candidates: u32,
    /// File to write; results for other shapes that it holds stay.
    #[arg(long, short)]
    output: PathBuf,
}

impl Tune {
    pub(crate) fn execute(self) -> Result<()> {
        let soc = self.shape.chip().known_soc()?;
        let output = Output::check(&self.output, None)?;
        let mut tuned = match output.earlier()? {
            Some(text) => parsed(&text, &self.output, soc)?,
            None => Tuned::new(soc),
        };
        let mut failed = Vec::new();
        for &seqlen_q in &self.seqlen_q {
            let problem = self.shape.problem(seqlen_q).with_lse();
            let results = match self.simulate_all(&problem, soc) {
                Ok(results) => results,
                Err(error) => {
                    failed.push(format!("seqlen_q {seqlen_q}: {}", fastattention_cli::told(&error)));
                    continue;
                }
            };
            if results.is_empty() {
                print(format_args!("seqlen_q {seqlen_q}: no rows, so there is no launch to tune"))?;
                continue;
            }
            let mut text = format!("seqlen_q {seqlen_q}: model time in us, predicted in brackets\n");
            for (timed, predicted_us) in &results {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{:12.1} ({predicted_us:.1})  {}", timed.model_us, timed.candidate);
            }
            print(text.trim_end())?;
            tuned.insert(plan(&problem, soc)?.shape(), results.into_iter().map(|(timed, _)| timed).collect());
            // What is done stays when a later shape fails.
            if output.is_replaced() {
                output.write_bytes(tuned.to_toml()?.as_bytes())?;
            }
        }
        if !output.is_replaced() {
            output.write_bytes(tuned.to_toml()?.as_bytes())?;
        }
        if !failed.is_empty() {
            bail!("{} of {} lengths failed\n{}", failed.len(), self.seqlen_q.len(), failed.join("\n"));
        }
        Ok(())
    }

    /// Results of the best candidates by prediction, the fastest first, each with its prediction; none when
    /// there is nothing to launch.
    fn simulate_all(&self, problem: &Problem, soc: &'static Soc) -> Result<Vec<(Timed, f64)>> {
        let plan = plan(problem, soc)?;
        if plan.num_items() == 0 {
            return Ok(Vec::new());
        }
        let mut candidates = plan.candidates().to_vec();
        candidates.sort_by(|a, b| a.cycles.total_cmp(&b.cycles));
        candidates.truncate(self.candidates as usize);
        let progress = Progress::of("candidates in model time", candidates.len() as u64);
        let mut results = Vec::new();
        for c in candidates {
            let model_us = simulate(problem, soc, c.candidate)?;
            results.push((Timed { model_us, candidate: c.candidate }, c.cycles / f64::from(soc.clock_mhz)));
            progress.add(1);
        }
        results.sort_by(|a, b| a.0.model_us.total_cmp(&b.0.model_us));
        Ok(results)
    }
}

/// Model time of a launch in microseconds, the second of two, so that L2 holds what fits.
fn simulate(problem: &Problem, soc: &'static Soc, candidate: Candidate) -> Result<f64> {
    let tiling = Some(Tiling::FlashFwd(candidate));
    let workload = Workload { tiling, ..Workload::new(Op::FlashFwd, *problem, soc) };
    let last = workload.time(false)?.pop().context("the simulated launch left no report")?;
    Ok(last.core_us())
}
