//! From one multiprocessor to a grid.

use std::collections::VecDeque;

use crate::{Error, Result};

/// Multiprocessors of a V100.
pub const MULTIPROCESSORS: usize = 80;
/// Its boost clock (SXM2).
pub const CLOCK_HZ: f64 = 1.53e9;
/// Shared memory of a multiprocessor, bytes.
pub(crate) const SHARED_BYTES: u32 = 96 << 10;
/// Registers of a sub-core.
const REGISTERS: u32 = 16384;

/// Blocks that a multiprocessor holds at a time (CUDA's rules for compute capability 7.0): registers in
/// units of 256 a warp, shared memory in units of 256 bytes, 64 warps, 32 blocks.
///
/// # Errors
/// [`Error::Invalid`] if not one fits.
pub fn blocks_per_multiprocessor(registers: u32, threads: u32, shared_bytes: u32) -> Result<u32> {
    let warps = threads.div_ceil(32).max(1);
    let of_a_warp = (32 * registers).next_multiple_of(256).max(256);
    let mut blocks = (REGISTERS / of_a_warp * 4 / warps).min(64 / warps).min(32);
    if let Some(by_shared) = SHARED_BYTES.checked_div(shared_bytes.next_multiple_of(256)) {
        blocks = blocks.min(by_shared);
    }
    if blocks == 0 {
        return Err(Error::Invalid(format!(
            "no multiprocessor of a V100 holds a block of {threads} threads with {registers} registers each \
             and {shared_bytes} bytes of shared memory"
        )));
    }
    Ok(blocks)
}

/// Cycles of a whole grid. `durations` are those of the blocks in the order of their start, on a full
/// multiprocessor; `speed_up[n]` says how much faster a block goes when n + 1 share it, 1 at its end. A
/// free place takes the next block. ASSUMPTION(v100-grid-order): blocks start so.
///
/// # Panics
/// Panics if `speed_up` is empty.
#[must_use]
pub fn schedule(durations: &[f64], speed_up: &[f64]) -> f64 {
    let places = speed_up.len();
    let mut queue: VecDeque<f64> = durations.iter().copied().collect();
    let mut resident = vec![Vec::new(); MULTIPROCESSORS];
    for _ in 0..places {
        for multiprocessor in &mut resident {
            multiprocessor.extend(queue.pop_front());
        }
    }
    let mut clock = [0.0_f64; MULTIPROCESSORS];
    let mut now = 0.0_f64;
    let end = |left: &[f64], at: f64| {
        let least = left.iter().copied().fold(f64::INFINITY, f64::min);
        if left.is_empty() {
            f64::INFINITY
        } else {
            at + least / speed_up[left.len() - 1]
        }
    };
    let mut ends: Vec<f64> = resident.iter().map(|left| end(left, 0.0)).collect();
    loop {
        let next = ends.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(n, _)| n);
        if ends[next].is_infinite() {
            return now;
        }
        now = ends[next];
        let left = &mut resident[next];
        let done = (now - clock[next]) * speed_up[left.len() - 1];
        clock[next] = now;
        let before = left.len();
        left.iter_mut().for_each(|left| *left -= done);
        left.retain(|left| *left > 1e-6);
        for _ in left.len()..before {
            left.extend(queue.pop_front());
        }
        ends[next] = end(left, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_a_multiprocessor_holds() {
        assert_eq!(blocks_per_multiprocessor(255, 128, 49152).unwrap(), 2);
        assert_eq!(blocks_per_multiprocessor(168, 128, 16384).unwrap(), 3);
        assert_eq!(blocks_per_multiprocessor(128, 128, 49152).unwrap(), 2);
        assert_eq!(blocks_per_multiprocessor(255, 128, 83968).unwrap(), 1);
        assert_eq!(blocks_per_multiprocessor(32, 32, 0).unwrap(), 32);
        assert!(blocks_per_multiprocessor(255, 128, 98305).is_err());
    }

    /// By hand. 81 equal blocks on 80 multiprocessors with two places: two share one, at half the speed each.
    #[test]
    fn grids_by_hand() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(schedule(&[1.0; 80], &[2.0, 1.0]), 0.5);
        close(schedule(&[1.0; 81], &[2.0, 1.0]), 1.0);
        close(schedule(&[1.0; 161], &[2.0, 1.0]), 1.5);
        // The long one alone after the short one has gone: 1 shared, then 2 at double speed.
        let mut blocks = vec![3.0; 1];
        blocks.extend([0.5; 79]);
        blocks.push(1.0);
        close(schedule(&blocks, &[2.0, 1.0]), 2.0);
        close(schedule(&[], &[1.0]), 0.0);
    }
}
