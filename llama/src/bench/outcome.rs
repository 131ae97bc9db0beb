//! What a run takes.

use std::fmt;

use fastattention::sim::time::LaunchReport;
use serde::Serialize;

use super::step::StepShape;
use super::{Launches, Memory, Run, Shape};

/// A kernel on the clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Launch {
    /// Its name.
    pub kernel: String,
    /// Groups or cores that it was launched on.
    pub blocks: u32,
    /// Microseconds of the task, its launch included.
    pub us: f64,
}

impl Launch {
    pub(super) fn of(report: &LaunchReport) -> Self {
        Self { kernel: report.kernel.clone(), blocks: report.blocks, us: report.task_us() }
    }
}

/// One operator of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PartTime {
    /// What it is.
    pub name: &'static str,
    /// How often a step has it: once, or in every layer.
    pub count: u32,
    /// Its kernels.
    pub launches: Vec<Launch>,
    /// Its collectives, each alone, in microseconds.
    pub transfers_us: Vec<f64>,
    /// Microseconds of one: the sum of its kernels, or the end of blocks whose transfers run beside them.
    pub us: f64,
}

impl PartTime {
    /// What the host launches for one.
    fn num_launches(&self) -> u64 {
        (self.launches.len() + self.transfers_us.len()) as u64
    }
}

/// One step of the model: all rows of all prompts, or one new token of each sequence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepTime {
    /// New rows of each sequence.
    pub rows: u32,
    /// Keys that the last of them sees.
    pub keys: u32,
    /// In the order of their first launches.
    pub parts: Vec<PartTime>,
    /// Kernels and collectives of the step.
    pub num_launches: u64,
    /// Microseconds of the parts, one behind the other.
    pub device_us: f64,
    /// The same with the host: what it spends before the device can start, and where the device waits for it.
    pub us: f64,
}

impl StepTime {
    pub(super) fn new(run: &Run, shape: StepShape, parts: Vec<PartTime>) -> Self {
        let device_us = parts.iter().map(|part| f64::from(part.count) * part.us).sum();
        let num_launches = parts.iter().map(|part| u64::from(part.count) * part.num_launches()).sum();
        let us = match run.launches {
            Launches::Captured => run.launch_host_us + device_us,
            Launches::Eager => eager_us(&parts, run.model.layers, run.launch_host_us),
        };
        Self { rows: shape.rows, keys: shape.keys, parts, num_launches, device_us, us }
    }
}

/// The host launches without waiting for the device, which starts a part when the one before it has ended and
/// its first launch is there, and ends it when its last is there, too.
fn eager_us(parts: &[PartTime], layers: u32, host_us: f64) -> f64 {
    let (mut host, mut device) = (0.0, 0.0f64);
    let mut follow = |part: &PartTime| {
        let launches = part.num_launches() as f64;
        let start = device.max(host + host_us);
        host += launches * host_us;
        device = (start + part.us).max(host);
    };
    // Of a model with one layer all parts are there once, in the same order.
    let first = parts.iter().position(|part| part.count == layers).unwrap_or(parts.len());
    let end = parts.iter().rposition(|part| part.count == layers).map_or(first, |last| last + 1);
    parts[..first].iter().for_each(&mut follow);
    for _ in 0..layers {
        parts[first..end].iter().for_each(&mut follow);
    }
    parts[end..].iter().for_each(&mut follow);
    device
}

/// What a run takes, all of it model time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The model.
    pub model: Shape,
    /// Name of the device.
    pub soc: String,
    /// Devices that share each layer.
    pub tp: u32,
    /// Sequences.
    pub batch: u32,
    /// Tokens of each prompt.
    pub prompt: u32,
    /// Tokens generated for each.
    pub generate: u32,
    /// How attention is computed.
    pub attention: super::Attention,
    /// How launches come to the device.
    pub launches: Launches,
    /// Host time of an eager launch, and of a captured step.
    pub launch_host_us: f64,
    /// How products are added up over the devices.
    pub all_reduce: super::AllReduce,
    /// Of one device.
    pub memory: Memory,
    /// The step of the prompts.
    pub prefill: StepTime,
    /// Decode steps, by growing length of the cache.
    pub decode: Vec<StepTime>,
    /// Floating-point operations of the prefill that the Cubes do, as a share of their peak; of causal
    /// attention the half that is seen counts.
    pub prefill_peak_share: f64,
    /// Bytes of weights, keys and values that a device reads in the first decode step.
    pub decode_bytes: u64,
    /// Microseconds of all decode steps.
    pub decode_us: f64,
    /// Microseconds of everything.
    pub us: f64,
    /// Tokens generated in a second, of the whole batch.
    pub tokens_per_s: f64,
}

impl Outcome {
    pub(super) fn new(run: &Run, memory: Memory, prefill: StepTime, decode: Vec<StepTime>) -> Self {
        let decode_us = summed(&decode, run.generate - 1);
        let us = prefill.us + decode_us;
        Self {
            model: *run.model,
            soc: run.soc.name.clone(),
            tp: run.tp,
            batch: run.batch,
            prompt: run.prompt,
            generate: run.generate,
            attention: run.attention,
            launches: run.launches,
            launch_host_us: run.launch_host_us,
            all_reduce: run.all_reduce,
            memory,
            prefill_peak_share: prefill_flops(run)
                / (f64::from(run.tp) * peak_flops(run) * prefill.us * 1e-6),
            decode_bytes: decode_bytes(run, decode.first().map_or(0, |step| step.keys)),
            decode_us,
            us,
            tokens_per_s: f64::from(run.batch) * f64::from(run.generate) / (us * 1e-6),
            prefill,
            decode,
        }
    }
}

/// The time of `count` steps whose caches grow by a key each, where those given are the first, the last and
/// some between them; others lie on the lines between these.
fn summed(steps: &[StepTime], count: u32) -> f64 {
    let mut sum = steps.first().map_or(0.0, |first| first.us);
    for pair in steps.windows(2) {
        let [from, to] = pair else { continue };
        let all = to.keys - from.keys;
        let line = |i: u32| from.us + (to.us - from.us) * f64::from(i) / f64::from(all);
        sum += (1..=all).map(line).sum::<f64>();
    }
    debug_assert!(
        steps.is_empty() || steps[steps.len() - 1].keys - steps[0].keys + 1 == count,
        "the first and the last step are among those timed"
    );
    sum
}

/// Of one device.
fn peak_flops(run: &Run) -> f64 {
    // A Cube multiplies 16 x 16 x 16 in a cycle.
    f64::from(run.soc.cube_cores) * f64::from(run.soc.clock_mhz) * 1e6 * 2.0 * 4096.0
}

fn prefill_flops(run: &Run) -> f64 {
    let (model, [batch, prompt]) = (run.model, [run.batch, run.prompt].map(f64::from));
    let products =
        2.0 * (batch * prompt * model.active_layer_matrices() as f64 + batch * model.embedding() as f64);
    let width = f64::from(model.num_heads) * f64::from(model.head_dim);
    let pairs = batch * prompt * (prompt + 1.0) / 2.0;
    products + f64::from(model.layers) * 4.0 * pairs * width
}

/// Of matrices, keys and values, on one device.
fn decode_bytes(run: &Run, keys: u32) -> u64 {
    let model = run.model;
    let size = model.dtype.size_bytes() as u64;
    let matrices = model.active_layer_matrices() + model.embedding();
    let row = u64::from(model.num_heads_k) * u64::from(model.head_dim);
    let cache = 2 * u64::from(run.batch) * u64::from(keys) * row * u64::from(model.layers);
    size * (matrices + cache) / u64::from(run.tp)
}

impl fmt::Display for StepTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<22} {:>8} {:>12} {:>6} {:>12} {:>7}", "part", "launches", "us", "times", "ms", "%")?;
        for part in &self.parts {
            let all = f64::from(part.count) * part.us;
            writeln!(
                f,
                "{:<22} {:>8} {:>12.1} {:>6} {:>12.3} {:>7.1}",
                part.name,
                part.num_launches(),
                part.us,
                part.count,
                all / 1e3,
                100.0 * all / self.device_us
            )?;
        }
        writeln!(
            f,
            "{} launches, device {:.3} ms, with the host {:.3} ms",
            self.num_launches,
            self.device_us / 1e3,
            self.us / 1e3
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "model time, never measured: {} in {} on {} {}, batch {}, prompt {}, generate {}, attention {}, {} launches \
             of {} us on the host, all-reduce {}",
            self.model.name,
            self.model.dtype,
            self.tp,
            self.soc,
            self.batch,
            self.prompt,
            self.generate,
            self.attention,
            self.launches,
            self.launch_host_us,
            self.all_reduce
        )?;
        writeln!(f, "{}", self.memory)?;
        writeln!(f, "\nprefill, {} x {} rows", self.batch, self.prefill.rows)?;
        self.prefill.fmt(f)?;
        writeln!(f, "{:.1} % of the Cubes' peak", 100.0 * self.prefill_peak_share)?;
        if let Some(step) = self.decode.first() {
            writeln!(f, "\ndecode, {} keys of each sequence", step.keys)?;
            step.fmt(f)?;
            let rate = self.decode_bytes as f64 / step.us / 1e3;
            writeln!(f, "reads {:.3} GB, {rate:.0} GB/s", self.decode_bytes as f64 / 1e9)?;
        }
        for step in self.decode.iter().skip(1) {
            writeln!(f, "decode, {} keys: {:.3} ms", step.keys, step.us / 1e3)?;
        }
        writeln!(
            f,
            "\nprefill {:.1} ms, decode {:.1} ms in {} steps; {:.1} tokens/s generated",
            self.prefill.us / 1e3,
            self.decode_us / 1e3,
            self.generate - 1,
            self.tokens_per_s
        )
    }
}
