//! What the tools have in common: reading their arguments, telling results and errors.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::output;

/// Reads the arguments of this process, and runs what they ask for. An error is told on stderr.
pub fn main_of<C: Parser>(execute: impl FnOnce(C) -> Result<()>) -> ExitCode {
    let matches = with_negative_values(C::command()).get_matches();
    let arguments = C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes. A cause that the text already has is left out: the errors of some libraries tell
/// theirs themselves.
pub fn told(error: &anyhow::Error) -> String {
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

/// Writes a line to stdout, or to stderr when an output file goes to stdout. A reader that has gone (`|
/// head`) has seen what it wanted.
///
/// # Errors
/// The stream cannot be written.
pub fn print(line: impl Display) -> Result<()> {
    if output::is_stdout_taken() {
        return writeln!(io::stderr(), "{line}").context("writing to stderr");
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("writing to stdout"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

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
}
