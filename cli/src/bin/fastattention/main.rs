//! The command line tool: run attention on files, print plans, list devices, find out what a launch costs in
//! model time.

#[cfg(feature = "sim")]
mod bench;
mod doctor;
mod gpu;
mod layer;
#[cfg(not(feature = "sim"))]
mod no_simulator;
mod plan;
mod replay;
mod run;
mod self_test;
mod tensors;
#[cfg(feature = "sim")]
mod trace;
#[cfg(feature = "sim")]
mod tune;
mod tuned;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use fastattention::runtime;
use fastattention_cli::kernels::Kernels;
use fastattention_cli::{main_of, print};
#[cfg(not(feature = "sim"))]
use no_simulator::{bench, trace, tune};

#[derive(Parser)]
#[command(
    name = "fastattention",
    version,
    about = "Exact attention on Huawei Ascend 910B, or on its simulator"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compute attention from a safetensors file with q, k and v; write o and lse.
    Run(run::Run),
    /// Print tiling, buffer maps and workspace for a shape, without a device.
    Plan(plan::Plan),
    /// Launch again what a program told of its launches with feature `tracing`, on random operands.
    Replay(replay::Replay),
    /// Run a kernel in model time and write a Chrome trace of every instruction, or a summary.
    Trace(trace::Trace),
    /// Run operators in model time over sweeps of shapes, and print a table.
    ///
    /// Lists have commas between their values. Every combination of them is run. A case that fails is told
    /// at the end; the others are in the table and in the file.
    Bench(bench::Bench),
    /// Plan a tensor-parallel layer with tiling-AllReduce, and run its ranks in model time.
    Layer(layer::Layer),
    /// Simulate the most promising tilings of shapes in model time, and write the results to a file for
    /// `plan --tuned`.
    Tune(tune::Tune),
    /// List the devices found, and why something was not found.
    Devices,
    /// Tell what was found and what works: kernels, ACL library, devices with tests, compiler, variables.
    ///
    /// The exit code is 0 if at least one device passes its tests.
    Doctor(doctor::Doctor),
    /// List the kernels, or check them with the headers of an installed CANN.
    #[command(subcommand)]
    Kernels(Kernels),
}

fn main() -> ExitCode {
    main_of(execute)
}

fn execute(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(run) => run.execute(),
        Command::Plan(plan) => plan.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Trace(trace) => trace.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Layer(layer) => layer.execute(),
        Command::Tune(tune) => tune.execute(),
        Command::Devices => devices(),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Kernels(kernels) => kernels.execute(),
    }
}

fn devices() -> Result<()> {
    for report in runtime::devices() {
        let name = &report.name;
        match report.soc {
            Ok(soc) if report.is_host => {
                print(format_args!("{name:<6} the host's own cores; plans and refusals of {}", soc.name))?;
            }
            Ok(soc) => {
                let kind = if report.is_simulated { "simulator of " } else { "" };
                print(format_args!(
                    "{name:<6} {kind}{}: {} Cube cores, {} Vector cores, {} GiB",
                    soc.name,
                    soc.cube_cores,
                    soc.vector_cores,
                    soc.hbm_bytes >> 30
                ))?;
            }
            Err(reason) => print(format_args!("{name:<6} not usable: {reason}"))?,
        }
    }
    gpu::lines().into_iter().try_for_each(print)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
