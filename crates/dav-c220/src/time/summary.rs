//! The summary of a launch, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::path::PathStep;
use super::report::{Cause, CoreReport, LaunchReport};
use crate::access::Pipe;

/// Multiplications with addition of 16-bit operands that one Cube starts in a cycle (dav-c220.md 5).
const CUBE_MACS: f64 = 4096.0;

/// What a memory would allow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Bytes that went through it.
    pub bytes: u64,
    /// Operations of the Cube for each of them; `None` without bytes.
    pub flops_per_byte: Option<f64>,
    /// Its rate.
    pub gbps: f64,
    /// TFLOPS at that rate, at most the Cube's peak.
    pub attainable_tflops: f64,
}

/// Place of a launch below the roofs of the Cube, L2 and HBM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofline {
    /// TFLOPS of the Cube over the time of the cores, padding included.
    pub tflops: f64,
    /// TFLOPS of all Cubes with 16-bit operands.
    pub peak_tflops: f64,
    /// L2, read rate.
    pub l2: Ceiling,
    /// HBM.
    pub hbm: Ceiling,
}

/// Everything about a launch but the single instructions. Its `Display` is a table for people, its JSON is
/// complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What the times are.
    pub time: &'static str,
    /// Name of the kernel.
    pub kernel: String,
    /// Name of the SoC.
    pub soc: &'static str,
    /// Clock of the cores.
    pub clock_mhz: u32,
    /// Blocks launched.
    pub blocks: u32,
    /// From the start of the first core to the last result.
    pub cycles: f64,
    /// The slowest core, from its own start to its last result, in microseconds.
    pub core_us: f64,
    /// With launch and completion.
    pub task_us: f64,
    /// Bytes read from GM.
    pub read_bytes: u64,
    /// Bytes written to GM.
    pub written_bytes: u64,
    /// Bytes read from HBM.
    pub hbm_read_bytes: u64,
    /// Bytes written to HBM.
    pub hbm_written_bytes: u64,
    /// Share of sectors read that L2 held.
    pub l2_hit_rate: Option<f64>,
    /// Operations of the Cube against its peak and the memories' rates.
    pub roofline: Roofline,
    /// Bytes moved from or to GM by core kind and pipe (MTE2 reads GM, MTE3 and FIX write it).
    pub pipe_gm_bytes: BTreeMap<String, u64>,
    /// Longest first. Empty without a trace.
    pub critical_path: Vec<PathStep>,
    /// Every core.
    pub cores: Vec<CoreReport>,
}

impl LaunchReport {
    /// Place below the roofs.
    pub fn roofline(&self) -> Roofline {
        let memory = &self.soc.timing.memory;
        let peak_tflops =
            f64::from(self.soc.cube_cores) * 2.0 * CUBE_MACS * f64::from(self.soc.clock_mhz) / 1e6;
        let ceiling = |bytes: u64, gbps: f64| {
            let flops_per_byte = (bytes > 0).then(|| self.cube_flops() / bytes as f64);
            let attainable_tflops = flops_per_byte.map_or(peak_tflops, |i| peak_tflops.min(i * gbps / 1e3));
            Ceiling { bytes, flops_per_byte, gbps, attainable_tflops }
        };
        Roofline {
            tflops: if self.cycles > 0.0 { self.cube_flops() / self.core_us() / 1e6 } else { 0.0 },
            peak_tflops,
            l2: ceiling(self.gm_bytes(), memory.l2_read_gbps),
            hbm: ceiling(self.hbm_bytes(), memory.hbm_gbps),
        }
    }

    /// Everything but the single instructions.
    pub fn summary(&self) -> Summary {
        let mut pipe_gm_bytes = BTreeMap::new();
        for core in &self.cores {
            for (pipe, report) in Pipe::ALL.into_iter().zip(&core.pipes).filter(|(_, r)| r.gm_bytes > 0) {
                *pipe_gm_bytes.entry(format!("{} {pipe}", core.kind())).or_default() += report.gm_bytes;
            }
        }
        Summary {
            time: "model time of the simulator, not measured",
            kernel: self.kernel.clone(),
            soc: &self.soc.name,
            clock_mhz: self.soc.clock_mhz,
            blocks: self.blocks,
            cycles: self.cycles,
            core_us: self.core_us(),
            task_us: self.task_us(),
            read_bytes: self.traffic.read_bytes,
            written_bytes: self.traffic.written_bytes,
            hbm_read_bytes: self.traffic.hbm_read_bytes,
            hbm_written_bytes: self.traffic.hbm_written_bytes,
            l2_hit_rate: self.l2_hit_rate(),
            roofline: self.roofline(),
            pipe_gm_bytes,
            critical_path: self.critical_path(),
            cores: self.cores.clone(),
        }
    }
}

/// Lines of the critical path that the table shows.
const PATH_LINES: usize = 12;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        writeln!(f, "{} on {}, {} blocks; {}", self.kernel, self.soc, self.blocks, self.time)?;
        writeln!(
            f,
            "cores {:.2} us, {:.0} cycles at {} MHz from the first start; task {:.2} us",
            self.core_us, self.cycles, self.clock_mhz, self.task_us
        )?;
        write!(
            f,
            "GM: {:.2} MB read, {:.2} MB written; HBM: {:.2} MB read, {:.2} MB written",
            mb(self.read_bytes),
            mb(self.written_bytes),
            mb(self.hbm_read_bytes),
            mb(self.hbm_written_bytes)
        )?;
        match self.l2_hit_rate {
            Some(rate) => writeln!(f, "; L2 hits {:.1} %", 100.0 * rate)?,
            None => writeln!(f)?,
        }
        for (pipe, bytes) in &self.pipe_gm_bytes {
            writeln!(f, "  {pipe}: {:.2} MB", mb(*bytes))?;
        }
        let roofline = &self.roofline;
        writeln!(
            f,
            "Cube: {:.1} TFLOPS, {:.1} % of its peak of {:.1}",
            roofline.tflops,
            100.0 * roofline.tflops / roofline.peak_tflops,
            roofline.peak_tflops
        )?;
        for (name, ceiling) in [("L2", &roofline.l2), ("HBM", &roofline.hbm)] {
            let Some(intensity) = ceiling.flops_per_byte else { continue };
            writeln!(
                f,
                "  {name}: {intensity:.0} FLOPs a byte, {:.1} TFLOPS attainable at {:.0} GB/s",
                ceiling.attainable_tflops, ceiling.gbps
            )?;
        }
        self.fmt_pipes(f)?;
        self.fmt_path(f)
    }
}

impl Summary {
    /// The pipes, as means over all cores of a kind.
    fn fmt_pipes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\npipes, mean of the cores, in % of the launch")?;
        writeln!(f, "core pipe    busy  occupied  instructions  stalls")?;
        for kind in ["AIC", "AIV"] {
            let cores: Vec<_> = self.cores.iter().filter(|c| c.kind() == kind).collect();
            let share = |cycles: f64| 100.0 * cycles / self.cycles.max(1.0) / cores.len() as f64;
            for pipe in Pipe::ALL {
                let reports = cores.iter().map(|c| &c.pipes[pipe as usize]);
                let instructions: u64 = reports.clone().map(|p| p.instructions).sum();
                if instructions == 0 {
                    continue;
                }
                let busy: f64 = reports.clone().map(|p| p.busy).sum();
                let occupied: f64 = reports.clone().map(|p| p.occupied).sum();
                let mut stalls: BTreeMap<Cause, f64> = BTreeMap::new();
                for (cause, cycles) in reports.flat_map(|p| &p.stalls) {
                    *stalls.entry(*cause).or_default() += cycles;
                }
                let mut stalls: Vec<_> = stalls.into_iter().filter(|(_, s)| share(*s) >= 0.05).collect();
                stalls.sort_by(|a, b| b.1.total_cmp(&a.1));
                let stalls: Vec<_> = stalls.iter().map(|(c, s)| format!("{c} {:.1}", share(*s))).collect();
                writeln!(
                    f,
                    "{kind:4} {:5} {:6.1}  {:8.1}  {instructions:12}  {}",
                    pipe.to_string(),
                    share(busy),
                    share(occupied),
                    stalls.join(", ")
                )?;
            }
        }
        Ok(())
    }

    fn fmt_path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.critical_path.is_empty() {
            return Ok(());
        }
        writeln!(f, "\ncritical path, from the last result back, in % of the launch")?;
        for step in self.critical_path.iter().take(PATH_LINES) {
            writeln!(
                f,
                "{:5.1}  {:4} {:5} {} ({} times)",
                100.0 * step.cycles / self.cycles.max(1.0),
                step.core,
                step.pipe.to_string(),
                step.part,
                step.count
            )?;
        }
        let rest = self.critical_path.iter().skip(PATH_LINES).map(|s| s.cycles).sum::<f64>();
        if rest > 0.0 {
            writeln!(f, "{:5.1}  everything else", 100.0 * rest / self.cycles.max(1.0))?;
        }
        Ok(())
    }
}
