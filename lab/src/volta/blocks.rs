//! From blocks that were run to what a grid takes.

use anyhow::{Context, Result};
use fastattention_v100::{
    blocks_per_multiprocessor, schedule, simulate, Kernel, Launch, Memory, Parameters, Report, Trace,
    CLOCK_HZ, MULTIPROCESSORS,
};

/// One head's blocks along the axis of rows, some of them run.
pub(super) struct Sampled {
    /// Which.
    at: Vec<usize>,
    /// How many there are.
    rows: usize,
    /// Blocks that share a multiprocessor.
    places: usize,
    traces: Vec<Trace>,
}

/// What blocks take that share multiprocessors with their like.
pub(super) struct Durations {
    /// Of each row's block on a full multiprocessor, cycles.
    pub(super) rows: Vec<f64>,
    /// How much faster the longest goes where there are n + 1 of them; 1 at its end.
    pub(super) speed_up: Vec<f64>,
    /// Of the longest block on a full multiprocessor.
    full: Report,
}

/// What a grid takes.
pub(super) struct Grid {
    pub(super) cycles: f64,
    /// Without waves and their tail.
    pub(super) steady_cycles: f64,
    /// Of the longest block on a full multiprocessor.
    pub(super) full: Report,
    /// Of all blocks on average.
    pub(super) counts: Counts,
}

/// Of a block.
#[derive(Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) instructions: f64,
    pub(super) tensor_steps: f64,
    pub(super) wavefronts: f64,
    pub(super) sectors: f64,
}

#[allow(clippy::cast_precision_loss, reason = "cycles and counts are below 2^52")]
fn float(n: u64) -> f64 {
    n as f64
}

/// Which of `rows` blocks are run: all, or `samples` of them at equal distances.
fn sample(rows: usize, samples: usize) -> Vec<usize> {
    if samples == 0 || samples >= rows {
        return (0..rows).collect();
    }
    let last = samples.max(2) - 1;
    let mut at: Vec<_> = (0..=last).map(|n| ((rows - 1) * n * 2 + last) / (2 * last)).collect();
    at.dedup();
    at
}

/// On the line between the two samples beside `row`.
fn between(at: &[usize], values: &[f64], row: usize) -> f64 {
    let next = at.partition_point(|&sample| sample < row).min(at.len() - 1);
    let before = next.saturating_sub(usize::from(at[next] > row));
    if at[next] == at[before] {
        return values[next];
    }
    #[allow(clippy::cast_precision_loss, reason = "numbers of blocks are small")]
    let part = (row - at[before]) as f64 / (at[next] - at[before]) as f64;
    values[before] + part * (values[next] - values[before])
}

impl Sampled {
    /// Runs blocks of a launch, `block` giving the place of a row's in the grid: so many of them, or one
    /// where all are alike (no `samples`).
    pub(super) fn run(
        kernel: &Kernel,
        memory: &mut Memory,
        launch: &Launch,
        rows: u32,
        samples: Option<usize>,
        block: impl Fn(u32) -> [u32; 3],
    ) -> Result<Self> {
        let rows = rows as usize;
        let at = samples.map_or(vec![0], |samples| sample(rows, samples));
        let run = |row: &usize| Ok(kernel.run_block(memory, launch, block(u32::try_from(*row)?))?);
        let traces = at.iter().map(run).collect::<Result<Vec<_>>>()?;
        let threads = launch.threads[0] * launch.threads[1];
        let shared = kernel.static_shared_bytes() + launch.shared_bytes;
        let places = blocks_per_multiprocessor(kernel.registers(), threads, shared)? as usize;
        Ok(Self { at, rows, places, traces })
    }

    pub(super) fn rows_run(&self) -> &[usize] {
        &self.at
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// A value of each row, from those of the rows that were run.
    fn of_rows(&self, values: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|row| between(&self.at, values, row)).collect()
    }

    pub(super) fn durations(&self, kernel: &Kernel, parameters: &Parameters) -> Result<Durations> {
        let together = |trace: &Trace, count: usize| simulate(&vec![(kernel, trace); count], parameters);
        let full =
            self.traces.iter().map(|trace| together(trace, self.places)).collect::<Result<Vec<_>, _>>()?;
        let longest = (0..full.len()).max_by_key(|&n| full[n].cycles).context("no block was run")?;
        let whole = float(full[longest].cycles);
        let mut speed_up = Vec::new();
        for count in 1..self.places {
            speed_up.push(whole / float(together(&self.traces[longest], count)?.cycles));
        }
        speed_up.push(1.0);
        let cycles: Vec<_> = full.iter().map(|report| float(report.cycles)).collect();
        Ok(Durations { rows: self.of_rows(&cycles), speed_up, full: full[longest] })
    }

    /// The grid of `heads` such columns. If `heads_are_outer`, the blocks of a head follow each other.
    pub(super) fn grid(
        &self,
        kernel: &Kernel,
        heads: usize,
        heads_are_outer: bool,
        parameters: &Parameters,
    ) -> Result<Grid> {
        let Durations { rows: cycles, speed_up, full } = self.durations(kernel, parameters)?;
        let order: Vec<f64> = if heads_are_outer {
            cycles.repeat(heads)
        } else {
            cycles.iter().flat_map(|cycles| vec![*cycles; heads]).collect()
        };
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let [heads, places, rows] = [heads, self.places * MULTIPROCESSORS, self.rows].map(|n| n as f64);
        let counts: Vec<_> = self.traces.iter().map(|trace| trace.counts(kernel)).collect();
        let mean = |value: fn(&fastattention_v100::Counts) -> u64| {
            let values: Vec<_> = counts.iter().map(|counts| float(value(counts))).collect();
            self.of_rows(&values).iter().sum::<f64>() / rows
        };
        Ok(Grid {
            cycles: schedule(&order, &speed_up),
            steady_cycles: cycles.iter().sum::<f64>() * heads / places,
            full,
            counts: Counts {
                instructions: mean(|counts| counts.instructions),
                tensor_steps: mean(|counts| counts.tensor_steps),
                wavefronts: mean(|counts| counts.wavefronts),
                sectors: mean(|counts| counts.sectors),
            },
        })
    }
}

impl Grid {
    pub(super) fn seconds(&self) -> f64 {
        self.cycles / CLOCK_HZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_what_lies_between_them() {
        assert_eq!(sample(4, 6), [0, 1, 2, 3]);
        assert_eq!(sample(16, 6), [0, 3, 6, 9, 12, 15]);
        assert_eq!(sample(9, 2), [0, 8]);
        let values = [0.0, 30.0, 40.0];
        let lines: Vec<_> = (0..6).map(|row| between(&[0, 3, 5], &values, row)).collect();
        assert_eq!(lines, [0.0, 10.0, 20.0, 30.0, 35.0, 40.0]);
        assert_eq!(between(&[0], &[7.0], 5), 7.0);
    }
}
