//! Problems of one row, with the rate of DRAM as the limit.

use anyhow::{Context, Result};
use fastattention::attention::{Layout, Problem};
use fastattention::cuda::{plan, Addresses, DeviceFacts};
use fastattention::DType;
use fastattention_cli::print;
use fastattention_v100::{Memory, Parameters, CLOCK_HZ};
use half::f16;

use super::blocks::Sampled;
use super::kernels::{launch, Kernels, Source};
use super::oracle::{bytes, normal};

/// Bytes that memory gives a multiprocessor in 1000 cycles at 790 GB/s, a plain read's rate.
const PLAIN_READ: u64 = 6454;
/// Cycles until DRAM answers: ASSUMPTION(v100-dram-latency).
const LATENCY: u64 = 400;

/// Batch, heads, heads of k, head_dim, keys.
type Sizes = (u32, u32, u32, u32, u32);

/// Those of docs/volta.md.
const CASES: [Sizes; 10] = [
    (1, 32, 32, 128, 8192),
    (1, 32, 32, 128, 32768),
    (1, 32, 8, 128, 32768),
    (1, 32, 8, 128, 131_072),
    (8, 32, 8, 128, 8192),
    (32, 32, 8, 128, 4096),
    (1, 32, 2, 128, 65536),
    (1, 32, 32, 64, 32768),
    (8, 32, 8, 64, 16384),
    (1, 16, 8, 256, 32768),
];

/// Problems that nobody chose, with K and V of 50 to 700 million bytes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "keys, of at most 7e8 bytes")]
fn random(count: usize) -> Vec<Sizes> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut one = || {
        let heads_k = [1, 2, 4, 5, 8, 10, 12, 16, 32][rng.usize(..9)];
        let heads = heads_k * [1, 2, 4, 5, 7, 8, 12][rng.usize(..7)];
        let dims = [64, 80, 96, 128, 128, 128, 256][rng.usize(..7)];
        let batch = [1, 1, 2, 3, 5, 8, 13, 16, 24, 32, 48, 64][rng.usize(..12)];
        let bytes = 5e7 * 14_f64.powf(rng.f64());
        (batch, heads, heads_k, dims, (bytes / f64::from(4 * batch * heads_k * dims)) as u32)
    };
    (0..count).map(|_| one()).collect()
}

/// The table of [`CASES`], or of so many random problems.
pub(super) fn table(source: Source<'_>, random_cases: Option<usize>, parameters: Parameters) -> Result<()> {
    let mut kernels = Kernels::new(source);
    print(format_args!(
        "| batch | heads | heads of k | head_dim | keys | kernel | splits | us | of which joining | GB/s | of 790 GB/s |\n\
         | {} |",
        ["---"; 11].join(" | ")
    ))?;
    for (batch, heads, heads_k, dims, keys) in random_cases.map_or_else(|| CASES.to_vec(), random) {
        let problem = Problem::new(DType::F16, [batch, 1, heads, dims]).with_num_heads_k(heads_k);
        let problem = problem.with_seqlen_k(keys).with_layout(Layout::Bnsd);
        let (cycles, name, splits) = run(&mut kernels, &problem, parameters)?;
        let us = cycles.map(|cycles| 1e6 * cycles / CLOCK_HZ);
        let seconds = 1e-6 * (us[0] + us[1]);
        let read = 2.0 * 2.0 * [batch, heads_k, keys, dims].map(f64::from).iter().product::<f64>();
        let rate = read / seconds / 1e9;
        print(format_args!(
            "| {batch} | {heads} | {heads_k} | {dims} | {keys} | {} | {splits} | {:.1} | {:.1} | {rate:.0} | \
             {:.0} % |",
            name.trim_start_matches("flash_decode_f16_"),
            us[0] + us[1],
            us[1],
            rate / 7.9
        ))?;
    }
    Ok(())
}

/// The same with DRAM's rate and latency.
pub(super) fn limited(mut parameters: Parameters) -> Parameters {
    parameters.memory_bytes_per_1000_cycles = PLAIN_READ;
    parameters.global_latency = LATENCY;
    parameters
}

/// Cycles of the two launches, the kernel's name, the splits.
pub(super) fn run(
    kernels: &mut Kernels<'_>,
    problem: &Problem,
    parameters: Parameters,
) -> Result<([f64; 2], String, u32)> {
    let parameters = limited(parameters);
    let plan = plan(problem, &DeviceFacts::v100())?;
    let shape = plan.shape();
    // One head of k and v and the rows that read it: only its blocks are run.
    let group = shape.num_heads / shape.num_heads_k;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut memory = Memory::new();
    let q = memory.upload(bytes(&normal(&mut rng, group, shape.head_dim)));
    let [k, v] = [(); 2].map(|()| memory.upload(bytes(&normal(&mut rng, shape.seqlen_k, shape.head_dim))));
    let o = memory.upload(bytes(&vec![f16::NAN; (group * shape.head_dim) as usize]));
    let workspace = memory.upload(&vec![0; usize::try_from(plan.workspace_bytes())?]);
    let at = Addresses { q, k, v, o, lse: 0, workspace, ..Addresses::default() };
    let mut cycles = [0.0; 2];
    for (planned, cycles) in plan.launches(&at).zip(&mut cycles) {
        let (kernel, launch) = (kernels.get(&planned)?, launch(&planned));
        let [x, y, z] = launch.grid;
        // Splits differ in the last one only; what joins them does not.
        let sampled = Sampled::run(kernel, &mut memory, &launch, y, Some(y.min(8) as usize), |y| [0, y, 0])?;
        *cycles = sampled.grid(kernel, (x * z) as usize, false, &parameters)?.cycles;
    }
    let name = plan.kernel().context("there is a row")?;
    Ok((cycles, name.to_owned(), plan.num_splits()))
}
