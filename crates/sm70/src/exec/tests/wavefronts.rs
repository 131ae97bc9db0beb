//! Counts that a profiler or a hand gives.

use std::array::from_fn;

use crate::exec::wavefronts::{least_wavefronts, wavefronts};

fn count(address: impl Fn(u32) -> u32, mask: u32, bytes: u32) -> u32 {
    wavefronts(&from_fn(|lane| address(u32::try_from(lane).expect("below 32"))), mask, bytes)
}

const ALL: u32 = u32::MAX;

/// CUDA programming guide, "Shared Memory" of compute capability 5 and newer: strides of one, two and three
/// words, and a broadcast.
#[test]
fn words_as_the_programming_guide_draws_them() {
    assert_eq!(count(|lane| 4 * lane, ALL, 4), 1);
    assert_eq!(count(|lane| 8 * lane, ALL, 4), 2);
    assert_eq!(count(|lane| 12 * lane, ALL, 4), 1);
    assert_eq!(count(|_| 20, ALL, 4), 1);
    assert_eq!(count(|lane| 128 * lane, ALL, 4), 32);
    // Words of one bank, of which two are asked for by 16 lanes each.
    assert_eq!(count(|lane| 128 * (lane % 2), ALL, 4), 2);
}

/// Counts of a profiler on an H200: without conflicts 4, eightfold conflict 32, rows that two quadpairs share
/// 4, stores 4.
#[test]
fn vectors_of_16_bytes_as_a_profiler_counts_them() {
    assert_eq!(count(|lane| 16 * lane, ALL, 16), 4);
    assert_eq!(count(|lane| 128 * lane, ALL, 16), 32);
    // Lanes 8 apart ask for one address: their groups differ, and nothing is saved.
    assert_eq!(count(|lane| 16 * (lane % 8), ALL, 16), 4);
    // Lanes 4 apart are of one group: half of its banks idle.
    assert_eq!(count(|lane| 16 * (lane % 4), ALL, 16), 4);
}

#[test]
fn vectors_of_8_bytes_come_in_halves_of_a_warp() {
    assert_eq!(count(|lane| 8 * lane, ALL, 8), 2);
    assert_eq!(count(|lane| 8 * (lane % 16), ALL, 8), 2);
    assert_eq!(count(|lane| 16 * lane, ALL, 8), 4);
    assert_eq!(count(|lane| 8 * lane, 0xffff, 8), 1);
}

#[test]
fn lanes_that_take_no_part_cost_nothing() {
    assert_eq!(count(|lane| 128 * lane, 0b101, 4), 2);
    assert_eq!(count(|lane| 16 * lane, 1 << 31 | 1, 16), 2);
    assert_eq!(count(|lane| 16 * lane, 0, 16), 0);
}

#[test]
fn the_least_is_one_for_each_group_in_use() {
    for (mask, bytes, wanted) in [
        (ALL, 4, 1),
        (ALL, 8, 2),
        (ALL, 16, 4),
        (0, 16, 0),
        (1, 16, 1),
        (0x101, 16, 2),
        (0x8000_0001, 8, 2),
        (0x81, 8, 1),
    ] {
        assert_eq!(least_wavefronts(mask, bytes), wanted, "{mask:#x}, {bytes} bytes");
    }
}
