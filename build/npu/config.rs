//! The tables `[toolchain]` and `[kernels]` of `cann.toml`. The rest of the file is the library's (`src/soc.rs`).

use serde::Deserialize;

/// How the kernels for an NPU are built. The keys are described in `cann.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Config {
    pub(crate) toolchain: Toolchain,
    pub(crate) kernels: Kernels,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Toolchain {
    pub(crate) opt_level: u8,
    pub(crate) asc: Asc,
    pub(crate) fatbin: Fatbin,
}

/// Of the route `bisheng -x asc`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asc {
    pub(crate) npu_arch: String,
    pub(crate) aicore_stack_bytes: u32,
    pub(crate) flags: Vec<String>,
}

/// Of the route `ascendc_fatbin_library`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fatbin {
    pub(crate) soc_version: String,
    pub(crate) build_type: String,
    pub(crate) flags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    pub(crate) families: Families,
}

/// Which families are built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "\"all\" or a list of names wanted")]
pub(crate) enum Families {
    All(All),
    Listed(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum All {
    All,
}

impl Config {
    /// Reads the text of the file called `file`.
    ///
    /// # Errors
    /// Names the file, the key, the value and what is wanted.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, String> {
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
