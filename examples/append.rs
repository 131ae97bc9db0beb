//! Model time of an append to a paged cache, beside a plain copy of the same rows by all vector cores.
//!
//! `cargo run --release --example append -- --tokens 4096 --page 128 [--consecutive] [--heads-first]
//! [--pipes]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod model_time;

use anyhow::Result;
use clap::Parser;
use fastattention::append::{plan, Append, Args, Problem};
use fastattention::baseline::MemoryCopy;
use fastattention::runtime::Buffer;
use fastattention::serving::{self, KvLayout};
use fastattention::sim::time::LaunchReport;
use fastattention::DType;
use model_time::{print_pipes, Timed};

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
    /// Pages have heads before rows.
    #[arg(long)]
    heads_first: bool,
    #[arg(long, default_value_t = 8)]
    heads_k: u32,
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
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
        "{}: {} tokens, page {}: {:.2} us and the launch; K and V {:.2} MB at {:.0} GB/s; a plain copy takes {:.2} us, \
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

/// Of the rows of K and V.
fn bytes(o: &Options) -> u64 {
    4 * u64::from(o.tokens) * u64::from(o.heads_k) * u64::from(o.head_dim)
}

fn append(o: &Options) -> Result<LaunchReport> {
    let pages = o.room * o.tokens.div_ceil(o.page);
    let kv = KvLayout::paged(o.page, pages);
    let kv = if o.heads_first { kv.with_heads_first() } else { kv };
    let cache = serving::Problem::new(DType::F16, [1, 1, o.heads_k, o.head_dim], 1, kv);
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
    let on = Timed::new(&o.soc)?;
    let device = &on.device;
    let plan = plan(&Problem::new(o.tokens, &cache), device.soc())?;
    let [k, v, k_cache, v_cache] = plan.operand_bytes();
    let filled = |bytes: u64| anyhow::Ok(Buffer::from_slice(device, &vec![0u8; usize::try_from(bytes)?])?);
    let (k, v, k_cache, v_cache) = (filled(k)?, filled(v)?, on.alloc(k_cache)?, on.alloc(v_cache)?);
    let places = Buffer::from_slice(device, &places)?;
    let args = Args::new(&k, &v, &places, &k_cache, &v_cache);
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
