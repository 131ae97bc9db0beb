//! Problems of many rows, as `fastattention::cuda` plans them for a V100.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{ensure, Context, Result};
use fastattention::attention::{Layout, Mask, Problem};
use fastattention::cuda::{plan, Addresses, DeviceFacts};
use fastattention::DType;
use fastattention_v100::{Kernel, Launch, Memory, Parameters, Tools};
use half::f16;

use super::blocks::{Grid, Sampled};
use super::oracle::Head;

/// The largest error of o that is no fault: what halves leave of numbers of size 1.
const TOLERANCE: f64 = 4e-3;

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

/// Machine code of the shipped kernels, made once.
pub(super) struct Kernels<'a> {
    tools: &'a Tools,
    made: BTreeMap<String, (Kernel, u32)>,
}

impl<'a> Kernels<'a> {
    pub(super) fn new(tools: &'a Tools) -> Self {
        Self { tools, made: BTreeMap::new() }
    }

    pub(super) fn get(&mut self, name: &str, ptx: &str) -> Result<&Kernel> {
        if !self.made.contains_key(name) {
            let made = self.tools.assemble(ptx)?;
            let kernel = Kernel::new(self.tools, &made.cubin, name)?;
            self.made.insert(name.to_owned(), (kernel, made.spilled_bytes));
        }
        let (kernel, spilled) = self.made.get(name).context("it was made")?;
        ensure!(*spilled == 0, "{name}: ptxas spills {spilled} bytes, none wanted");
        Ok(kernel)
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

    pub(super) fn line(&self, case: &Case) -> String {
        let (grid, counts) = (&self.grid, &self.grid.counts);
        let mma = counts.tensor_steps / 4.0;
        let steady = self.grid_tflops(case) * grid.cycles / grid.steady_cycles;
        let l2 = 32.0 * counts.sectors * self.blocks / 80.0 / grid.cycles;
        #[allow(clippy::cast_precision_loss, reason = "code is small")]
        let kilobytes = self.loop_bytes as f64 / 1024.0;
        format!(
            "| {case} | {} | **{:.1}** | **{steady:.1}** | {:.1} | {:.0} % | {:.2} | {:.0} % | {:.2} | {l2:.1} | {} | {} \
             | {kilobytes:.0} | {:.0e} |",
            self.kernel.trim_start_matches("flash_fwd_f16_"),
            self.grid_tflops(case),
            1e6 * grid.seconds(),
            100.0 * grid.full.tensor_share(),
            counts.instructions / mma,
            100.0 * counts.tensor_steps / counts.instructions,
            counts.wavefronts / mma,
            self.places,
            self.registers,
            self.error,
        )
    }
}

pub(super) fn bytes(values: &[f16]) -> &[u8] {
    bytemuck::cast_slice(values)
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
    let [q, k, v] = [&head.q, &head.k, &head.v].map(|tensor| memory.upload(bytes(tensor)));
    let o = memory.upload(bytes(&vec![f16::NAN; head.q.len()]));
    let lse = memory.upload(&vec![0; 4 * case.seqlen as usize]);
    let at = Addresses { q, k, v, o, lse, workspace: 0 };
    let planned = plan.launches(&at).next().context("there are rows")?;
    ensure!(plan.num_splits() == 1, "{case}: rows of a prompt wanted, this is decode");
    let launch = Launch {
        grid: planned.grid(),
        threads: [planned.threads(), 1],
        shared_bytes: planned.shared_bytes(),
        params: planned.params().to_vec(),
    };
    let kernel = kernels.get(planned.kernel(), planned.ptx())?;
    let [heads, rows, _] = launch.grid;
    let sampled = Sampled::run(kernel, &mut memory, &launch, rows, case.samples(samples), |row| [0, row, 0])?;
    let grid = sampled.grid(kernel, heads as usize, false, parameters)?;
    let read = memory.read(o, 2 * head.q.len()).context("o is there")?;
    let o: Vec<f16> = bytemuck::pod_collect_to_vec(&read);
    let of_a_block = case.seqlen.div_ceil(rows) as usize;
    let error = sampled.rows_run().iter().flat_map(|&block| {
        // With a bound on the right the last rows start first.
        let block = if case.mask == Mask::Causal { rows as usize - 1 - block } else { block };
        (block * of_a_block..((block + 1) * of_a_block).min(case.seqlen as usize)).step_by(17)
    });
    let error = error.map(|row| head.error(&o, row, case.mask)).fold(0.0, f64::max);
    ensure!(error <= TOLERANCE, "{case}: o is wrong by {error:e}");
    Ok(Modelled {
        grid,
        blocks: f64::from(heads * rows),
        kernel: planned.kernel().to_owned(),
        registers: kernel.registers(),
        loop_bytes: kernel.main_loop_bytes(),
        places: sampled.places(),
        error,
    })
}
