//! Model time of an append to a paged cache, with or without rotation, beside a plain copy of the same rows
//! by all vector cores.
//!
//! `cargo run --release --example append -- --tokens 4096 --page 128 [--consecutive] [--order nz]
//! [--rotary halves [--heads 32]] [--pipes]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod model_time;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use fastattention::append::{plan, Append, Args, Pairing, Problem, Rotary, RotaryArgs};
use fastattention::baseline::MemoryCopy;
use fastattention::runtime::{Buffer, Operand};
use fastattention::serving::{self, KvLayout};
use fastattention::sim::time::LaunchReport;
use fastattention::DType;
use model_time::{print_pipes, Order, Timed};

#[derive(Clone, Copy, ValueEnum)]
enum Rotation {
    Halves,
    Adjacent,
}

#[derive(Parser)]
struct Options {
    /// New tokens.
    #[arg(long, default_value_t = 4096)]
    tokens: u32,
    /// Keys of a page.
    #[arg(long, default_value_t = 128)]
    page: u32,
    /// Pages of the cache for each that the tokens fill.
    #[arg(long, default_value_t = 2)]
    room: u32,
    /// Tokens fill one page after the other, as those of a prompt; else each has a place anywhere.
    #[arg(long)]
    consecutive: bool,
    #[arg(long, value_enum, default_value_t = Order::KeysFirst)]
    order: Order,
    #[arg(long, default_value_t = 8)]
    heads_k: u32,
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
    /// Keys are rotated, all of their elements unless `--dims` says less.
    #[arg(long)]
    rotary: Option<Rotation>,
    /// Heads of queries that are rotated with them; 0: none.
    #[arg(long, default_value_t = 0)]
    heads: u32,
    #[arg(long)]
    dims: Option<u32>,
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
    /// Shows how busy the pipes of the first core are.
    #[arg(long)]
    pipes: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (append, copy) = (append(&options)?, copy(&options)?);
    let bytes = bytes(&options);
    // Read and written.
    let rate = |us: f64| 2.0 * bytes as f64 / us / 1000.0;
    println!(
        "{}: {} tokens, page {}: {:.2} us and the launch; rows {:.2} MB at {:.0} GB/s; a plain copy takes {:.2} us, \
         {:.0} GB/s; {:.3} of its rate",
        options.soc,
        options.tokens,
        options.page,
        append.core_us(),
        bytes as f64 / 1e6,
        rate(append.core_us()),
        copy.core_us(),
        rate(copy.core_us()),
        copy.core_us() / append.core_us(),
    );
    if options.pipes {
        print_pipes(&append);
    }
    Ok(())
}

/// Positions of the table.
const POSITIONS: u32 = 8192;

/// Of the rows of K, V and q.
fn bytes(o: &Options) -> u64 {
    2 * u64::from(o.tokens) * u64::from(2 * o.heads_k + o.heads) * u64::from(o.head_dim)
}

fn rotary(o: &Options) -> Option<Rotary> {
    let pairing = match o.rotary? {
        Rotation::Halves => Pairing::Halves,
        Rotation::Adjacent => Pairing::Adjacent,
    };
    let rotary = Rotary::new(pairing, o.dims.unwrap_or(o.head_dim), POSITIONS);
    Some(if o.heads > 0 { rotary.with_q() } else { rotary })
}

fn append(o: &Options) -> Result<LaunchReport> {
    let pages = o.room * o.tokens.div_ceil(o.page);
    let kv = o.order.of(KvLayout::paged(o.page, pages));
    let heads = o.heads.max(o.heads_k);
    let cache = serving::Problem::new(DType::F16, [1, 1, heads, o.head_dim], 1, kv);
    let cache = cache.with_num_heads_k(o.heads_k);
    let mut rng = fastrand::Rng::with_seed(1);
    let places = if o.consecutive {
        let mut order: Vec<u32> = (0..pages).collect();
        rng.shuffle(&mut order);
        (0..o.tokens).map(|i| order[(i / o.page) as usize] * o.page + i % o.page).collect()
    } else {
        let mut all: Vec<u32> = (0..pages * o.page).collect();
        rng.shuffle(&mut all);
        all.truncate(o.tokens as usize);
        all
    };
    // Those of one prompt, or of steps of many sequences.
    let positions = (0..o.tokens).map(|i| if o.consecutive { i % POSITIONS } else { rng.u32(..POSITIONS) });
    let lists: Vec<u32> = places.into_iter().chain(positions).collect();
    let on = Timed::new(&o.soc)?;
    let device = &on.device;
    let mut problem = Problem::new(o.tokens, &cache);
    problem.rotary = rotary(o);
    let plan = plan(&problem, device.soc())?;
    let filled = |bytes: u64| anyhow::Ok(Buffer::from_slice(device, &vec![0u8; usize::try_from(bytes)?])?);
    let [k, v, k_cache, v_cache] = plan.operand_bytes();
    let (k, v, k_cache, v_cache) = (filled(k)?, filled(v)?, on.alloc(k_cache)?, on.alloc(v_cache)?);
    let [q, q_out] = plan.query_bytes();
    let (q, q_out, table) = (filled(q)?, on.alloc(q_out)?, filled(plan.table_bytes())?);
    // One buffer of both lists: see "Of prompts and mixed batches" in docs/serving.md.
    let lists = Buffer::from_slice(device, &lists)?;
    let positions = Operand::at(&lists, usize::try_from(plan.places_bytes())?);
    let mut args = Args::new(&k, &v, &lists, &k_cache, &v_cache);
    if let Some(rotary) = problem.rotary {
        let operands = RotaryArgs::new(positions, &table);
        args = args.with_rotary(if rotary.has_q { operands.with_q(&q, &q_out) } else { operands });
    }
    let append = Append::new(device)?;
    on.last(1, |stream| append.launch(stream, &plan, args))
}

fn copy(o: &Options) -> Result<LaunchReport> {
    let on = Timed::new(&o.soc)?;
    let src = Buffer::from_slice(&on.device, &vec![0u8; usize::try_from(bytes(o))?])?;
    let dst = on.alloc(bytes(o))?;
    let (copy, cores) = (MemoryCopy::new(&on.device)?, on.device.soc().vector_cores);
    on.last(1, |stream| copy.launch(stream, cores, bytes(o), (&dst).into(), (&src).into()))
}
