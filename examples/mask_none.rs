//! Full attention in f16 with memory of the caller's own: plan, buffers, launch, synchronise. One plan serves
//! many launches.
//!
//! `cargo run --release --example mask_none [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::Result;
use clap::Parser;
use fastattention::attention::{plan, Buffers, FlashAttention, Problem};
use fastattention::runtime::{Device, Stream};
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
    let buffers = Buffers::alloc(&device, &plan)?;
    let stream = Stream::new(&device)?;

    for step in 0..2 {
        let [q, k, v] = [1, 2, 3].map(|tensor| check::normal::<f16>(ELEMENTS, 10 * step + tensor));
        buffers.q.copy_from_host(&q)?;
        buffers.k.copy_from_host(&k)?;
        buffers.v.copy_from_host(&v)?;
        operator.launch(&stream, &plan, buffers.args())?; // Returns at once.
        stream.synchronize()?;
        println!("launch {step}:");
        check::against_f64(&plan, [&q, &k, &v], &buffers)?;
    }
    Ok(())
}
