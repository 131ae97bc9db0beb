//! The tables `[toolchain]` and `[kernels]` of `cann.toml`. The rest of the file is the library's.

use serde::Deserialize;

/// How the kernels for an NPU are built. The keys are described in `cann.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// Table `[toolchain]`.
    pub toolchain: Toolchain,
    /// Table `[kernels]`.
    pub kernels: Kernels,
}

/// How the device compiler is called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// `-O`, 0 to 3.
    pub opt_level: u8,
    /// Route `asc`.
    pub asc: Asc,
    /// Route `fatbin`.
    pub fatbin: Fatbin,
}

/// Of the route `bisheng -x asc`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asc {
    /// `--npu-arch`.
    pub npu_arch: String,
    /// Stack of a core, and of one function.
    pub aicore_stack_bytes: u32,
    /// Further arguments, one word each.
    pub flags: Vec<String>,
}

/// Of the route `ascendc_fatbin_library`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fatbin {
    /// `SOC_VERSION`.
    pub soc_version: String,
    /// `CMAKE_BUILD_TYPE`.
    pub build_type: String,
    /// Further options of the compiler.
    pub flags: Vec<String>,
}

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernels {
    /// The families.
    pub families: Families,
}

/// Which families are built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "\"all\" or a list of names wanted")]
pub enum Families {
    /// `"all"`.
    All(All),
    /// Some, by their names.
    Listed(Vec<String>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// `all`.
    All,
}

impl Config {
    /// Reads the text of the file called `file`.
    ///
    /// # Errors
    /// Names the file, the key, the value and what is wanted.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| format!("{file}: {e}"))?;
        let Toolchain { opt_level, asc, fatbin } = &config.toolchain;
        let wrong = |key: &str, given: &dyn std::fmt::Debug, wanted: &str| {
            Err(format!("{file}: {key} = {given:?} given, {wanted} wanted"))
        };
        if *opt_level > 3 {
            return wrong("toolchain.opt_level", opt_level, "0, 1, 2 or 3");
        }
        // The two sizes that the open runtime (9.1, elf.cc) takes from a binary.
        if ![16384, 32768].contains(&asc.aicore_stack_bytes) {
            return wrong("toolchain.asc.aicore_stack_bytes", &asc.aicore_stack_bytes, "16384 or 32768");
        }
        if !["Debug", "Release"].contains(&fatbin.build_type.as_str()) {
            return wrong("toolchain.fatbin.build_type", &fatbin.build_type, "\"Debug\" or \"Release\"");
        }
        Ok(config)
    }
}
