//! An AllReduce of ranks in processes of their own, as torchrun and mpirun start them.
//!
//! ```sh
//! cargo build --example all_reduce
//! export WORLD_SIZE=4 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500
//! for r in 0 1 2 3; do RANK=$r LOCAL_RANK=$r target/debug/examples/all_reduce sim & done; wait
//! ```
//!
//! The argument is `sim` (the default), or `npu` for `npu:LOCAL_RANK`.

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

use anyhow::{bail, Result};
use clap::Parser;
use fastattention::runtime::{Buffer, CommDType, Device, ReduceOp, Rendezvous, Stream};

const COUNT: usize = 1 << 20;

#[derive(Parser)]
struct Options {
    /// sim, or npu for npu:LOCAL_RANK.
    #[arg(default_value = "sim", value_parser = ["sim", "npu"])]
    device: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let job = Rendezvous::from_env()?;
    let name = if options.device == "npu" { format!("npu:{}", job.local_rank()) } else { options.device };
    let device = Device::open(&name)?;
    let comm = job.communicator(&device)?;
    let stream = Stream::new(&device)?;
    let buffer = Buffer::from_slice(&device, &vec![comm.rank() + 1; COUNT])?;
    comm.all_reduce(&stream, &buffer, &buffer, (COUNT, CommDType::I32), ReduceOp::Sum)?;
    stream.synchronize()?;
    let mut sums = vec![0u32; COUNT];
    buffer.copy_to_host(&mut sums)?;
    let ranks = u64::from(comm.ranks());
    let want = u32::try_from(ranks * (ranks + 1) / 2)?;
    if let Some(i) = sums.iter().position(|&sum| sum != want) {
        bail!("element {i}: {} given, {want} wanted", sums[i]);
    }
    println!("rank {} of {} on {}: {COUNT} sums of {want}", comm.rank(), comm.ranks(), device.name());
    Ok(())
}
