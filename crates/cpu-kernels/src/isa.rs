//! Which instruction set the kernels use.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::simd::{Op, Portable, Simd};

/// Environment variable that forces an instruction set: `portable`, `avx2`, `avx512` or `neon`.
pub const ISA_VARIABLE: &str = "FASTATTENTION_CPU";

/// An instruction set that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, on every processor. Products and sums are rounded separately.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512F, and all of [`Isa::Avx2`].
    Avx512,
    /// AArch64.
    Neon,
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Whether this processor and this build have it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::simd::Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::simd::Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => crate::simd::Neon::detect().is_some(),
            _ => false,
        }
    }

    /// The best that is available.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// The one that [`ISA_VARIABLE`] names, or the best.
    ///
    /// # Errors
    /// For a name that is not known, and for one that is not available here.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(ISA_VARIABLE) {
            Err(std::env::VarError::NotPresent) => Ok(Self::best()),
            Ok(name) => name
                .parse::<Self>()?
                .checked()
                .map_err(|e| Error::new(format!("{ISA_VARIABLE}: {}", e.text()))),
            Err(std::env::VarError::NotUnicode(name)) => Err(unknown(&name.to_string_lossy())),
        }
    }

    /// Itself if it is available.
    ///
    /// # Errors
    /// If it is not.
    pub fn checked(self) -> Result<Self> {
        if self.is_available() {
            return Ok(self);
        }
        let available: Vec<_> = Self::ALL.iter().filter(|i| i.is_available()).map(Self::to_string).collect();
        Err(Error::new(format!("isa = {self} is not available here, one of {} wanted", available.join(", "))))
    }

    /// Runs `op` with its primitives; one that is not available runs as portable code.
    pub(crate) fn dispatch<O: Op>(self, op: O) -> O::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                if let Some(simd) = crate::simd::Avx2::detect() {
                    return simd.vectorize(op);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                if let Some(simd) = crate::simd::Avx512::detect() {
                    return simd.vectorize(op);
                }
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => {
                if let Some(simd) = crate::simd::Neon::detect() {
                    return simd.vectorize(op);
                }
            }
            _ => {}
        }
        Portable.vectorize(op)
    }
}

fn unknown(name: &str) -> Error {
    Error::new(format!("isa {name:?} is unknown, one of portable, avx2, avx512, neon wanted"))
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|isa| isa.to_string() == name).ok_or_else(|| unknown(name))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        })
    }
}
