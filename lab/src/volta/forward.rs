//! Problems of many rows, as `fastattention::cuda` plans them for a V100.

use std::fmt;

use anyhow::{ensure, Context, Result};
use fastattention::attention::{Layout, Mask, Problem};
use fastattention::cuda::{plan, Addresses, DeviceFacts};
use fastattention::DType;
use fastattention_v100::{Memory, Parameters, MULTIPROCESSORS};

use super::blocks::{Grid, Sampled};
use super::kernels::{launch, Kernels};
use super::oracle::Head;

pub(super) const HEAD: &str = "\
| head_dim | S | mask | kernel | grid TFLOPS | steady TFLOPS | grid time, us | tensor pipes busy, full SM | \
instructions per mma | HMMA share | wavefronts per mma | L2 bytes per clock and SM | blocks an SM | registers | \
main loop, KB | error |\n\
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// As many keys as rows.
pub(super) struct Case {
    pub(super) head_dim: u32,
    pub(super) seqlen: u32,
    pub(super) heads: u32,
    pub(super) mask: Mask,
}

impl Case {
    /// Operations; of a causal problem half of them count.
    fn operations(&self) -> f64 {
        let [heads, rows, dims] = [self.heads, self.seqlen, self.head_dim].map(f64::from);
        4.0 * heads * rows * rows * dims * if self.mask == Mask::Causal { 0.5 } else { 1.0 }
    }

    /// How many row blocks are run; none if they are all alike.
    pub(super) fn samples(&self, samples: usize) -> Option<usize> {
        (self.mask == Mask::Causal).then_some(samples)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mask = if self.mask == Mask::Causal { "causal" } else { "none" };
        write!(f, "{} | {} | {mask}", self.head_dim, self.seqlen)
    }
}

/// What a problem takes.
pub(super) struct Modelled {
    pub(super) grid: Grid,
    pub(super) blocks: f64,
    pub(super) kernel: String,
    pub(super) registers: u32,
    pub(super) loop_bytes: usize,
    pub(super) places: usize,
    pub(super) error: f64,
}

impl Modelled {
    pub(super) fn grid_tflops(&self, case: &Case) -> f64 {
        case.operations() / self.grid.seconds() / 1e12
    }

    pub(super) fn steady_tflops(&self, case: &Case) -> f64 {
        self.grid_tflops(case) * self.grid.cycles / self.grid.steady_cycles
    }

    pub(super) fn instructions_per_mma(&self) -> f64 {
        4.0 * self.grid.counts.instructions / self.grid.counts.tensor_steps
    }

    pub(super) fn line(&self, case: &Case) -> String {
        let (grid, counts) = (&self.grid, &self.grid.counts);
        let mma = counts.tensor_steps / 4.0;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let [multiprocessors, loop_bytes] = [MULTIPROCESSORS, self.loop_bytes].map(|n| n as f64);
        let l2 = 32.0 * counts.sectors * self.blocks / multiprocessors / grid.cycles;
        let kilobytes = loop_bytes / 1024.0;
        format!(
            "| {case} | {} | **{:.1}** | **{:.1}** | {:.1} | {:.0} % | {:.2} | {:.0} % | {:.2} | {l2:.1} | {} | {} \
             | {kilobytes:.0} | {:.0e} |",
            self.kernel.trim_start_matches("flash_fwd_f16_"),
            self.grid_tflops(case),
            self.steady_tflops(case),
            1e6 * grid.seconds(),
            100.0 * grid.full.tensor_share(),
            self.instructions_per_mma(),
            100.0 * counts.tensor_steps / counts.instructions,
            counts.wavefronts / mma,
            self.places,
            self.registers,
            self.error,
        )
    }
}

/// Rows of a block of a kernel, which are a power of two, where `blocks` take `rows` of them.
fn rows_of_a_block(rows: u32, blocks: u32) -> usize {
    rows.div_ceil(blocks).next_power_of_two() as usize
}

pub(super) fn run(
    kernels: &mut Kernels<'_>,
    case: &Case,
    samples: usize,
    parameters: &Parameters,
) -> Result<Modelled> {
    let problem = Problem::new(DType::F16, [1, case.seqlen, case.heads, case.head_dim]);
    let problem = problem.with_mask(case.mask).with_layout(Layout::Bnsd).with_lse();
    let plan = plan(&problem, &DeviceFacts::v100())?;
    // Heads lie one behind the other, and only blocks of the first are run: so no other needs memory.
    let head = Head::new(case.seqlen, case.head_dim);
    let mut memory = Memory::new();
    let [q, k, v, o, lse] = head.place(&mut memory);
    let at = Addresses { q, k, v, o, lse, workspace: 0, ..Addresses::default() };
    let planned = plan.launches(&at).next().context("there are rows")?;
    ensure!(plan.num_splits() == 1, "{case}: rows of a prompt wanted, this is decode");
    let launch = launch(&planned);
    let [heads, rows, columns] = launch.grid;
    ensure!(
        columns == 1,
        "{case}: {columns} blocks share the columns of o, one wanted: head_dim at most 128"
    );
    let kernel = kernels.get(&planned)?;
    let sampled = Sampled::run(kernel, &mut memory, &launch, rows, case.samples(samples), |row| [0, row, 0])?;
    let grid = sampled.grid(kernel, heads as usize, false, parameters)?;
    // With a bound on the right the last rows start first.
    let at_rows = |&block: &usize| if case.mask == Mask::Causal { rows as usize - 1 - block } else { block };
    let blocks = sampled.rows_run().iter().map(at_rows);
    let error = head.check(&memory, o, blocks, rows_of_a_block(case.seqlen, rows), case.mask);
    Ok(Modelled {
        grid,
        blocks: f64::from(heads * rows),
        kernel: planned.kernel().to_owned(),
        registers: kernel.registers(),
        loop_bytes: kernel.main_loop_bytes(),
        places: sampled.places(),
        error: error.with_context(|| case.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_of_a_grid_may_have_less_rows() {
        for (rows, blocks, of_a_block) in
            [(512, 4, 128), (2100, 17, 128), (129, 2, 128), (65, 2, 64), (300, 5, 64), (20, 1, 32)]
        {
            assert_eq!(rows_of_a_block(rows, blocks), of_a_block, "{rows} rows");
        }
    }
}
