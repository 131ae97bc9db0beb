//! The settings that `HcclCommInitRootInfoConfig` takes (acl-runtime.md 4.1).

use std::ffi::c_char;

use ascend_sys::hccl::HcclCommConfig;
use serde::{Deserialize, Serialize};

use super::failure::{refuse, result};
use crate::acl::border::Outcome;

/// What of the settings concerns a simulated communicator.
///
/// The size of the transfer buffers, the engine and the RDMA fields are checked; results do not depend on
/// them, and there is one server. Messages are not cut into pieces of a buffer's size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommConfig {
    pub(super) name: Option<String>,
    pub(super) deterministic: Option<bool>,
}

/// Size, magic word and version: how the head of the structure begins.
pub(super) const HEAD_BYTES: usize = 24;

/// Checks the head, which says how much of the structure may be read.
pub(super) fn check_head(head: &[u8; HEAD_BYTES]) -> Outcome {
    let number = |range: std::ops::Range<usize>| {
        head[range].iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte))
    };
    let (size, magic, version) = (number(0..8), number(8..12), number(12..16));
    if magic != u64::from(HcclCommConfig::MAGIC_WORD) {
        return refuse(
            result::PARA,
            format!(
                "config: magic word {magic:#x} given, {:#x} of HcclCommConfigInit wanted",
                HcclCommConfig::MAGIC_WORD
            ),
        );
    }
    let (want_size, want_version) = (HcclCommConfig::BYTES as u64, HcclCommConfig::VERSION);
    if size != want_size || version != u64::from(want_version) {
        return refuse(
            result::NOT_SUPPORT,
            format!("config: {size} bytes of version {version} given, {want_size} bytes of version {want_version} wanted"),
        );
    }
    Ok(())
}

/// A NUL-terminated text in a field; `None` when empty.
fn text(name: &str, field: &[c_char]) -> Outcome<Option<String>> {
    let bytes: Vec<u8> = field.iter().map(|c| c.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect();
    if bytes.len() == field.len() {
        return refuse(
            result::PARA,
            format!("config.{name} without NUL in its {} bytes given, a string with NUL wanted", field.len()),
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(e) => refuse(result::PARA, format!("config.{name} is not UTF-8: {e}")),
    }
}

impl CommConfig {
    pub(super) fn from_c(config: &HcclCommConfig) -> Outcome<CommConfig> {
        let deterministic = match config.hcclDeterministic {
            HcclCommConfig::NOT_SET => None,
            0 => Some(false),
            1 => Some(true),
            other => {
                return refuse(
                    result::PARA,
                    format!("config.hcclDeterministic = {other} given, 0 or 1 wanted"),
                )
            }
        };
        if config.hcclBufferSize == 0 {
            return refuse(result::PARA, "config.hcclBufferSize = 0 given, at least 1 (MB) wanted");
        }
        if config.hcclOpExpansionMode > 3 {
            let mode = config.hcclOpExpansionMode;
            return refuse(result::PARA, format!("config.hcclOpExpansionMode = {mode} given, 0 to 3 wanted"));
        }
        text("hcclUdi", &config.hcclUdi)?;
        Ok(CommConfig { name: text("hcclCommName", &config.hcclCommName)?, deterministic })
    }
}
