//! SoC descriptions, read from `cann.toml` (compiled in).

mod description;
mod links;
mod timing;

use std::fmt;
use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde::Deserialize;

use description::built_in_is_wrong;
pub use description::{BadDescription, Description};
pub use links::{Collective, LinkRegime, Links};
pub use timing::{
    Control, Cube, GmPath, GmPaths, HbmRules, L2Rules, LocalPath, LocalPaths, SharedMemory, Timing, Vector,
    VectorOp,
};

/// Sizes and rates of one SoC: the planner's and the simulator's single source.
#[derive(Clone, Debug, PartialEq)]
pub struct Soc {
    /// Name as `aclrtGetSocName` spells it, for example `Ascend910B2`.
    pub name: String,
    /// Cube cores (AIC), which is also the number of AIC + 2 AIV groups.
    pub cube_cores: u32,
    /// Vector cores (AIV).
    pub vector_cores: u32,
    /// Core clock in MHz.
    pub clock_mhz: u32,
    /// L2 cache in bytes.
    pub l2_bytes: u64,
    /// Device memory in bytes.
    pub hbm_bytes: u64,
    /// On-chip memories of one core.
    pub core: CoreSizes,
    /// Rates and latencies.
    pub timing: Timing,
    /// Links to the other devices of a server.
    pub links: Links,
}

/// Sizes of the on-chip memories of one dav-c220 core, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreSizes {
    /// Unified buffer of an AIV.
    pub ub_bytes: u32,
    /// L1 buffer of an AIC.
    pub l1_bytes: u32,
    /// L0A: left operand.
    pub l0a_bytes: u32,
    /// L0B: right operand.
    pub l0b_bytes: u32,
    /// L0C: accumulators.
    pub l0c_bytes: u32,
    /// Bias table.
    pub bt_bytes: u32,
    /// Fixpipe buffer.
    pub fb_bytes: u32,
    /// Held back at the end of UB and L1 for the framework.
    pub reserved_bytes: u32,
    /// Taken at the end of UB by Select modes 1 and 2.
    pub select_reserved_bytes: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    core: CoreSizes,
    timing: Timing,
    links: Links,
    soc: Vec<Entry>,
    /// The build script's tables, which it has checked (`crates/kernel-build`).
    #[serde(rename = "toolchain")]
    _toolchain: IgnoredAny,
    #[serde(rename = "kernels")]
    _kernels: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    cube_cores: u32,
    vector_cores: u32,
    clock_mhz: u32,
    l2_bytes: u64,
    hbm_bytes: u64,
    memory: SharedMemory,
}

impl CoreSizes {
    /// Bytes of UB that a kernel may use: without what the framework and Select keep.
    pub fn usable_ub_bytes(&self) -> u32 {
        self.ub_bytes - self.reserved_bytes - self.select_reserved_bytes
    }

    /// Bytes of L1 that a kernel may use: without what the framework keeps.
    pub fn usable_l1_bytes(&self) -> u32 {
        self.l1_bytes - self.reserved_bytes
    }
}

impl Soc {
    /// Every SoC described in `cann.toml`.
    pub fn all() -> &'static [Soc] {
        static ALL: OnceLock<Vec<Soc>> = OnceLock::new();
        ALL.get_or_init(|| Description::reference().build().unwrap_or_else(|e| built_in_is_wrong(&e)))
    }

    /// The SoC of that name, in any case, with or without `Ascend` in front: `Ascend910B2`, `910b2`.
    ///
    /// # Errors
    /// [`NoSuchSoc::Several`] for the beginning of several names, [`NoSuchSoc::Unknown`] for what `cann.toml`
    /// does not describe. The text lists the names that there are.
    pub fn by_name(name: &str) -> Result<&'static Soc, NoSuchSoc> {
        Self::find(Self::all(), name)
    }

    /// The same among other SoCs than those of `cann.toml`, as a changed [`Description`] has them.
    ///
    /// # Errors
    /// As for [`Self::by_name`].
    pub fn find<'a>(socs: &'a [Soc], name: &str) -> Result<&'a Soc, NoSuchSoc> {
        let short = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_prefix("ascend").map_or_else(|| name.clone(), str::to_owned)
        };
        let wanted = short(name);
        if let Some(soc) = socs.iter().find(|s| short(&s.name) == wanted) {
            return Ok(soc);
        }
        let begun: Vec<&Soc> = socs.iter().filter(|s| short(&s.name).starts_with(&wanted)).collect();
        if begun.len() > 1 {
            return Err(NoSuchSoc::Several { given: name.to_owned(), wanted: names(&begun) });
        }
        Err(unknown(socs, name))
    }

    /// The SoC with exactly this name, as a driver gives it.
    ///
    /// # Errors
    /// [`NoSuchSoc::Unknown`] for any other.
    pub fn named(name: &str) -> Result<&'static Soc, NoSuchSoc> {
        Self::all().iter().find(|s| s.name == name).ok_or_else(|| unknown(Self::all(), name))
    }
}

fn unknown(socs: &[Soc], name: &str) -> NoSuchSoc {
    let known: Vec<&Soc> = socs.iter().collect();
    NoSuchSoc::Unknown { given: name.to_owned(), known: names(&known) }
}

/// A name that is not that of one SoC.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoSuchSoc {
    /// Several names begin so.
    Several {
        /// The name given.
        given: String,
        /// The names that begin so.
        wanted: String,
    },
    /// `cann.toml` does not describe it.
    Unknown {
        /// The name given.
        given: String,
        /// The names that there are.
        known: String,
    },
}

impl fmt::Display for NoSuchSoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSuchSoc::Several { given, wanted } => write!(f, "SoC {given:?} given, one of {wanted} wanted"),
            NoSuchSoc::Unknown { given, known } => {
                write!(f, "SoC {given:?} is not described in cann.toml; known: {known}")
            }
        }
    }
}

impl std::error::Error for NoSuchSoc {}

fn names(socs: &[&Soc]) -> String {
    socs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failure here fails the test")]
mod tests {
    use super::*;

    #[test]
    fn cann_toml_parses_and_an_unknown_soc_lists_the_known() {
        assert_eq!(Soc::by_name("Ascend910B2").unwrap().cube_cores, 24);
        assert_eq!(
            Soc::by_name("Ascend310P3").unwrap_err().to_string(),
            "SoC \"Ascend310P3\" is not described in cann.toml; known: Ascend910B1, Ascend910B2, Ascend910B3, Ascend910B4"
        );
    }

    #[test]
    fn names_are_taken_in_any_case_and_without_the_maker() {
        for name in ["Ascend910B2", "ascend910b2", "ASCEND910B2", "910B2", "910b2"] {
            assert_eq!(Soc::by_name(name).unwrap().name, "Ascend910B2", "{name}");
        }
        for name in ["910B", "ascend910b", "Ascend", ""] {
            let error = Soc::by_name(name).unwrap_err();
            assert!(matches!(error, NoSuchSoc::Several { .. }), "{error:?}");
            assert_eq!(
                error.to_string(),
                format!(
                    "SoC {name:?} given, one of Ascend910B1, Ascend910B2, Ascend910B3, Ascend910B4 wanted"
                )
            );
        }
        for name in ["910B22", "Ascend 910B2", "B2", "910"] {
            assert!(Soc::by_name(name).is_err(), "{name}");
        }
    }

    /// A driver's name is no abbreviation that somebody typed.
    #[test]
    fn the_name_that_a_driver_gives_is_taken_as_it_is() {
        assert_eq!(Soc::named("Ascend910B2").unwrap().name, "Ascend910B2");
        for name in ["Ascend910B", "910b2", "Ascend910"] {
            assert!(matches!(Soc::named(name).unwrap_err(), NoSuchSoc::Unknown { .. }), "{name}");
        }
    }
}
