//! Tests of the vector families against scalar models, written lane by lane from `dav-c220.md`.
//!
//! The models share no code with the implementation: own address formula, own mask decoding, f64 or integer
//! arithmetic.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "models take bits apart; sizes are those of UB; a failed unwrap is a failed test"
)]

mod casts;
mod compare;
mod elementwise;
mod faults;
mod model;
mod moves;
mod reduce;
mod registers;

use fastattention_tolerance::assert_same;

use super::{vec_binary, vec_cast, vec_compare, vec_move, vec_reduce, vec_scalar, vec_unary};
use crate::access::{Elem, Space};
use crate::isa::harness::TestCore;

/// Bytes of UB that kernels may use.
const UB: usize = 196_608 - 256;

/// A core whose UB is full of initialised data.
fn filled(rng: &mut fastrand::Rng, elem: Elem) -> TestCore {
    let mut core = TestCore::new();
    let data = model::random_bytes(rng, elem, UB);
    core.put(Space::Ub, 0, &data);
    core
}

fn ub(core: &TestCore) -> Vec<u8> {
    core.get(Space::Ub, 0, UB).to_vec()
}

/// Address operand.
fn at(offset: usize) -> u64 {
    TestCore::at(Space::Ub, offset as u64)
}

/// A random way to drive the mask, and what it means.
#[derive(Clone, Copy, Debug)]
struct Mask {
    counter: bool,
    words: [u64; 2],
}

impl Mask {
    fn random(rng: &mut fastrand::Rng) -> Mask {
        match rng.u32(0..6) {
            0 => Mask { counter: false, words: [u64::MAX; 2] },
            1 => Mask { counter: false, words: [rng.u64(..), rng.u64(..)] },
            2 => Mask { counter: false, words: [(1 << rng.u32(0..64)) - 1, 0] },
            3 => Mask { counter: false, words: [u64::MAX, (1 << rng.u32(0..64)) - 1] },
            4 => Mask { counter: true, words: [rng.u64(0..1000), rng.u64(..)] },
            _ => Mask { counter: true, words: [64 * rng.u64(0..9), 0] },
        }
    }

    fn apply(self, core: &mut TestCore) {
        core.regs.mask = self.words;
        core.regs.counter_mode = self.counter;
    }

    /// Active (repeat, lane) pairs, in order.
    fn active(self, lanes: usize, repeat: u64) -> Vec<(usize, usize)> {
        let mut list = Vec::new();
        if self.counter {
            for i in 0..self.words[0] as usize {
                list.push((i / lanes, i % lanes));
            }
        } else {
            for r in 0..repeat as usize {
                for l in 0..lanes {
                    if self.words[l / 64] >> (l % 64) & 1 == 1 {
                        list.push((r, l));
                    }
                }
            }
        }
        list
    }
}

/// Every entry of the vector families is exercised by an oracle.
#[test]
fn every_entry_has_an_oracle() {
    let covered: Vec<&str> = [
        elementwise::COVERED,
        casts::COVERED,
        reduce::COVERED,
        compare::COVERED,
        moves::COVERED,
        registers::COVERED,
    ]
    .concat();
    let families = [
        super::registers::OPS,
        vec_binary::OPS,
        vec_scalar::OPS,
        vec_unary::OPS,
        vec_cast::OPS,
        vec_reduce::OPS,
        vec_compare::OPS,
        vec_move::OPS,
    ];
    for op in families.into_iter().flatten() {
        assert!(covered.contains(&op.mnemonic), "{} has no oracle", op.mnemonic);
        assert!(super::find(op.mnemonic).is_some());
    }
    for name in covered {
        let n = super::table().filter(|op| op.mnemonic == name).count();
        assert_eq!(n, 1, "{name} is in the table {n} times");
    }
}
