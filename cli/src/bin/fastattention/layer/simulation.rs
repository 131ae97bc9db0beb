//! The ranks of a layer in model time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use fastattention::parallel::Plan;
use fastattention::sim::time::Schedule;
use fastattention::Soc;
use fastattention_cli::output::Output;
use fastattention_cli::print;
use fastattention_cli::progress::Progress;
use fastattention_cli::ranks;

/// Runs all ranks, and compares with everything as one block. `trace` is where the Chrome trace goes.
pub(super) fn run(plan: &Plan, soc: &'static Soc, trace: Option<(&Path, Output)>) -> Result<()> {
    let serial = ranks::one_block(plan, soc)?;
    let progress =
        Progress::of("devices, operators and kernels of all ranks", ranks::num_steps(&[plan, &serial]));
    let on_ranks = |plan| ranks::on_ranks(plan, &progress);
    let schedules = on_ranks(plan).and_then(|blocks| Ok((blocks, on_ranks(&serial)?)));
    progress.finish();
    let (blocks, serial) = schedules?;
    if let Some((path, output)) = trace {
        output.replace(|file: &mut File| {
            let mut to = BufWriter::new(file);
            blocks.write_trace(&mut to)?;
            Ok(to.flush()?)
        })?;
        let (spans, edges) = (blocks.spans.len(), blocks.edges.len());
        print(format_args!("{}: {spans} spans, {edges} arrows", path.display()))?;
    }
    compare(&blocks, &serial, plan.problem().ranks)
}

/// Tells how long the blocks take, against everything as one block.
fn compare(blocks: &Schedule, serial: &Schedule, ranks: u32) -> Result<()> {
    let (us, serial_us) = (blocks.makespan_us, serial.makespan_us);
    // Nothing takes no time, whatever its blocks.
    let gain = if us > 0.0 { serial_us / us } else { 1.0 };
    print(format_args!(
        "model time of {ranks} ranks: {us:.1} us, as one block {serial_us:.1} us: {gain:.3} times as fast"
    ))?;
    for device in &blocks.devices {
        print(format_args!(
            "device {}: computing {:.1} us, transferring {:.1} us, both {:.1} us",
            device.device, device.computing_us, device.transferring_us, device.overlap_us
        ))?;
    }
    Ok(())
}
