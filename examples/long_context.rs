//! K and V that do not fit the device: a model's shape and a budget give a placement; a prompt and decode
//! steps run by it, the host attending to its layers; samples are compared with attention in f64.
//!
//! `cargo run --release --example long_context -- --device cpu:1 --keys 8192 --prompt 2048 --device-mb 60`
//!
//! On an NPU, or with `cpu:N` as the device, rates are measured. On the simulator they are given: its device
//! has no time that a clock could measure. `--model-time` runs the steps on the simulator's clock, without
//! results, and shows them beside a device with room for everything. `--import` takes the prompt's K and V
//! over, as from another machine, instead of attending to it.

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use std::time::Instant;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use fastattention::cooperative::{
    plan, Args, Budget, Division, Lane, LayerOrder, Placement, Problem, Rates, Side, Store,
};
use fastattention::reference::{Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::{HostLink, ModelTime, Timeline};
use fastattention::{sim, DType, Soc};
use half::f16;

#[derive(Parser)]
struct Options {
    /// sim, sim:N, npu:N or cpu:N.
    #[arg(long, default_value = "cpu:1")]
    device: String,
    #[arg(long, default_value_t = 8)]
    layers: u32,
    #[arg(long, default_value_t = 8)]
    heads: u32,
    #[arg(long, default_value_t = 4)]
    heads_k: u32,
    #[arg(long, default_value_t = 64)]
    head_dim: u32,
    /// Keys that there is room for.
    #[arg(long, default_value_t = 4096)]
    keys: u32,
    /// Rows of the prompt.
    #[arg(long, default_value_t = 512)]
    prompt: u32,
    /// Decode steps behind it.
    #[arg(long, default_value_t = 4)]
    steps: u32,
    /// Memory of the device, MB (10^6 bytes).
    #[arg(long, default_value_t = 40)]
    device_mb: u64,
    /// Memory of the host, MB.
    #[arg(long, default_value_t = 4000)]
    host_mb: u64,
    /// Takes the prompt over instead of attending to it.
    #[arg(long)]
    import: bool,
    /// Times the steps by the simulator's clock and the given rates, on an Ascend910B2.
    #[arg(long, conflicts_with_all = ["device", "import"])]
    model_time: bool,
}

impl Options {
    fn problem(&self) -> Problem {
        let division = Division::Layers { order: LayerOrder::HostFirst, host: None };
        let shape = [1, self.keys, self.heads, self.head_dim];
        Problem::new(DType::F16, self.layers, shape, division)
            .with_num_heads_k(self.heads_k)
            .with_rows(1, self.prompt)
    }

    fn budget(&self) -> Budget {
        Budget { device_bytes: self.device_mb * 1_000_000, host_bytes: self.host_mb * 1_000_000 }
    }
}

/// Rates of the shape of published figures: a 910B2 with half of its 1.6 TB/s in decode, a link of 20 GB/s,
/// and half of a host's 200 GB/s. Nothing here was measured.
const GIVEN: Rates = Rates {
    down_bytes_per_s: 20e9,
    up_bytes_per_s: 20e9,
    latency_s: 40e-6,
    host_bytes_per_s: 100e9,
    device_bytes_per_s: 800e9,
    device_flops_per_s: 150e12,
};

fn main() -> Result<()> {
    papers_size()?;
    let options = Options::parse();
    if options.model_time {
        return model_time(&options);
    }
    let (device, host) = (Device::open(&options.device)?, Device::open("cpu:0")?);
    let problem = options.problem();
    let rates = if device.has_model_time() {
        println!("rates are given");
        GIVEN
    } else {
        println!("rates are measured on {} and {}", device.name(), host.name());
        Rates::measure(&device, &host, &problem)?
    };
    println!("{rates:?}");
    let placement = plan(&problem, device.soc(), options.budget(), &rates)?;
    println!("{placement}\n");
    run(&options, &device, &host, &placement)
}

/// One rank of eight of a model with 40 layers and 40 heads of 128, 256K tokens, by plan alone.
fn papers_size() -> Result<()> {
    let division = Division::Layers { order: LayerOrder::HostFirst, host: None };
    let problem = Problem::new(DType::F16, 40, [1, 1 << 18, 5, 128], division).with_rows(1, 8192);
    // 32 GB, of which a rank's weights take 9.5.
    let budget = Budget { device_bytes: 22_500_000_000, host_bytes: 200_000_000_000 };
    println!("40 layers, 40 heads of 128 on 8 ranks, 256K tokens, by given rates:");
    println!("{}\n", plan(&problem, Soc::by_name("Ascend910B2")?, budget, &GIVEN)?);
    Ok(())
}

/// Steps of the placement, and of all K and V on the device, on the simulator's clock.
fn model_time(options: &Options) -> Result<()> {
    let timeline = Timeline::new();
    let mut config = sim::Config::new(Soc::by_name("Ascend910B2")?);
    config.model_time = Some(ModelTime::only());
    config.timeline = Some(timeline.clone());
    config.host_link =
        Some(HostLink { up_bytes_per_s: GIVEN.up_bytes_per_s, down_bytes_per_s: GIVEN.down_bytes_per_s });
    let (device, host) = (Device::simulated(config)?, Device::open("cpu:0")?);
    let problem = options.problem();
    let placement = plan(&problem, device.soc(), options.budget(), &GIVEN)?;
    println!("{placement}\n");
    let room = Budget { device_bytes: 60_000_000_000, ..options.budget() };
    let whole = plan(&problem, device.soc(), room, &GIVEN)?;
    let placed_ms = step_ms(options, &placement, &timeline, [&device, &host])?;
    let whole_ms = step_ms(options, &whole, &timeline, [&device, &host])?;
    let of_host = (0..options.layers).filter(|layer| placement.share(Side::Host, *layer).is_some()).count();
    let kv_bytes = 4.0
        * f64::from(options.heads_k)
        * f64::from(options.head_dim)
        * f64::from(options.prompt + options.steps);
    let upload_ms = of_host as f64 * kv_bytes / GIVEN.up_bytes_per_s * 1e3;
    let layers = options.layers;
    println!("a decode step in model time, by given rates of the host, {of_host} of {layers} layers there:");
    println!("  as placed                         {placed_ms:.3} ms");
    let upload_ms = upload_ms.max(whole_ms);
    println!("  K and V of the host's layers up   {upload_ms:.3} ms, the device's attention behind them");
    println!("  all on a device with room for it  {whole_ms:.3} ms");
    Ok(())
}

/// The last decode step, milliseconds.
fn step_ms(
    options: &Options,
    placement: &Placement,
    timeline: &Timeline,
    [device, host]: [&Device; 2],
) -> Result<f64> {
    let mut store = Store::new(device, host, placement)?;
    let stream = Stream::new(device)?;
    let lane = store.lane(&stream)?;
    let rows = |count: u32, heads: u32| {
        Buffer::alloc(device, 2 * count as usize * heads as usize * options.head_dim as usize)
    };
    let (k, v) = (rows(options.prompt, options.heads_k)?, rows(options.prompt, options.heads_k)?);
    let mut prompt = store.import(&lane, 0, options.prompt)?;
    for layer in 0..options.layers {
        store.import_layer(&mut prompt, layer, &k, &v)?;
    }
    let (q, o) = (rows(1, options.heads)?, rows(1, options.heads)?);
    for _ in 0..options.steps {
        device.synchronize()?;
        timeline.clear();
        let mut step = store.step(&lane, &[(0, 1)])?;
        for layer in 0..options.layers {
            store.attend(&mut step, layer, Args::new(&q, &k, &v, &o))?;
        }
    }
    device.synchronize()?;
    Ok(timeline.solve()?.makespan_us / 1e3)
}

/// Rows of one layer on the host, in the order of their positions.
#[derive(Default)]
struct Rows {
    q: Vec<f16>,
    k: Vec<f16>,
    v: Vec<f16>,
}

fn run(options: &Options, device: &Device, host: &Device, placement: &Placement) -> Result<()> {
    let mut store = Store::new(device, host, placement)?;
    let stream = Stream::new(device)?;
    let lane = store.lane(&stream)?;
    // The layers at both ends, of which one is the host's if there is any.
    let samples = [0, options.layers - 1];
    let mut kept = [Rows::default(), Rows::default()];
    if options.import {
        import(options, device, (&mut store, &lane), &mut kept)?;
    }
    for step in u32::from(options.import)..=options.steps {
        let rows = if step == 0 { options.prompt } else { 1 };
        let mut under_way =
            if step == 0 { store.prefill(&lane, 0, rows)? } else { store.step(&lane, &[(0, 1)])? };
        // Projections would make these; they are here before the clock starts.
        let mut layers = Vec::new();
        for layer in 0..options.layers {
            let seed = u64::from(layer) << 32 | u64::from(step) << 8;
            let data =
                |heads: u32, seed| check::normal::<f16>((rows * heads * options.head_dim) as usize, seed);
            let (q, k, v) =
                (data(options.heads, seed), data(options.heads_k, seed + 1), data(options.heads_k, seed + 2));
            let buffer = |data: &[f16]| Buffer::from_slice(device, data);
            let o = Buffer::alloc(device, size_of_val(q.as_slice()))?;
            layers.push([buffer(&q)?, buffer(&k)?, buffer(&v)?, o]);
            for (_, kept) in samples.iter().zip(&mut kept).filter(|(sample, _)| **sample == layer) {
                kept.q = q.clone();
                kept.k.extend(&k);
                kept.v.extend(&v);
            }
        }
        let start = Instant::now();
        for (layer, [q, k, v, o]) in (0..).zip(&layers) {
            store.attend(&mut under_way, layer, Args::new(q, k, v, o))?;
        }
        stream.synchronize()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let keys = store.keys(0)?;
        let of_model = if device.has_model_time() { "of the simulator's own work" } else { "measured" };
        println!("step {step}: {rows} rows, {keys} keys, {ms:.3} ms {of_model}");
        for (&layer, kept) in samples.iter().zip(&kept) {
            let side = placement.share(Side::Host, layer).map_or("the device", |_| "the host");
            print!("  layer {layer} of {side}, ");
            let o = &layers.get(layer as usize).context("a layer")?[3];
            compare(options, kept, [rows, keys], o)?;
        }
    }
    ensure!(store.keys(0)? == options.prompt + options.steps, "the sequence has another length");
    Ok(())
}

/// Takes a prompt over: the same K and V in all layers.
fn import(
    options: &Options,
    device: &Device,
    (store, lane): (&mut Store, &Lane),
    kept: &mut [Rows; 2],
) -> Result<()> {
    let len = options.prompt as usize * options.heads_k as usize * options.head_dim as usize;
    let [k, v] = [1, 2].map(|seed| check::normal::<f16>(len, seed));
    let operands = [Buffer::from_slice(device, &k)?, Buffer::from_slice(device, &v)?];
    let start = Instant::now();
    let mut step = store.import(lane, 0, options.prompt)?;
    for layer in 0..options.layers {
        store.import_layer(&mut step, layer, &operands[0], &operands[1])?;
    }
    device.synchronize()?;
    println!("{} keys taken over, {:.3} s", options.prompt, start.elapsed().as_secs_f64());
    for kept in kept {
        (kept.k, kept.v) = (k.clone(), v.clone());
    }
    Ok(())
}

fn compare(options: &Options, rows: &Rows, [seqlen_q, seqlen_k]: [u32; 2], o: &Buffer) -> Result<()> {
    let [heads, heads_k, dim, seqlen_q, seqlen_k] =
        [options.heads, options.heads_k, options.head_dim, seqlen_q, seqlen_k].map(|n| n as usize);
    let params = Params {
        batch: 1,
        num_heads: heads,
        num_heads_k: heads_k,
        head_dim: dim,
        head_dim_v: dim,
        seqlen_q,
        seqlen_k,
        softmax_scale: 1.0 / f64::from(options.head_dim).sqrt(),
        mask: fastattention::cooperative::Mask::Causal,
    };
    let operands = [
        Tensor::dense(rows.q.as_slice(), seqlen_q, heads, dim),
        Tensor::dense(rows.k.as_slice(), seqlen_k, heads_k, dim),
        Tensor::dense(rows.v.as_slice(), seqlen_k, heads_k, dim),
    ];
    check::output(&params, DType::F16, operands, o).map(drop)
}
