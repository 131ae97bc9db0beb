//! With feature `cuda`.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Context, Result};
use fastattention::attention::{Layout, Problem};
use fastattention::cuda::{self, host, Device, DeviceReport};
use fastattention_cli::progress::Progress;
use half::f16;

use super::GpuState;
use crate::doctor::SelfTest;
use crate::run::Computed;
use crate::self_test;
use crate::tensors::Operands;

/// What a user of an emulating GPU has to know.
const EMULATED: &str =
    "this GPU emulates the tensor instruction of the kernels: results are right, times say nothing about a V100";

/// Attention on a GPU, and a summary.
///
/// # Errors
/// There is no such GPU, it cannot be used, or it cannot run the problem.
pub(crate) fn attention(
    ordinal: usize,
    problem: &Problem,
    operands: &Operands<'_>,
    layout: Layout,
) -> Result<(Computed, String)> {
    let device = Device::open(ordinal)?;
    // Before the operands are read as f16.
    let plan = cuda::plan(problem, device.facts())?;
    if device.is_emulated() {
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(io::stderr(), "warning: {EMULATED}");
    }
    let [q, k, v] = [&operands.q, &operands.k, &operands.v].map(|operand| halves(operand.bytes));
    let progress = Progress::new(format!("attention on cuda:{ordinal}"));
    let start = Instant::now();
    let output = host::attention_on(&device, problem, &q, &k, &v);
    let host_time = start.elapsed();
    progress.finish();
    let output = output?;
    let o = output.o.into_iter().flat_map(f16::to_le_bytes).collect();
    let lse = output.lse.into_iter().flat_map(f32::to_le_bytes).collect();
    let shape = plan.shape();
    let splits = match plan.num_splits() {
        0 | 1 => String::new(),
        splits => format!(", keys in {splits} splits"),
    };
    let summary = format!(
        "cuda:{ordinal} ({}): {} as {layout}, {shape}; {}{splits}; {:.3} s host time with copies and the driver's \
         compilation",
        device.facts(),
        shape.dtype,
        plan.kernel().unwrap_or("no kernel: o is empty"),
        host_time.as_secs_f64()
    );
    Ok((Computed { o, lse }, summary))
}

fn halves(bytes: &[u8]) -> Vec<f16> {
    bytes.chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]])).collect()
}

/// A line for each GPU.
pub(crate) fn lines() -> Vec<String> {
    let line = |DeviceReport { name, device, .. }| match device {
        Ok(device) => format!("{name:<6} {}", device.facts()),
        Err(reason) => format!("{name:<6} not usable: {reason}"),
    };
    cuda::devices().into_iter().map(line).collect()
}

/// Each GPU with its test.
pub(crate) fn states() -> Vec<GpuState> {
    cuda::devices().into_iter().map(state).collect()
}

fn state(DeviceReport { name, device, .. }: DeviceReport) -> GpuState {
    let nothing = GpuState {
        name,
        error: None,
        gpu: None,
        driver_cuda_version: None,
        compute_capability: None,
        emulated: None,
        self_test: None,
    };
    let device = match device {
        Ok(device) => device,
        Err(error) => return GpuState { error: Some(error.to_string()), ..nothing },
    };
    let version = |(major, minor): (u32, u32)| Some(format!("{major}.{minor}"));
    let test = self_test::run_with(|problem, [q, k, v]| {
        let output = host::attention_on(&device, problem, q, k, v).context("attention")?;
        Ok(output.o.into_iter().map(f64::from).collect())
    });
    GpuState {
        gpu: Some(device.facts().to_string()),
        driver_cuda_version: version(device.driver_version()),
        compute_capability: version(device.facts().compute_capability),
        emulated: Some(device.is_emulated()),
        self_test: Some(SelfTest::of(test.map(|comparison| comparison.to_string()))),
        ..nothing
    }
}
