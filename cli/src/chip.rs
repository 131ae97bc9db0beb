//! The chip that a command plans for or simulates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use fastattention::soc::Description;
use fastattention::Soc;

/// Flags of one chip.
#[derive(Debug, clap::Args)]
pub struct ChipArgs {
    /// SoC: Ascend910B1 to Ascend910B4, or one of --soc-file. The maker's name may be left out: 910B2.
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
    /// TOML file with figures in the place of those of cann.toml: those that differ, or further SoCs.
    #[arg(long, value_name = "FILE")]
    soc_file: Option<PathBuf>,
    /// Clock of the cores in MHz [default: the SoC's].
    #[arg(long, value_name = "MHZ", value_parser = clock_range())]
    clock: Option<u32>,
    /// AI cores to use, each with one Cube core and two vector cores; L2 and device memory stay as they are
    /// [default: all].
    #[arg(long)]
    cores: Option<u32>,
}

impl ChipArgs {
    /// The chip.
    ///
    /// # Errors
    /// It is not described, or the file is wrong.
    pub fn soc(&self) -> Result<&'static Soc> {
        let described = described(self.soc_file.as_deref())?;
        chip(&described, &self.soc, self.clock, self.cores)
    }

    /// The same where its results are kept by the names of chips.
    ///
    /// # Errors
    /// As [`Self::soc`], and for a chip that `cann.toml` does not describe so.
    pub fn known_soc(&self) -> Result<&'static Soc> {
        let soc = self.soc()?;
        ensure!(
            is_of_cann_toml(soc),
            "a changed {} given; tuning results are kept by the name of the chip, wanted no --soc-file, \
             --clock or --cores",
            soc.name
        );
        Ok(soc)
    }
}

/// Clocks that a simulation is asked for, in MHz.
pub(crate) fn clock_range() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(100..=10_000)
}

/// The SoCs of `cann.toml`, with the changes that a file has.
///
/// # Errors
/// The file cannot be read, or has what no chip has.
pub fn described(file: Option<&Path>) -> Result<Vec<Soc>> {
    Ok(description(file)?.socs()?)
}

/// The same as numbers with names.
///
/// # Errors
/// As [`described`].
pub fn description(file: Option<&Path>) -> Result<Description> {
    let built_in = Description::built_in();
    let Some(path) = file else { return Ok(built_in) };
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    built_in.with_changes(&text).with_context(|| path.display().to_string())
}

/// A chip of `described`, with another clock and on fewer cores where they are given.
///
/// # Errors
/// It is not described, or has fewer cores.
pub fn chip(described: &[Soc], name: &str, clock: Option<u32>, cores: Option<u32>) -> Result<&'static Soc> {
    let mut soc = Soc::find(described, name)?.clone();
    soc.clock_mhz = clock.unwrap_or(soc.clock_mhz);
    if let Some(cores) = cores {
        let (name, all) = (&soc.name, soc.cube_cores);
        ensure!(
            (1..=all).contains(&cores),
            "--cores {cores} given, {name} has {all}; from 1 to {all} wanted"
        );
        (soc.cube_cores, soc.vector_cores) = (cores, 2 * cores);
    }
    Ok(kept(soc))
}

/// Kept until the process ends, as devices want it.
pub fn kept(soc: Soc) -> &'static Soc {
    Soc::all().iter().find(|own| **own == soc).unwrap_or_else(|| Box::leak(Box::new(soc)))
}

/// Are its figures those of `cann.toml`, clock and number of cores included?
pub fn is_of_cann_toml(soc: &Soc) -> bool {
    Soc::all().contains(soc)
}

/// Are its rates, sizes or links others than those of `cann.toml`, whatever its clock and its number of
/// cores?
pub fn has_own_figures(soc: &Soc) -> bool {
    let same = |own: &Soc| {
        let (clock_mhz, cube_cores, vector_cores) = (own.clock_mhz, own.cube_cores, own.vector_cores);
        *own == Soc { clock_mhz, cube_cores, vector_cores, ..soc.clone() }
    };
    !Soc::all().iter().any(same)
}
