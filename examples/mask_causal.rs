//! Causal attention of a chunk of new tokens after cached ones: the mask is aligned to the bottom right, so
//! the last query sees every key. No mask tensor is given: blocks right of the diagonal are not computed,
//! blocks on it are masked on the device.
//!
//! `cargo run --release --example mask_causal [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::DType;
use half::f16;

const NUM_HEADS: u32 = 4;
const HEAD_DIM: u32 = 64;
const SEQLEN_Q: u32 = 128;
const SEQLEN_K: u32 = 384;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    println!("device: {} ({})", device.name(), device.soc().name);

    let problem = Problem::new(DType::F16, [1, SEQLEN_Q, NUM_HEADS, HEAD_DIM])
        .with_seqlen_k(SEQLEN_K)
        .with_mask(Mask::Causal)
        .with_lse();
    let plan = plan(&problem, device.soc())?;
    for row in [0, SEQLEN_Q - 1] {
        println!("query {row} sees keys {:?} of {SEQLEN_K}", plan.shape().visible_keys(row..row + 1));
    }

    let elements = |seqlen: u32| (seqlen * NUM_HEADS * HEAD_DIM) as usize;
    let q = check::normal::<f16>(elements(SEQLEN_Q), 1);
    let k = check::normal::<f16>(elements(SEQLEN_K), 2);
    let v = check::normal::<f16>(elements(SEQLEN_K), 3);
    let buffers = Buffers::from_slices(&device, &plan, [&q, &k, &v])?;
    let stream = Stream::new(&device)?;
    FlashAttention::new(&device)?.launch(&stream, &plan, buffers.args())?;
    stream.synchronize()?;
    check::against_f64(&plan, [&q, &k, &v], &buffers)
}
