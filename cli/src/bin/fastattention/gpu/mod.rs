//! Devices `cuda:N`: NVIDIA GPUs, where the tool is built with feature `cuda`.

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod present;

#[cfg(not(feature = "cuda"))]
pub(crate) use absent::{attention, lines, states};
#[cfg(feature = "cuda")]
pub(crate) use present::{attention, lines, states};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::doctor::SelfTest;

/// A GPU, or why there is none, for the doctor. The field names are those of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct GpuState {
    name: String,
    /// Why it cannot be used; the fields below are null then.
    error: Option<String>,
    gpu: Option<String>,
    driver_cuda_version: Option<String>,
    compute_capability: Option<String>,
    /// Has it no tensor instruction of Volta, so that its times say nothing about one?
    emulated: Option<bool>,
    /// Attention compared with f64.
    self_test: Option<SelfTest>,
}

impl GpuState {
    pub(crate) fn passes(&self) -> bool {
        self.self_test.as_ref().is_some_and(SelfTest::has_passed)
    }

    pub(crate) fn text(&self) -> String {
        let name = &self.name;
        if let Some(error) = &self.error {
            return format!("{name}: not usable: {error}");
        }
        let told = |text: &Option<String>| text.as_deref().unwrap_or("?").to_owned();
        let mut text =
            format!("{name}: {}, driver of CUDA {}", told(&self.gpu), told(&self.driver_cuda_version));
        if let Some(test) = &self.self_test {
            text += &test.text("self-test");
        }
        text
    }
}

/// The number of a device `cuda:N` (`cuda` is the first); `None` for a device of another kind, whose name
/// does not begin so in letters of any case.
pub(crate) fn ordinal(device: &str) -> Option<Result<usize>> {
    if !device.get(..4)?.eq_ignore_ascii_case("cuda") {
        return None;
    }
    let number = match device.strip_prefix("cuda") {
        Some("") => Some("0"),
        rest => rest.and_then(|rest| rest.strip_prefix(':')),
    };
    let digits = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = digits.and_then(|number| number.parse().ok());
    Some(parsed.with_context(|| format!("device {device:?} given, cuda:N with a number N wanted")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn devices_have_numbers() {
        for (device, number) in [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)] {
            assert_eq!(ordinal(device).unwrap().unwrap(), number);
        }
        for other in ["sim", "npu:0", "cud", "", "\u{e9}uda"] {
            assert!(ordinal(other).is_none(), "{other}");
        }
        for device in
            ["cudax", "CUDA:0", "cuda:", "cuda:+1", "cuda:-1", "cuda:x", "cuda:99999999999999999999"]
        {
            let error = ordinal(device).unwrap().unwrap_err().to_string();
            assert_eq!(error, format!("device {device:?} given, cuda:N with a number N wanted"));
        }
    }
}
