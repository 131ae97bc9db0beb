//! Shared memory has 32 banks of 4 bytes. A wavefront serves one word of every bank.
//!
//! Lanes come in groups of 32, 16 and 8 for accesses of 4, 8 and 16 bytes; equal words within a group are one
//! access, across groups they are not (Jia et al., arXiv 1804.06826; docs/volta.md: the counts equal a
//! profiler's on an H200).

use super::{Lanes, Mask};

fn group_of(bytes: u32) -> usize {
    match bytes {
        8 => 16,
        16 => 8,
        _ => 32,
    }
}

/// Wavefronts of one access of `bytes` (4, 8 or 16) a lane by the lanes of `mask`.
pub(super) fn wavefronts(addresses: &Lanes<u32>, mask: Mask, bytes: u32) -> u32 {
    let group = group_of(bytes);
    let mut total = 0;
    for first in (0..32).step_by(group) {
        // Words of each bank that this group needs: at most one a lane and word of it.
        let mut words = [[0; 32]; 32];
        let mut counts = [0_usize; 32];
        for lane in (first..first + group).filter(|lane| mask >> lane & 1 == 1) {
            for word in (0..bytes / 4).map(|n| addresses[lane] / 4 + n) {
                let bank = (word % 32) as usize;
                if !words[bank][..counts[bank]].contains(&word) {
                    words[bank][counts[bank]] = word;
                    counts[bank] += 1;
                }
            }
        }
        total += counts.iter().max().copied().unwrap_or(0);
    }
    u32::try_from(total).expect("at most 32 a group")
}

/// The fewest wavefronts that an access of `bytes` a lane by the lanes of `mask` can take: one for each group
/// that takes part.
pub(super) fn least_wavefronts(mask: Mask, bytes: u32) -> u32 {
    let group = group_of(bytes);
    (0..32)
        .step_by(group)
        .map(|first| u32::from((u64::from(mask) >> first) & ((1_u64 << group) - 1) != 0))
        .sum()
}
