//! Execution of one block: warps by turns from barrier to barrier, each instruction for 32 lanes at a time.

mod access;
mod alu;
mod block;
mod global;
pub(crate) mod mma;
mod paths;
mod shared;
#[cfg(test)]
mod tests;
mod together;
mod warp;
mod wavefronts;

pub(crate) use block::{Block, Count, Workspace};
pub(crate) use global::{Watch, Written};
pub(crate) use mma::Sums;

use crate::fault::FaultKind;
use crate::race::Access;

/// A value a lane.
pub(crate) type Lanes<T> = [T; 32];

/// A set of lanes or a predicate of each: lane `n` is bit `n`.
pub(crate) type Mask = u32;

/// A fault before it has its places: the lane at fault, and the other side.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: FaultKind,
    pub(crate) lane: u32,
    pub(crate) message: String,
    /// Block (None: this one) and thread at an instruction.
    pub(crate) other: Option<(Option<u32>, Access)>,
}

impl Trouble {
    /// Boxed: results of every instruction carry the place for it.
    pub(crate) fn new(kind: FaultKind, lane: u32, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, lane, message: message.into(), other: None })
    }

    pub(crate) fn with(mut self: Box<Self>, other: Access) -> Box<Self> {
        self.other = Some((None, other));
        self
    }
}

/// The lanes of a mask, lowest first.
pub(crate) fn lanes(mut mask: Mask) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros();
        (mask != 0).then(|| {
            mask &= mask - 1;
            lane
        })
    })
}
