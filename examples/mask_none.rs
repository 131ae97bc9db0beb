//! Full attention in f16 with memory of the caller's own: plan, buffers, launch, synchronise. One plan serves many launches.
//!
//! `cargo run --release --example mask_none [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Args, FlashAttention, Problem};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::DType;
use half::f16;

const SHAPE: [u32; 4] = [1, 256, 4, 64];
const ELEMENTS: usize = 256 * 4 * 64;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    println!("device: {} ({})", device.name(), device.soc().name);

    let plan = plan(&Problem::new(DType::F16, SHAPE).with_lse(), device.soc())?;
    println!("plan: {}; {} bytes of workspace", plan.chosen(), plan.workspace_bytes());
    let operator = FlashAttention::new(&device)?;

    // Made once, used by every launch.
    let [_, _, _, o_bytes, lse_bytes] = plan.shape().operand_bytes();
    let o = Buffer::alloc(&device, o_bytes.try_into()?)?;
    let lse = Buffer::alloc(&device, lse_bytes.try_into()?)?;
    let workspace = Buffer::alloc(&device, plan.workspace_bytes().try_into()?)?;
    let stream = Stream::new(&device)?;

    for step in 0..2 {
        let [q, k, v] = [1, 2, 3].map(|tensor| check::normal::<f16>(ELEMENTS, 10 * step + tensor));
        let q_buffer = Buffer::from_slice(&device, &q)?;
        let k_buffer = Buffer::from_slice(&device, &k)?;
        let v_buffer = Buffer::from_slice(&device, &v)?;
        let args = Args {
            q: (&q_buffer).into(),
            k: (&k_buffer).into(),
            v: (&v_buffer).into(),
            o: (&o).into(),
            lse: Some((&lse).into()),
            workspace: (&workspace).into(),
        };
        operator.launch(&stream, &plan, args)?; // Returns at once.
        stream.synchronize()?;
        println!("launch {step}:");
        check::against_f64(&plan, [&q, &k, &v, &check::download(&o)?], &check::download(&lse)?)?;
    }
    Ok(())
}
