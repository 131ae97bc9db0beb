//! Attention on real data: q, k, v of a layer of SmolLM2-135M-Instruct (512 tokens, 9 heads over 3 kv heads,
//! causal), compared with f64.
//!
//! `cargo run --release --example quickstart [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use fastattention::attention::{host, FlashAttention, Mask, Problem};
use fastattention::runtime::Device;
use fastattention::DType;
use half::f16;
use safetensors::SafeTensors;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    let operator = FlashAttention::new(&device)?;
    println!("device: {} ({})", device.name(), device.soc().name);
    for layer in ["smollm2_l00_s512", "smollm2_l15_s512"] {
        let path = format!("{}/tests/data/{layer}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).with_context(|| path.clone())?;
        let file = SafeTensors::deserialize(&bytes)?;
        let tensor = |name: &str| -> Result<Vec<f16>> {
            Ok(bytemuck::allocation::pod_collect_to_vec(file.tensor(name)?.data()))
        };
        let exact = |name: &str| -> Result<Vec<f32>> {
            Ok(bytemuck::allocation::pod_collect_to_vec(file.tensor(name)?.data()))
        };

        let problem = Problem::new(DType::F16, [1, 512, 9, 64]).with_num_heads_k(3).with_mask(Mask::Causal);
        let start = Instant::now();
        let out = host::attention_on(&operator, &problem, &tensor("q")?, &tensor("k")?, &tensor("v")?)?;
        let elapsed = start.elapsed();

        let o: Vec<f32> = out.o.iter().map(|x| x.to_f32()).collect();
        println!(
            "{layer}: largest error against f64: o {:.2e} (largest |o| {:.2}), lse {:.2e}; {:.0} ms on the host",
            largest_error(&o, &exact("o_causal")?),
            o.iter().fold(0.0f32, |m, x| m.max(x.abs())),
            largest_error(&out.lse, &exact("lse_causal")?),
            elapsed.as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

fn largest_error(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
