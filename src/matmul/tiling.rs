//! A tiling: what may be chosen, and whether it fits.

use std::fmt;

use super::problem::MAX_EXTENT;
use super::Problem;
use crate::Soc;

/// An axis of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Rows.
    M,
    /// Columns.
    N,
}

/// What the halves of L1 hold where each operand has two buffers there. A load to L0 and a copy to L1 that
/// meet in a half take cycles from each other (dav-c220.md 1.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L1Halves {
    /// Each half has a buffer of A and one of B: copies go where no load reads.
    #[default]
    Buffers,
    /// The first half has both buffers of B, the second both of A.
    Operands,
}

/// How a product is cut; sizes are elements. See `ascendc/kernels/matmul.cpp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows and columns of a block, the unit that cores are dealt; a block is cut into tiles from its first
    /// corner.
    pub block: [u32; 2],
    /// Rows, columns and depth of one Mmad; multiples of 16.
    pub tile: [u32; 3],
    /// Steps of the tile's depth that one copy brings to L1, of A and of B.
    pub step_k: [u32; 2],
    /// Buffers of each operand in L1: 1 or 2.
    pub l1_buffers: u32,
    /// What the halves of L1 hold, with two buffers.
    pub l1_halves: L1Halves,
    /// Buffers in L0A and in L0B: 1 or 2.
    pub l0_buffers: u32,
    /// Tiles in L0C: 1 or 2.
    pub l0c_buffers: u32,
    /// Whether unitFlag orders the Cube and the fixpipe, instead of flags for whole tiles.
    pub unit_flag: bool,
    /// Blocks of a band along [`Self::swizzle_axis`]; see `ascendc/kernels/matmul_tiles.h`.
    pub swizzle: u32,
    /// The axis that is cut into bands.
    pub swizzle_axis: Axis,
    /// Most cores to use.
    pub num_cores: u32,
    /// Whether B is read past L2.
    pub b_past_l2: bool,
}

/// L1 has two halves; each bank takes one access a cycle (dav-c220.md §1.5).
const L1_HALF_BYTES: u32 = 256 * 1024;

/// Longest piece along k that is brought to L1 at once: rows of 512 bytes are the fastest (dav-c220.md §5).
const CHUNK_K: u32 = 256;

/// Where the two buffers of A and of B lie in L1.
pub(super) struct L1Offsets {
    pub(super) a: [u32; 2],
    pub(super) b: [u32; 2],
}

impl Tiling {
    /// Bytes of one buffer of A and one of B in L1. Wide enough for any numbers: a caller's tiling is checked
    /// with them.
    fn l1_bytes(&self) -> [u128; 2] {
        let [m, n, k] = self.tile.map(u128::from);
        [2 * m * k * u128::from(self.step_k[0]), 2 * n * k * u128::from(self.step_k[1])]
    }

    /// Offsets of the buffers in L1; valid for a tiling that fits.
    pub(super) fn l1_offsets(&self) -> L1Offsets {
        // `refusal` has bounded the sizes by those of L1.
        let [a, b] = self.l1_bytes().map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        match (self.l1_buffers, self.l1_halves) {
            (1, _) => L1Offsets { a: [0; 2], b: [a; 2] },
            (_, L1Halves::Buffers) => L1Offsets { a: [0, L1_HALF_BYTES], b: [a, L1_HALF_BYTES + a] },
            (_, L1Halves::Operands) => L1Offsets { a: [L1_HALF_BYTES, L1_HALF_BYTES + a], b: [0, b] },
        }
    }

    /// Why this tiling cannot be used for the problem on the SoC.
    pub(super) fn refusal(&self, problem: &Problem, soc: &Soc) -> Option<String> {
        self.malformed().or_else(|| self.does_not_fit(soc)).or_else(|| {
            if self.num_cores > soc.cube_cores {
                return Some(format!(
                    "num_cores = {} given, at most {} wanted, the Cube cores of {}",
                    self.num_cores, soc.cube_cores, soc.name
                ));
            }
            let whole = [problem.m, problem.n, self.block[0], self.block[1]];
            let is_ragged = self.unit_flag && whole.iter().any(|x| !x.is_multiple_of(16));
            is_ragged.then(|| {
                format!(
                    "unit_flag = true given with m, n, block_m and block_n = {whole:?}; wanted with it: multiples of 16, as \
                     it moves whole fractals"
                )
            })
        })
    }

    fn malformed(&self) -> Option<String> {
        let [tile_m, tile_n, tile_k] = self.tile;
        for (name, value) in [("tile_m", tile_m), ("tile_n", tile_n), ("tile_k", tile_k)] {
            if value == 0 || !value.is_multiple_of(16) {
                return Some(format!("{name} = {value}, a multiple of 16 wanted"));
            }
        }
        for (name, value) in [("block_m", self.block[0]), ("block_n", self.block[1])] {
            if value > MAX_EXTENT {
                return Some(format!("{name} = {value} is more than {MAX_EXTENT}"));
            }
        }
        let counts = [
            ("block_m", self.block[0]),
            ("block_n", self.block[1]),
            ("step_k of A", self.step_k[0]),
            ("step_k of B", self.step_k[1]),
            ("swizzle", self.swizzle),
            ("num_cores", self.num_cores),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Some(format!("{name} = 0, wanted at least 1"));
            }
        }
        let buffers = [
            ("l1_buffers", self.l1_buffers),
            ("l0_buffers", self.l0_buffers),
            ("l0c_buffers", self.l0c_buffers),
        ];
        buffers
            .into_iter()
            .find(|(_, value)| !(1..=2).contains(value))
            .map(|(name, value)| format!("{name} = {value}, wanted 1 or 2"))
    }

    fn does_not_fit(&self, soc: &Soc) -> Option<String> {
        // Twice the product of two sizes has 66 bits.
        let [m, n, k] = self.tile.map(u128::from);
        let core = &soc.core;
        // Two buffers take a half of their memory each.
        let l0 = [
            ("L0A", 2 * m * k, self.l0_buffers, core.l0a_bytes),
            ("L0B", 2 * n * k, self.l0_buffers, core.l0b_bytes),
            ("L0C", 4 * m * n, self.l0c_buffers, core.l0c_bytes),
        ];
        for (memory, bytes, count, capacity) in l0 {
            let room = u128::from(capacity / count);
            if bytes > room {
                return Some(format!(
                    "tile takes {bytes} bytes of {memory} with {count} buffers there, at most {room} wanted"
                ));
            }
        }
        let [a, b] = self.l1_bytes();
        let usable = core.usable_l1_bytes();
        let second_half = usable - L1_HALF_BYTES;
        if self.l1_buffers == 2 && self.l1_halves == L1Halves::Operands {
            let halves = [("A", 2 * a, second_half), ("B", 2 * b, L1_HALF_BYTES)];
            let refused = halves.into_iter().find(|(_, bytes, room)| *bytes > u128::from(*room));
            return refused.map(|(operand, bytes, room)| {
                format!(
                    "tile and step_k take {bytes} bytes of L1 for two buffers of {operand}, at most {room} wanted"
                )
            });
        }
        let (bytes, room) = (a + b, u128::from(if self.l1_buffers == 1 { usable } else { second_half }));
        (bytes > room).then(|| {
            format!(
                "tile and step_k take {bytes} bytes of L1 with l1_buffers = {}, at most {room} wanted",
                self.l1_buffers
            )
        })
    }

    /// Blocks of one tile, double buffers wherever they fit, whole L1, and the bands with the smallest
    /// working set.
    pub(super) fn with_tile([tile_m, tile_n]: [u32; 2], problem: &Problem, soc: &Soc) -> Self {
        let depth = |most: u32| most.min(problem.k.div_ceil(16) * 16).max(16) / 16 * 16;
        let l0_half = soc.core.l0a_bytes.min(soc.core.l0b_bytes) / 2;
        // A power of two, so that whole steps make a chunk.
        let fits = (l0_half / 2 / tile_m.max(tile_n)).max(1);
        let tile_k = depth((1 << fits.ilog2()).min(CHUNK_K));
        let usable = soc.core.usable_l1_bytes() - L1_HALF_BYTES;
        let most_steps = usable / (2 * (tile_m + tile_n) * tile_k);
        let step_k = (CHUNK_K / tile_k).min(most_steps).max(1);
        let l0c_buffers = if 8 * tile_m * tile_n <= soc.core.l0c_bytes { 2 } else { 1 };
        let is_whole = problem.m.is_multiple_of(16) && problem.n.is_multiple_of(16);
        Self {
            block: [tile_m, tile_n],
            tile: [tile_m, tile_n, tile_k],
            step_k: [step_k; 2],
            l1_buffers: 2,
            l1_halves: L1Halves::Buffers,
            l0_buffers: 2,
            l0c_buffers,
            unit_flag: l0c_buffers == 1 && is_whole,
            swizzle: smallest_band([tile_m, tile_n], problem, soc.cube_cores),
            swizzle_axis: Axis::M,
            num_cores: soc.cube_cores,
            b_past_l2: false,
        }
    }
}

/// The band for which the blocks that all cores make at one time read the fewest rows of A and columns of B.
fn smallest_band([tile_m, tile_n]: [u32; 2], problem: &Problem, cores: u32) -> u32 {
    let most = problem.m.div_ceil(tile_m).min(cores).max(1);
    let working_set =
        |band: u32| u64::from(band) * u64::from(tile_m) + u64::from(cores.div_ceil(band)) * u64::from(tile_n);
    (1..=most).min_by_key(|&band| working_set(band)).unwrap_or(1)
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([block_m, block_n], [m, n, k], [a, b]) = (self.block, self.tile, self.step_k);
        write!(
            f,
            "block {block_m} x {block_n}, tile {m} x {n} x {k}, step_k {a} and {b}, buffers L1 {}{} L0 {} L0C {}, \
             unit_flag {}, bands of {} along {:?}, {} cores{}",
            self.l1_buffers,
            match (self.l1_buffers, self.l1_halves) {
                (2, L1Halves::Operands) => ", a half for each operand,",
                _ => "",
            },
            self.l0_buffers,
            self.l0c_buffers,
            if self.unit_flag { "on" } else { "off" },
            self.swizzle,
            self.swizzle_axis,
            self.num_cores,
            if self.b_past_l2 { ", B past L2" } else { "" }
        )
    }
}
