//! Says where the bindings are: `FA_BUILD_BINDINGS` is the folder of the committed ones, or with feature
//! `bindgen` of those that `build/bindings.rs` makes of installed headers.

#[cfg(feature = "bindgen")]
#[path = "build/bindings.rs"]
mod bindings;

use std::path::PathBuf;
use std::{env, process};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    match folder() {
        Ok(folder) => println!("cargo::rustc-env=FA_BUILD_BINDINGS={}", folder.display()),
        Err(why) => {
            eprintln!("{why}");
            process::exit(1);
        }
    }
}

fn folder() -> Result<PathBuf, String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    #[cfg(feature = "bindgen")]
    match bindings::generate(&root, std::path::Path::new(&variable("OUT_DIR")?))? {
        Some(folder) => return Ok(folder),
        None => println!(
            "cargo::warning=feature bindgen: no CANN headers found (FASTATTENTION_CANN_INCLUDE names their \
             folders); using the committed bindings"
        ),
    }
    Ok(root.join("src/bindings"))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
