//! Tells the crate for which target it is compiled.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo::rustc-env=FA_BUILD_TARGET={target}");
    }
}
