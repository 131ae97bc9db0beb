//! Gives the library its SONAME.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // One name for the one file behind three names, see `src/main.rs`.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libascendcl.so");
}
