//! Builds the kernels for the simulator.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
