//! Attention on the host beside an upload to a GPU: what the CPU-device cooperative strategy rests on.
//!
//! `cargo bench --bench host_beside_upload --features cuda -- [THREADS]`, on a machine with an NVIDIA GPU.
//! One layer's share of K and V (5 heads of 128, 262144 keys, f16, 671 MB) lies in pinned memory. A round
//! measures
//!
//! - the upload of one layer;
//! - attention of a decode step to one layer, on the host's threads;
//! - both at once, of two layers: what a step with one layer on each side takes, if the device's own
//!   attention hides behind the next upload.
//!
//! A step that uploads both layers takes two uploads. Rounds take turns; the least and the middle of each are
//! shown. Uploaded bytes are read back, and the attention is compared with f64. All times are **measured** on
//! this host.
#![allow(clippy::print_stdout, reason = "the report")]
#![allow(unsafe_code, reason = "pinned memory comes uninitialised")]
#![allow(clippy::cast_precision_loss, reason = "counts for rates")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, PinnedHostSlice};
use fastattention_cpu::{Config, DType, Host, Problem, Slices};
use half::f16;

const HEADS: usize = 5;
const DIM: usize = 128;
const KEYS: usize = 262_144;
const ROUNDS: usize = 9;

/// K, then V, of one layer.
type Layer = PinnedHostSlice<u16>;

fn layer(context: &Arc<CudaContext>, seed: u64) -> Result<Layer> {
    // SAFETY: every element is written below before anybody reads one.
    let mut layer = unsafe { context.alloc_pinned::<u16>(2 * KEYS * HEADS * DIM) }?;
    let mut random = fastrand::Rng::with_seed(seed);
    layer.as_mut_slice()?.fill_with(|| f16::from_f32(random.f32() - 0.5).to_bits());
    Ok(layer)
}

struct Step {
    host: Host,
    problem: Problem,
    q: Vec<f16>,
    o: Vec<f16>,
}

impl Step {
    fn attend(&mut self, layer: &Layer) -> Result<()> {
        let (k, v) = bytemuck::cast_slice::<u16, f16>(layer.as_slice()?).split_at(KEYS * HEADS * DIM);
        Ok(self.host.attention_slices(&self.problem, Slices::new(&self.q, k, v, &mut self.o))?)
    }

    /// Largest difference from f64.
    fn error(&self, layer: &Layer) -> Result<f64> {
        let (k, v) = bytemuck::cast_slice::<u16, f16>(layer.as_slice()?).split_at(KEYS * HEADS * DIM);
        let mut largest = 0.0f64;
        for head in 0..HEADS {
            let row = |of: &[f16], key: usize| -> Vec<f64> {
                of[(key * HEADS + head) * DIM..][..DIM].iter().map(|x| x.to_f64()).collect()
            };
            let q = row(&self.q, 0);
            let (mut sum, mut o) = (0.0, vec![0.0; DIM]);
            for key in 0..KEYS {
                let score: f64 = q.iter().zip(row(k, key)).map(|(q, k)| q * k).sum();
                let weight = (score / (DIM as f64).sqrt()).exp();
                sum += weight;
                o.iter_mut().zip(row(v, key)).for_each(|(o, v)| *o += weight * v);
            }
            for (got, wanted) in row(&self.o, 0).iter().zip(o) {
                let error = (got - wanted / sum).abs();
                largest = if error.is_nan() { f64::INFINITY } else { largest.max(error) };
            }
        }
        Ok(largest)
    }
}

fn upload(stream: &Arc<CudaStream>, from: &Layer, to: &mut CudaSlice<u16>) -> Result<()> {
    Ok(stream.memcpy_htod(from, to)?)
}

fn ms(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let threads: Option<NonZeroUsize> = arguments.next().map(|text| text.parse()).transpose()?;
    let context = CudaContext::new(0).context("a GPU")?;
    let stream = context.new_stream()?;
    let layers = [layer(&context, 1)?, layer(&context, 2)?];
    let mut device = stream.alloc_zeros::<u16>(layers[0].len())?;
    let host = Host::new(&Config { threads, ..Config::default() })?;
    println!("{}, {} threads, {}", context.name()?, host.threads(), host.isa());
    let mut random = fastrand::Rng::with_seed(3);
    let q = (0..HEADS * DIM).map(|_| f16::from_f32(random.f32() - 0.5)).collect();
    let problem = Problem::new(DType::F16, [1, 1, HEADS, DIM], KEYS);
    let mut step = Step { host, problem, q, o: vec![f16::NAN; HEADS * DIM] };

    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        times[0].push(ms(|| {
            upload(&stream, &layers[1], &mut device)?;
            Ok(stream.synchronize()?)
        })?);
        times[1].push(ms(|| step.attend(&layers[0]))?);
        times[2].push(ms(|| {
            upload(&stream, &layers[1], &mut device)?;
            step.attend(&layers[0])?;
            Ok(stream.synchronize()?)
        })?);
    }
    let error = step.error(&layers[0])?;
    ensure!(error < 1e-4, "attention on the host is {error} away from f64");
    ensure!(stream.clone_dtoh(&device)? == layers[1].as_slice()?, "the upload gave other bytes");

    let gb = (layers[0].len() * 2) as f64 / 1e9;
    for (name, times) in
        ["upload of a layer", "attention to a layer", "both, of two layers"].iter().zip(&mut times)
    {
        times.sort_by(f64::total_cmp);
        let (least, middle) = (times[0], times[ROUNDS / 2]);
        println!("{name}: least {least:.2} ms ({:.1} GB/s), middle {middle:.2} ms", gb / least * 1e3);
    }
    for (name, at) in [("least", 0), ("middle", ROUNDS / 2)] {
        println!("two uploads over both at once, {name}: {:.2}", 2.0 * times[0][at] / times[2][at]);
    }
    println!("largest difference from f64: {error:.1e}");
    Ok(())
}
