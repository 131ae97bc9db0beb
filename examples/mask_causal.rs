//! Causal attention of a chunk of new tokens after cached ones: the mask is aligned to the bottom right, so the last query sees
//! every key. No mask tensor is given: blocks right of the diagonal are not computed, blocks on it are masked on the device.
//!
//! `cargo run --release --example mask_causal [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Args, FlashAttention, Mask, Problem};
use fastattention::runtime::{Buffer, Device, Stream};
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
    let q_buffer = Buffer::from_slice(&device, &q)?;
    let k_buffer = Buffer::from_slice(&device, &k)?;
    let v_buffer = Buffer::from_slice(&device, &v)?;
    let [_, _, _, o_bytes, lse_bytes] = plan.shape().operand_bytes();
    let o = Buffer::alloc(&device, o_bytes.try_into()?)?;
    let lse = Buffer::alloc(&device, lse_bytes.try_into()?)?;
    let workspace = Buffer::alloc(&device, plan.workspace_bytes().try_into()?)?;
    let args = Args {
        q: (&q_buffer).into(),
        k: (&k_buffer).into(),
        v: (&v_buffer).into(),
        o: (&o).into(),
        lse: Some((&lse).into()),
        workspace: (&workspace).into(),
    };

    let stream = Stream::new(&device)?;
    FlashAttention::new(&device)?.launch(&stream, &plan, args)?;
    stream.synchronize()?;
    check::against_f64(&plan, [&q, &k, &v, &check::download(&o)?], &check::download(&lse)?)
}
