//! Gives the library its SONAME, and the tests the name of the target.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // One name for the one file behind three names, see `src/main.rs`.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libascendcl.so");
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo::rustc-env=FA_BUILD_TARGET={target}");
    }
}
