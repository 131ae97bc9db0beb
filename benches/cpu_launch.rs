//! What a launch costs on a device `cpu:N`, beside a direct call of the same kernel: attention forward, f16,
//! full mask, with one thread, for a shape of about 100 us and for one that is next to nothing.
//!
//! `cargo bench --bench cpu_launch`. A round is [`LAUNCHES`] direct calls; as many launches that are queued,
//! and one wait for all of them; as many launches that are waited for one by one. Rounds take turns. The
//! answers of both ways are compared bit by bit first. All times are **measured** on this host.
#![allow(clippy::print_stdout, reason = "the report")]

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{ensure, Result};
use fastattention::attention::{plan, Buffers, FlashAttention, Plan, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::{cpu, DType, Soc};
use fastattention_cpu::{Host, Slices};
use half::f16;

/// `[batch, seqlen, heads, head_dim]`.
const SHAPES: [[u32; 4]; 2] = [[1, 128, 2, 64], [1, 16, 1, 16]];
const LAUNCHES: usize = 200;
const ROUNDS: usize = 15;

/// The operator on a device.
struct Launched {
    stream: Stream,
    operator: FlashAttention,
    buffers: Buffers,
    plan: Plan,
}

impl Launched {
    fn new(shape: [u32; 4], data: [&[f16]; 3]) -> Result<Self> {
        let mut config = cpu::Config::new(Soc::by_name("Ascend910B2")?)?;
        config.threads = NonZeroUsize::new(1);
        let device = Device::host(config)?;
        let plan = plan(&Problem::new(DType::F16, shape), device.soc())?;
        let buffers = Buffers::from_slices(&device, &plan, data)?;
        let operator = FlashAttention::new(&device)?;
        Ok(Self { stream: Stream::new(&device)?, operator, buffers, plan })
    }

    fn queue(&self) -> Result<()> {
        Ok(self.operator.launch(&self.stream, &self.plan, self.buffers.args())?)
    }
}

/// The kernel beneath.
struct Direct<'a> {
    host: Host,
    problem: fastattention_cpu::Problem,
    data: [&'a [f16]; 3],
    o: Vec<f16>,
}

impl<'a> Direct<'a> {
    fn new(shape: [u32; 4], data: [&'a [f16]; 3]) -> Result<Self> {
        let config = fastattention_cpu::Config { threads: NonZeroUsize::new(1), ..Default::default() };
        let shape = shape.map(|n| n as usize);
        let mut problem = fastattention_cpu::Problem::new(fastattention_cpu::DType::F16, shape, shape[1]);
        problem.is_row_invariant = true;
        Ok(Self { host: Host::new(&config)?, problem, data, o: vec![f16::NAN; data[0].len()] })
    }

    fn call(&mut self) -> Result<()> {
        let [q, k, v] = self.data;
        Ok(self.host.attention_slices(&self.problem, Slices::new(q, k, v, &mut self.o))?)
    }
}

/// Microseconds of each of [`LAUNCHES`].
fn micros(round: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    round()?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / LAUNCHES as f64)
}

fn main() -> Result<()> {
    SHAPES.into_iter().try_for_each(measure)
}

fn measure(shape: [u32; 4]) -> Result<()> {
    let elements = shape.map(|n| n as usize).iter().product();
    let mut rng = fastrand::Rng::with_seed(1);
    let data: [Vec<f16>; 3] =
        std::array::from_fn(|_| (0..elements).map(|_| f16::from_f32(2.0 * rng.f32() - 1.0)).collect());
    let data = [data[0].as_slice(), &data[1], &data[2]];
    let (launched, mut direct) = (Launched::new(shape, data)?, Direct::new(shape, data)?);
    direct.call()?;
    launched.queue()?;
    launched.stream.synchronize()?;
    ensure!(launched.buffers.o.to_vec::<f16>()? == direct.o, "a launch and a direct call differ");

    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(micros(|| (0..LAUNCHES).try_for_each(|_| direct.call()))?);
        times[1].push(micros(|| {
            (0..LAUNCHES).try_for_each(|_| launched.queue())?;
            Ok(launched.stream.synchronize()?)
        })?);
        times[2].push(micros(|| {
            (0..LAUNCHES).try_for_each(|_| {
                launched.queue()?;
                Ok(launched.stream.synchronize()?)
            })
        })?);
    }
    for (name, times) in ["direct call", "queued launch", "launch and wait"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{shape:?} {name:<16} median {:8.2} us, least {:8.2} us", times[ROUNDS / 2], times[0]);
    }
    Ok(())
}
