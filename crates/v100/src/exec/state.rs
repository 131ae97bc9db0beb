//! What the warps of a block share.

use super::{Launch, Memory};
use crate::sass::{Special, Value};
use crate::Kernel;

/// A value a lane.
pub(crate) type Lanes<T> = [T; 32];
/// A set of lanes: lane `n` is bit `n`.
pub(crate) type Mask = u32;

/// Where the parameters of a kernel start in constant bank 0 on sm_70.
const PARAM_BASE: usize = 0x160;
/// Local memory of a lane, words.
pub(super) const LOCAL_WORDS: u32 = 4096;
/// Where the kernel finds its first stack address.
const STACK: usize = 0x28;

pub(super) struct BlockState<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) shared: Vec<u32>,
    pub(super) shared_bytes: u32,
    /// Threads that arrived at a barrier without waiting.
    pub(super) arrived: [u32; 16],
    banks: [Vec<u32>; 5],
    block: [u32; 3],
    threads: [u32; 2],
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    bytes.chunks(4).map(word).collect()
}

impl<'a> BlockState<'a> {
    /// `shared_bytes` is what the kernel and the launch want together.
    pub(super) fn new(
        kernel: &Kernel,
        memory: &'a mut Memory,
        launch: &Launch,
        shared_bytes: u32,
        block: [u32; 3],
    ) -> Self {
        let mut bank = vec![0; PARAM_BASE];
        let [x, y] = launch.threads;
        let sizes = [x, y, 1].into_iter().chain(launch.grid);
        for (at, size) in sizes.enumerate() {
            bank[4 * at..4 * at + 4].copy_from_slice(&size.to_le_bytes());
        }
        bank[STACK..STACK + 4].copy_from_slice(&(4 * LOCAL_WORDS).to_le_bytes());
        bank.extend_from_slice(&launch.params);
        let named = |number: u8| words(kernel.facts.constants.get(&number).map_or(&[], Vec::as_slice));
        Self {
            memory,
            shared: vec![0; shared_bytes.div_ceil(4) as usize],
            shared_bytes,
            arrived: [0; 16],
            banks: [words(&bank), Vec::new(), named(2), named(3), named(4)],
            block,
            threads: launch.threads,
        }
    }

    /// A word of a constant bank; none if it is not there.
    pub(super) fn constant(&self, bank: u8, offset: u32) -> Option<u32> {
        self.banks.get(usize::from(bank))?.get(offset as usize / 4).copied()
    }

    pub(super) fn special(&self, from: Special, warp: u32) -> Lanes<u32> {
        let lane = std::array::from_fn(|lane| u32::try_from(lane).unwrap_or(0));
        match from {
            Special::Tid(0) => lane.map(|lane| (32 * warp + lane) % self.threads[0]),
            Special::Tid(1) => lane.map(|lane| (32 * warp + lane) / self.threads[0] % self.threads[1]),
            Special::Ctaid(axis) => [self.block[usize::from(axis)]; 32],
            Special::LaneId => lane,
            Special::EqMask => lane.map(|lane| 1 << lane),
            Special::Tid(_) | Special::Zero => [0; 32],
        }
    }

    /// The value of a source that is no register.
    pub(super) fn fixed(&self, value: Value) -> Option<u32> {
        match value {
            Value::Immediate(number) => Some(number),
            Value::Constant { bank, offset } => self.constant(bank, offset),
            Value::Register(_) => None,
        }
    }
}
