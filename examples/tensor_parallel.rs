//! A tensor-parallel layer, one process for each rank: attention, output projection and AllReduce, with the
//! AllReduce of one block of rows behind the computation of the next.
//!
//! ```sh
//! cargo run --release --example tensor_parallel           # starts 4 ranks on the simulator
//! torchrun --nproc-per-node 8 --no-python target/release/examples/tensor_parallel --device npu
//! mpirun -n 8 -x MASTER_ADDR=127.0.0.1 -x MASTER_PORT=29500 \
//!     target/release/examples/tensor_parallel --device npu
//! ```
//!
//! A process that finds RANK (torchrun) or OMPI_COMM_WORLD_RANK (mpirun) is that rank. Every rank makes the
//! same tensors, takes its heads and its part of the weight, and compares the result with f64. Not verified
//! on hardware.

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

use std::process::Command;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use fastattention::attention::Mask;
use fastattention::parallel::{
    plan, plan_with, Args, AttentionArgs, LinearArgs, Plan, Problem, TilingAllReduce,
};
use fastattention::reference::{attention, Params, Tensor};
use fastattention::runtime::{Buffer, Device, Rendezvous, Stream};
use fastattention::{DType, Soc};
use half::f16;

#[derive(Parser)]
struct Options {
    /// Ranks to start, where nobody else starts them [default: 4].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Option<u32>,
    /// sim, or npu for npu:LOCAL_RANK.
    #[arg(long, default_value = "sim")]
    device: String,
    /// Rows.
    #[arg(long, default_value_t = 300)]
    seqlen: u32,
    /// Heads of q.
    #[arg(long, default_value_t = 8)]
    num_heads: u32,
    /// Heads of k and v; ranks share them when there are fewer than ranks.
    #[arg(long, default_value_t = 2)]
    num_heads_k: u32,
    /// Columns of the output.
    #[arg(long, default_value_t = 256)]
    hidden: u32,
    /// Rows of each block [default: chosen by the planner].
    #[arg(long, value_delimiter = ',')]
    block_rows: Option<Vec<u32>>,
}

const HEAD_DIM: u32 = 64;

impl Options {
    fn problem(&self, ranks: u32) -> Problem {
        Problem::new(DType::F16, [1, self.seqlen, self.num_heads, HEAD_DIM], self.hidden, ranks)
            .with_num_heads_k(self.num_heads_k)
            .with_mask(Mask::Causal)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if ["RANK", "OMPI_COMM_WORLD_RANK"].iter().any(|name| std::env::var_os(name).is_some()) {
        return run_rank(&options);
    }
    // What torchrun would do, with a file in the place of a port that may be taken.
    let folder = tempfile::tempdir()?;
    let ranks = options.ranks.unwrap_or(4);
    // Here, so that it is told once and before anything starts.
    plan(&options.problem(ranks), Soc::by_name("Ascend910B2")?)?;
    let mut processes = Vec::new();
    for rank in 0..ranks {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", ranks.to_string());
        command.env("FASTATTENTION_RENDEZVOUS_FILE", folder.path().join("root"));
        processes.push(command.spawn().context("starting a rank")?);
    }
    // A rank that fails takes the others with it: they get an error, and all end.
    let mut failed = Vec::new();
    for (rank, process) in processes.iter_mut().enumerate() {
        if !process.wait()?.success() {
            failed.push(rank);
        }
    }
    ensure!(failed.is_empty(), "ranks {failed:?} have failed");
    Ok(())
}

/// This process is one rank.
fn run_rank(options: &Options) -> Result<()> {
    let job = Rendezvous::from_env()?;
    let name =
        if options.device == "npu" { format!("npu:{}", job.local_rank()) } else { options.device.clone() };
    if let Some(ranks) = options.ranks {
        ensure!(ranks == job.ranks(), "--ranks {ranks} given, the job has {} ranks", job.ranks());
    }
    let device = Device::open(&name)?;
    let problem = options.problem(job.ranks());
    let plan = match &options.block_rows {
        Some(rows) => plan_with(&problem, device.soc(), rows)?,
        None => plan(&problem, device.soc())?,
    };
    let layer = Layer::new(&problem);
    let mut operator = TilingAllReduce::new(job.communicator(&device)?)?;
    let y = launch(&mut operator, &plan, &layer.shard(&problem, job.rank()))?;

    let error = y
        .iter()
        .zip(layer.exact(&problem))
        .map(|(&y, exact)| (f64::from(y) - exact).abs())
        .fold(0.0, f64::max);
    if job.rank() == 0 {
        print!("{plan}");
    }
    println!(
        "rank {} of {} on {}: largest error against f64 {error:.1e}",
        job.rank(),
        job.ranks(),
        device.name()
    );
    // Values of y are about 1 in size: an ulp of f16 for each rank's summand and each addition, twice that
    // allowed.
    let tolerance = 4.0 * f64::from(job.ranks()) * f64::from(f16::EPSILON);
    ensure!(error <= tolerance, "rank {}: error {error:e}, at most {tolerance:e} wanted", job.rank());
    Ok(())
}

fn launch(operator: &mut TilingAllReduce, plan: &Plan, shard: &Tensors) -> Result<Vec<f16>> {
    let device = operator.device().clone();
    let stream = Stream::new(&device)?;
    let upload = |values: &[f16]| Buffer::from_slice(&device, values);
    let alloc = |bytes: u64| anyhow::Ok(Buffer::alloc(&device, usize::try_from(bytes)?)?);
    let [.., o_bytes, y_bytes] = plan.operand_bytes();
    let (q, k, v, weight) = (upload(&shard.q)?, upload(&shard.k)?, upload(&shard.v)?, upload(&shard.weight)?);
    let (o, y, workspace) = (alloc(o_bytes)?, alloc(y_bytes)?, alloc(plan.workspace_bytes())?);
    let linear = LinearArgs::Weight((&weight).into());
    let args = Args::new(&o, linear, &y).with_attention(AttentionArgs::new(&q, &k, &v, &workspace));
    operator.launch(&stream, plan, args)?;
    stream.synchronize()?;
    Ok(y.to_vec()?)
}

/// q `[rows, heads, head_dim]`, k and v, and the weight `[heads * head_dim, hidden]`.
struct Tensors {
    q: Vec<f16>,
    k: Vec<f16>,
    v: Vec<f16>,
    weight: Vec<f16>,
}

fn columns_of(heads: u32) -> usize {
    heads as usize * HEAD_DIM as usize
}

/// Rows, columns of q, columns of k and v, columns of the output.
fn sizes(problem: &Problem) -> [usize; 4] {
    let rows = problem.sequences.iter().map(|s| s.seqlen_q as usize).sum();
    [rows, columns_of(problem.spec.num_heads), columns_of(problem.spec.num_heads_k), problem.hidden as usize]
}

/// The tensors of all ranks.
struct Layer(Tensors);

impl Layer {
    fn new(problem: &Problem) -> Self {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut tensor = |rows: usize, columns: usize, scale: f32| -> Vec<f16> {
            (0..rows * columns).map(|_| f16::from_f32(scale * (rng.f32() * 2.0 - 1.0))).collect()
        };
        // The plan has bounded the tensors by a device's memory.
        let [rows, q, kv, hidden] = sizes(problem);
        Layer(Tensors {
            q: tensor(rows, q, 2.0),
            k: tensor(rows, kv, 2.0),
            v: tensor(rows, kv, 2.0),
            weight: tensor(q, hidden, 2.0 / (q as f32).sqrt()),
        })
    }

    /// What one rank holds.
    fn shard(&self, problem: &Problem, rank: u32) -> Tensors {
        let columns = |values: &[f16], heads: u32, some: std::ops::Range<u32>| -> Vec<f16> {
            let [row, first, last] = [heads, some.start, some.end].map(columns_of);
            values.chunks(row).flat_map(|row| &row[first..last]).copied().collect()
        };
        let (heads, heads_k) = (problem.heads_of(rank), problem.heads_k_of(rank));
        let [first, last] = [heads.start, heads.end].map(|head| columns_of(head) * problem.hidden as usize);
        Tensors {
            q: columns(&self.0.q, problem.spec.num_heads, heads),
            k: columns(&self.0.k, problem.spec.num_heads_k, heads_k.clone()),
            v: columns(&self.0.v, problem.spec.num_heads_k, heads_k),
            weight: self.0.weight[first..last].to_vec(),
        }
    }

    /// y in f64.
    fn exact(&self, problem: &Problem) -> Vec<f64> {
        let Tensors { q, k, v, weight } = &self.0;
        let [rows, _, _, hidden] = sizes(problem);
        let [heads, heads_k, dim] =
            [problem.spec.num_heads, problem.spec.num_heads_k, HEAD_DIM].map(|x| x as usize);
        let params = Params {
            batch: 1,
            num_heads: heads,
            num_heads_k: heads_k,
            head_dim: dim,
            head_dim_v: dim,
            seqlen_q: rows,
            seqlen_k: rows,
            softmax_scale: 1.0 / (dim as f64).sqrt(),
            mask: problem.spec.mask,
        };
        let tensor = |values, heads| Tensor::dense(values, rows, heads, dim);
        let o = attention(&params, tensor(q, heads), tensor(k, heads_k), tensor(v, heads_k)).o;
        let mut y = vec![0.0; rows * hidden];
        for (o, y) in o.chunks(heads * dim).zip(y.chunks_mut(hidden)) {
            for (&o, weight) in o.iter().zip(weight.chunks(hidden)) {
                y.iter_mut().zip(weight).for_each(|(y, &w)| *y += o * f64::from(w));
            }
        }
        y
    }
}
