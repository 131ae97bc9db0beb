//! Grouped-query attention: 8 heads of q share 2 heads of k and v, which are read where they are and never
//! repeated in memory.
//!
//! `cargo run --release --example gqa [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::DType;
use half::f16;

const BATCH: u32 = 2;
const SEQLEN: u32 = 128;
const NUM_HEADS: u32 = 8;
const NUM_HEADS_K: u32 = 2;
const HEAD_DIM: u32 = 64;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    println!("device: {} ({})", device.name(), device.soc().name);

    let problem = Problem::new(DType::F16, [BATCH, SEQLEN, NUM_HEADS, HEAD_DIM])
        .with_num_heads_k(NUM_HEADS_K)
        .with_mask(Mask::Causal)
        .with_lse();
    let plan = plan(&problem, device.soc())?;
    let group = NUM_HEADS / NUM_HEADS_K;
    for head_k in 0..NUM_HEADS_K {
        println!("k and v of head {head_k} serve q heads {:?}", head_k * group..(head_k + 1) * group);
    }
    let [q_bytes, k_bytes, v_bytes, ..] = plan.shape().operand_bytes();
    println!("q {q_bytes} bytes, k and v {} bytes together", k_bytes + v_bytes);

    let elements = |heads: u32| (BATCH * SEQLEN * heads * HEAD_DIM) as usize;
    let q = check::normal::<f16>(elements(NUM_HEADS), 1);
    let k = check::normal::<f16>(elements(NUM_HEADS_K), 2);
    let v = check::normal::<f16>(elements(NUM_HEADS_K), 3);
    let buffers = Buffers::from_slices(&device, &plan, [&q, &k, &v])?;
    let stream = Stream::new(&device)?;
    FlashAttention::new(&device)?.launch(&stream, &plan, buffers.args())?;
    stream.synchronize()?;
    check::against_f64(&plan, [&q, &k, &v], &buffers)
}
