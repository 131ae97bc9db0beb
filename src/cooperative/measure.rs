//! Rates, measured by a clock.

use std::time::Instant;

use super::lane::bytes;
use super::share::{Share, Side};
use super::{sizes, Problem, Rates};
use crate::attention::{self, FlashAttention};
use crate::runtime::{Buffer, Device, Operand, Rows, Staging, Stream};
use crate::serving::{self, ServingAttention};
use crate::{Error, ErrorKind, Result};

/// Bytes that cross the link in one copy, and of K and V that a side attends to. A problem with fewer keys is
/// measured with what it has.
const BYTES: u64 = 64 << 20;
/// Most rows of the prompt that is measured.
const PROMPT: u32 = 2048;
/// Runs, of which the fastest counts.
const RUNS: usize = 5;

impl Rates {
    /// Measures the link both ways, attention on both sides, and attention to a prompt on the device, in the
    /// shapes of `problem`. It takes up to some hundred MB on each side meanwhile, and a second or so.
    ///
    /// # Errors
    /// `Unsupported` for a simulated device, whose time is a model's: rates are given there, for example
    /// those of the chip that is simulated. `InvalidArgument` for a problem that a side cannot attend to, and
    /// else as the operators; `OutOfMemory`.
    pub fn measure(device: &Device, host: &Device, problem: &Problem) -> Result<Self> {
        if device.has_model_time() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "Rates::measure: device = {} given, whose time is a model's; given rates wanted",
                    device.name()
                ),
            ));
        }
        let [down_s, up_s] = link(device, bytes(BYTES))?;
        let [least_down_s, least_up_s] = link(device, 64)?;
        let host_bytes_per_s = decode(host, problem)?;
        let device_bytes_per_s = decode(device, problem)?;
        let per_s = |s: f64| bytes_as_f64(BYTES) / s;
        Ok(Self {
            down_bytes_per_s: per_s(down_s),
            up_bytes_per_s: per_s(up_s),
            latency_s: least_down_s + least_up_s + call(device)?,
            host_bytes_per_s,
            device_bytes_per_s,
            device_flops_per_s: prompt(device, problem)?,
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn bytes_as_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// Seconds of the fastest of some runs.
fn fastest(stream: &Stream, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    // The first run loads what the others find.
    for _ in 0..=RUNS {
        stream.synchronize()?;
        let start = Instant::now();
        run()?;
        stream.synchronize()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least.max(1e-9))
}

/// Seconds of a copy down, and of one up.
fn link(device: &Device, len: usize) -> Result<[f64; 2]> {
    let (buffer, staging) = (Buffer::alloc(device, len)?, Staging::alloc(device, len)?);
    buffer.zero()?;
    let stream = Stream::new(device)?;
    let rows = Rows { count: 1, bytes: len, pitch: len };
    let at = Operand::from(&buffer);
    let down = fastest(&stream, || stream.copy_down(at, rows, (&staging, 0)))?;
    let up = fastest(&stream, || stream.copy_up((&staging, 0), rows, at))?;
    Ok([down, up])
}

/// Seconds of a function of the host that does nothing.
fn call(device: &Device) -> Result<f64> {
    let stream = Stream::new(device)?;
    fastest(&stream, || stream.call_host(0.0, || Ok(())))
}

/// Bytes of K and V that a side attends to in a second, one row of one sequence.
fn decode(device: &Device, problem: &Problem) -> Result<f64> {
    let all = Share::of_all(problem);
    let key = u64::try_from(all.key_bytes(problem)).unwrap_or(u64::MAX).max(1);
    let keys = u32::try_from(BYTES / key).unwrap_or(u32::MAX).clamp(1, problem.max_keys.max(1));
    let one = Problem { slots: 1, max_keys: keys, rows: 1, ..*problem };
    let share = Share::of_all(&one);
    let plan = serving::plan(&share.attention(&one, Side::Host, [1, 1]), device.soc())?;
    let [q, k, v, o] = plan.operand_bytes().map(|len| {
        let buffer = Buffer::alloc(device, bytes(len))?;
        buffer.zero().map(|()| buffer)
    });
    let (q, k, v, o) = (q?, k?, v?, o?);
    let table: Vec<u32> = (0..share.pages_per_slot).collect();
    let table = Buffer::from_slice(device, &table)?;
    let lengths = Buffer::from_slice(device, &[keys.cast_signed()])?;
    let starts = Buffer::from_slice(device, &[0i32, 1])?;
    let workspace = Buffer::alloc(device, bytes(plan.workspace_bytes()))?;
    let (operator, stream) = (ServingAttention::new(device)?, Stream::new(device)?);
    let args = serving::Args::new(&q, &k, &v, &lengths, &o, &workspace)
        .with_row_starts(&starts)
        .with_block_table(&table);
    let s = fastest(&stream, || operator.launch(&stream, &plan, args))?;
    Ok(bytes_as_f64(u64::from(keys) * key) / s)
}

/// Products and sums of a prompt in a second.
fn prompt(device: &Device, problem: &Problem) -> Result<f64> {
    let rows = problem.prefill_rows.clamp(1, PROMPT);
    let plan = attention::plan(&sizes::prefill(problem, rows), device.soc())?;
    let buffers = attention::Buffers::alloc(device, &plan)?;
    for buffer in [&buffers.q, &buffers.k, &buffers.v] {
        buffer.zero()?;
    }
    let (operator, stream) = (FlashAttention::new(device)?, Stream::new(device)?);
    let s = fastest(&stream, || operator.launch(&stream, &plan, buffers.args()))?;
    Ok(bytes_as_f64(u64::try_from(super::plan::prompt_flops(problem, rows)).unwrap_or(u64::MAX)) / s)
}
