//! Sliding-window attention in bf16: each query sees itself and the 128 keys before it. The cost follows the
//! window, not the sequence: key blocks outside it are neither loaded nor computed.
//!
//! `cargo run --release --example mask_window [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Plan, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::DType;
use half::bf16;

const SHAPE: [u32; 4] = [1, 1024, 2, 64];
const ELEMENTS: usize = 1024 * 2 * 64;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    println!("device: {} ({})", device.name(), device.soc().name);

    let mask = Mask::Window { left: Some(128), right: Some(0) };
    let plan = plan(&Problem::new(DType::Bf16, SHAPE).with_mask(mask).with_lse(), device.soc())?;
    let (visited, all) = key_blocks(&plan);
    println!("{} of {all} key blocks skipped in each head ({})", all - visited, plan.chosen());

    let [q, k, v] = [1, 2, 3].map(|seed| check::normal::<bf16>(ELEMENTS, seed));
    let buffers = Buffers::from_slices(&device, &plan, [&q, &k, &v])?;
    let stream = Stream::new(&device)?;
    FlashAttention::new(&device)?.launch(&stream, &plan, buffers.args())?;
    stream.synchronize()?;
    check::against_f64(&plan, [&q, &k, &v], &buffers)
}

/// Key blocks that the row blocks of a head visit, and what they would visit without a mask.
fn key_blocks(plan: &Plan) -> (u32, u32) {
    let (shape, tiles) = (plan.shape(), plan.chosen());
    let row_blocks = shape.seqlen_q.div_ceil(tiles.block_m);
    let visited = |block| plan.key_range(plan.rows(block)).len().div_ceil(tiles.block_n as usize);
    let visited: usize = (0..row_blocks).map(visited).sum();
    (u32::try_from(visited).unwrap_or(u32::MAX), row_blocks * shape.seqlen_k.div_ceil(tiles.block_n))
}
