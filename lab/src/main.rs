//! Commands for work on fastattention itself: the tables of `docs/performance`, the model against published
//! measurements, twin runs.

mod calibrate;
mod chart;
mod charts;
mod report;
mod twin;
#[cfg(feature = "volta")]
mod volta;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use fastattention_cli::{main_of, print};

#[derive(Parser)]
#[command(version, about)]
struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the tables, CSV files and charts of docs/performance, in model time.
    Report(report::Report),
    /// Draw what `fastattention bench` tells: charts of time, pipes and roofline.
    ///
    /// Lists have commas between their values. Every combination of them is run. A case that fails is told
    /// at the end; the others are in the charts.
    Charts(Box<charts::Charts>),
    /// Run published measurements of the 910B series in model time, and compare.
    Calibrate(calibrate::Calibrate),
    /// Compile the kernels with CANN's own headers, run them on the simulator, and compare with ours.
    ///
    /// Every instruction and every result must be that of the kernel compiled with the simulator's headers.
    Twin(twin::Twin),
    /// Make the tables of docs/volta.md, modelled on a V100, never measured (feature `volta`).
    ///
    /// Wants ptxas and nvdisasm: `pip install nvidia-cuda-nvcc-cu12==12.9.86` and `pip install --no-deps
    /// triton==3.3.1`. The variables PTXAS and NVDISASM name others.
    #[cfg(feature = "volta")]
    Volta(volta::Volta),
    /// List the instructions that the simulator models, and where their semantics come from.
    Isa,
}

fn main() -> ExitCode {
    main_of(|lab: Lab| match lab.command {
        Command::Report(report) => report.execute(),
        Command::Charts(charts) => charts.execute(),
        Command::Calibrate(calibrate) => calibrate.execute(),
        Command::Twin(twin) => twin.execute(),
        #[cfg(feature = "volta")]
        Command::Volta(volta) => volta.execute(),
        Command::Isa => isa(),
    })
}

fn isa() -> Result<()> {
    for i in fastattention::sim::instructions() {
        let pipe = i.pipe.map_or_else(|| "-".to_owned(), |pipe| pipe.to_string());
        print(format_args!("{:36} {pipe:4} ({})  {}", i.mnemonic, i.operands.join(", "), i.source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Lab::command().debug_assert();
    }
}
