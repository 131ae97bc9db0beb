//! Where a rank is.

use serde::{Deserialize, Serialize};

/// The device of a rank. Processes number their simulated devices each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Home {
    pub(super) device: i32,
    pub(super) process: u32,
}

impl Home {
    pub(super) fn here(device: i32) -> Home {
        Home { device, process: std::process::id() }
    }

    /// "device 3", with its process where texts are about several.
    pub(super) fn text(self, with_process: bool) -> String {
        let Home { device, process } = self;
        if with_process {
            format!("device {device} of process {process}")
        } else {
            format!("device {device}")
        }
    }
}

/// "rank 1 (device 3)", of ranks that are at `homes`.
pub(super) fn rank_text(rank: u32, homes: &[Home]) -> String {
    let several = homes.iter().any(|home| home.process != homes[0].process);
    match homes.get(rank as usize) {
        Some(home) => format!("rank {rank} ({})", home.text(several)),
        None => format!("rank {rank}"),
    }
}
