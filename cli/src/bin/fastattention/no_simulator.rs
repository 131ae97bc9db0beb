//! What a build without the simulator has in the place of its commands: they tell what they need.

use std::ffi::OsString;

use anyhow::{anyhow, Error, Result};

/// Of a command or a flag.
pub(crate) fn error(command: &str) -> Error {
    anyhow!(
        "{command} given, a command without the simulator wanted: this build of the tool has no simulator, which \
         its cargo feature `sim` adds"
    )
}

/// Commands that take everything and fail.
macro_rules! commands {
    ($($module:ident $command:ident;)*) => {$(
        pub(crate) mod $module {
            use super::*;

            #[derive(clap::Args)]
            pub(crate) struct $command {
                #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
                _given: Vec<OsString>,
            }

            impl $command {
                #[allow(clippy::unused_self, reason = "as of the other commands")]
                pub(crate) fn execute(self) -> Result<()> {
                    Err(error(stringify!($module)))
                }
            }
        }
    )*};
}

commands! {
    bench Bench;
    trace Trace;
    tune Tune;
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    #[test]
    fn commands_of_the_simulator_name_the_feature_whatever_they_are_given() {
        for command in ["bench", "trace", "tune"] {
            for args in [&[][..], &["--seqlen-q", "64"], &["x", "-o", "y"]] {
                let line = ["fastattention", command].into_iter().chain(args.iter().copied());
                let Ok(cli) = crate::Cli::try_parse_from(line) else {
                    panic!("{command} {args:?} is refused")
                };
                let error = crate::execute(cli).expect_err("there is no simulator").to_string();
                assert!(
                    error.starts_with(&format!("{command} given, ")) && error.contains("`sim`"),
                    "{error}"
                );
            }
        }
    }
}
