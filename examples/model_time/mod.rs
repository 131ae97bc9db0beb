//! What the examples that show model time share.

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::{time::LaunchReport, time::ModelTime, Config};
use fastattention::spec::KvLayout;
use fastattention::Soc;

/// How keys and values lie in a page.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Order {
    KeysFirst,
    HeadsFirst,
    Nz,
    Vllm,
}

impl Order {
    pub(crate) fn of(self, kv: KvLayout) -> KvLayout {
        match self {
            Self::KeysFirst => kv,
            Self::HeadsFirst => kv.with_heads_first(),
            Self::Nz => kv.with_nz(),
            Self::Vllm => kv.with_vllm(),
        }
    }
}

/// A simulated device that keeps model time, and computes nothing.
pub(crate) struct Timed {
    pub(crate) device: Device,
    model_time: ModelTime,
}

impl Timed {
    pub(crate) fn new(soc: &str) -> Result<Self> {
        let model_time = ModelTime::only();
        let mut config = Config::new(Soc::by_name(soc)?);
        config.check_races = false;
        config.model_time = Some(model_time.clone());
        Ok(Self { device: Device::simulated(config)?, model_time })
    }

    pub(crate) fn alloc(&self, bytes: u64) -> Result<Buffer> {
        Ok(Buffer::alloc(&self.device, usize::try_from(bytes)?)?)
    }

    /// Launches as often as asked; the last report.
    pub(crate) fn last(
        &self,
        launches: u32,
        launch: impl Fn(&Stream) -> fastattention::Result<()>,
    ) -> Result<LaunchReport> {
        let stream = Stream::new(&self.device)?;
        for _ in 0..launches {
            launch(&stream)?;
        }
        stream.synchronize()?;
        self.model_time.take_reports().pop().context("no launch")
    }
}

/// Shows how busy the pipes of the first group of cores are.
pub(crate) fn print_pipes(report: &LaunchReport) {
    for core in report.cores.iter().filter(|core| core.group == 0) {
        for (name, pipe) in ["S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"].iter().zip(&core.pipes) {
            println!(
                "  {} {name}: busy {:.0} of {:.0} cycles, {} instructions, waits {:?}",
                core.core, pipe.busy, report.cycles, pipe.instructions, pipe.stalls
            );
        }
    }
}
