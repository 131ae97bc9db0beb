//! The command line tool: run attention on files, print plans, list devices and instructions.

mod bench;
mod calibrate;
mod chart;
mod doctor;
mod kernels;
mod layer;
mod output;
mod plan;
mod pool;
mod progress;
mod report;
mod run;
mod self_test;
mod shape;
mod table;
mod tensors;
mod trace;
mod tune;
mod workload;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{bail, Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use fastattention::attention::Mask;
use fastattention::runtime;

#[derive(Parser)]
#[command(
    version,
    about = "Exact attention on Huawei Ascend 910B, or on its simulator",
    after_help = "For work on this crate itself: report, calibrate, isa (`fastattention help COMMAND`)."
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
    /// Run a kernel in model time and write a Chrome trace of every instruction, or a summary.
    Trace(trace::Trace),
    /// Run operators in model time over sweeps of shapes: table, CSV, charts.
    Bench(bench::Bench),
    /// Plan a tensor-parallel layer with tiling-AllReduce, and run its ranks in model time.
    Layer(layer::Layer),
    /// Make the tables, CSV files and charts of docs/performance, in model time.
    #[command(hide = true)]
    Report(report::Report),
    /// Run published measurements of the 910B series in model time, and compare.
    #[command(hide = true)]
    Calibrate(calibrate::Calibrate),
    /// Simulate the most promising tilings of shapes in model time, and write the results to a file for `plan --tuned`.
    Tune(tune::Tune),
    /// List the devices found, and why something was not found.
    Devices,
    /// List the instructions that the simulator models, and where their semantics come from.
    #[command(hide = true)]
    Isa,
    /// Tell what was found and what works: kernels, ACL library, devices with tests, compiler, variables.
    ///
    /// The exit code is 0 if at least one device passes its tests.
    Doctor(doctor::Doctor),
    /// List the kernels, or check them with the headers of an installed CANN.
    #[command(subcommand)]
    Kernels(kernels::Kernels),
}

fn main() -> ExitCode {
    let matches = with_negative_values(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Plan(plan) => plan.execute(),
        Command::Trace(trace) => trace.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Layer(layer) => layer.execute(),
        Command::Report(report) => report.execute(),
        Command::Calibrate(calibrate) => calibrate.execute(),
        Command::Tune(tune) => tune.execute(),
        Command::Devices => devices(),
        Command::Isa => isa(),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Kernels(kernels) => kernels.execute(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes. A cause that the text already has is left out: the errors of some libraries tell theirs themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    text
}

/// `--seqlen-q -1` is a wrong value of that option, not an unknown option `-1`.
fn with_negative_values(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values() && !arg.is_allow_hyphen_values_set();
    command
        .mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_values)
}

/// Writes a line to stdout, or to stderr when an output file goes to stdout. A reader that has gone (`| head`) has seen what it wanted.
fn print(line: impl Display) -> Result<()> {
    if output::is_stdout_taken() {
        return writeln!(io::stderr(), "{line}").context("writing to stderr");
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("writing to stdout"),
    }
}

fn devices() -> Result<()> {
    for report in runtime::devices() {
        let name = &report.name;
        match report.soc {
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
    Ok(())
}

fn isa() -> Result<()> {
    for i in fastattention::sim::instructions() {
        let pipe = i.pipe.map_or_else(|| "-".to_owned(), |pipe| pipe.to_string());
        print(format_args!("{:36} {pipe:4} ({})  {}", i.mnemonic, i.operands.join(", "), i.source))?;
    }
    Ok(())
}

/// `none`, `causal` or `window:L,R`; `L` and `R` are counts of keys, or `*` for no limit.
fn parse_mask(text: &str) -> Result<Mask> {
    match text {
        "none" => return Ok(Mask::None),
        "causal" => return Ok(Mask::Causal),
        _ => {}
    }
    let Some((left, right)) = text.strip_prefix("window:").and_then(|w| w.split_once(',')) else {
        bail!("mask {text:?} is not none, causal or window:L,R (for example window:256,0; * = no limit)");
    };
    let side = |name: &str, text: &str| -> Result<Option<u32>> {
        if text == "*" {
            return Ok(None);
        }
        match text.parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => bail!("window {name} = {text:?} is not a count of keys from 0 to {} or *", u32::MAX),
        }
    };
    Ok(Mask::Window { left: side("left", left)?, right: side("right", right)? })
}

/// Masks with commas between them; the comma in `window:L,R` is its own.
fn parse_masks(text: &str) -> Result<Masks> {
    let mut masks = Vec::new();
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let right = if part.starts_with("window:") { parts.next() } else { None };
        masks.push(match right {
            Some(right) => parse_mask(&format!("{part},{right}"))?,
            None => parse_mask(part)?,
        });
    }
    Ok(Masks(masks))
}

/// What [`parse_masks`] finds.
#[derive(Clone, Debug, PartialEq)]
struct Masks(Vec<Mask>);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn masks_parse_or_say_what_is_wanted() {
        assert_eq!(parse_mask("none").unwrap(), Mask::None);
        assert_eq!(parse_mask("causal").unwrap(), Mask::Causal);
        assert_eq!(parse_mask("window:3,0").unwrap(), Mask::Window { left: Some(3), right: Some(0) });
        assert_eq!(parse_mask("window:*,7").unwrap(), Mask::Window { left: None, right: Some(7) });
        assert_eq!(
            parse_mask("window:3").unwrap_err().to_string(),
            "mask \"window:3\" is not none, causal or window:L,R (for example window:256,0; * = no limit)"
        );
        assert_eq!(
            parse_mask("window:-1,0").unwrap_err().to_string(),
            "window left = \"-1\" is not a count of keys from 0 to 4294967295 or *"
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let json = || serde_json::from_str::<u32>("x").unwrap_err();
        let own = json().to_string();
        // As safetensors does: its text has that of its source.
        let twice =
            anyhow::Error::new(json()).context(format!("invalid JSON in header: {own}")).context("input a");
        assert_eq!(told(&twice), format!("input a: invalid JSON in header: {own}"));
        assert_eq!(told(&anyhow::Error::new(json()).context("input a")), format!("input a: {own}"));
    }

    #[test]
    fn masks_are_listed_with_commas() {
        let window = |left, right| Mask::Window { left, right };
        for (text, masks) in [
            ("none", vec![Mask::None]),
            ("none,causal", vec![Mask::None, Mask::Causal]),
            ("window:3,0", vec![window(Some(3), Some(0))]),
            (
                "causal,window:3,0,window:*,7,none",
                vec![Mask::Causal, window(Some(3), Some(0)), window(None, Some(7)), Mask::None],
            ),
        ] {
            assert_eq!(parse_masks(text).unwrap(), Masks(masks), "{text}");
        }
        for text in ["", "none,", "window:3", "window:3,causal", "none,0"] {
            assert!(parse_masks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_are_consistent() {
        with_negative_values(Cli::command()).debug_assert();
    }
}
