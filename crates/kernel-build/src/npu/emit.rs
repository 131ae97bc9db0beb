//! The Rust text that embeds the images: an expression of the types in `src/kernels/npu_build.rs`.

use super::{Build, Image, Outcome, SWITCH_VARIABLE};

impl Outcome {
    /// `Ok(NpuBuild { .. })`, or `Err(why)`.
    pub fn to_rust(&self) -> String {
        match self {
            Self::Built(build) => format!("Ok({})\n", npu_build(build)),
            Self::Off => format!("Err({:?})\n", format!("{SWITCH_VARIABLE}=off was set")),
            Self::NoCann(why) | Self::Unusable(why) => format!("Err({why:?})\n"),
        }
    }
}

fn npu_build(build: &Build) -> String {
    let images: String = build.images.iter().map(npu_image).collect();
    format!(
        "NpuBuild {{\n    route: {:?},\n    cann_root: {:?},\n    cann_version: {:?},\n    flags: &{:?},\n    \
         sources_sha256: {:?},\n    images: &[\n{images}    ],\n}}",
        build.route.name(),
        build.cann.root.to_string_lossy(),
        build.cann.version,
        build.flags,
        build.sources_sha256
    )
}

fn npu_image(image: &Image) -> String {
    let kernels: String = image
        .family
        .kernels
        .iter()
        .zip(&image.checked.symbols)
        .map(|(kernel, symbols)| {
            let (name, kernel_type) = (&kernel.name, &kernel.kernel_type);
            format!("NpuKernel {{ name: {name:?}, kernel_type: {kernel_type:?}, symbols: &{symbols:?} }}, ")
        })
        .collect();
    format!(
        "        NpuImage {{\n            family: {:?},\n            kernels: &[{kernels}],\n            \
         patches_ffts_address: {},\n            bytes: include_bytes!({:?}),\n        }},\n",
        image.family.name,
        image.checked.patches_ffts_address,
        image.path.to_string_lossy()
    )
}
