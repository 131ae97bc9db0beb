//! Choosing a tiling. Pure: no device, no I/O.

use std::fmt;

use super::{Axis, BLayout, MatmulTilingData, Problem, Tiling};
use crate::spec::Reason;
use crate::{Error, ErrorKind, Result, Soc};

/// Rows or columns of a tile that are tried.
const TILES: [u32; 5] = [16, 32, 64, 128, 256];

/// Most rows for which tiles of other sizes are tried, and most columns of those.
const FEW_ROWS: u32 = 64;
const MAX_COLUMNS: u32 = 256;

/// A problem with its tiling; prints itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    tiling: Tiling,
}

/// Plans a problem for a SoC: of all tiles of 16 to 256 rows and columns that fit, the one with the lowest
/// estimate.
///
/// # Errors
/// One error with **all** reasons, each with the argument, its value and the value wanted: `InvalidArgument`
/// if any argument can never be right, else `Unsupported`.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    check(problem, soc)?;
    let mut best: Option<(f64, Tiling)> = None;
    let columns: Vec<u32> = TILES.into_iter().chain(even_columns(problem, soc)).collect();
    for tile in TILES.into_iter().flat_map(|m| columns.iter().map(move |&n| [m, n])) {
        // A tile twice as long as its axis is only padding.
        let is_padding = |size: u32, extent: u32| size > 16 && size / 2 >= extent;
        if is_padding(tile[0], problem.m) || is_padding(tile[1], problem.n) {
            continue;
        }
        let tiling = Tiling::with_tile(tile, problem, soc);
        if tiling.refusal(problem, soc).is_some() {
            continue;
        }
        let ways = [false, true].map(|b_past_l2| Tiling { b_past_l2, ..tiling });
        let may_pass_l2 = problem.is_b_cold && tiling.has_room_for_requests(problem, soc);
        for tiling in ways.into_iter().filter(|way| may_pass_l2 || !way.b_past_l2) {
            let cycles = tiling.cycles(problem, soc);
            if best.is_none_or(|(least, _)| cycles < least) {
                best = Some((cycles, tiling));
            }
        }
    }
    match best {
        Some((_, tiling)) => Ok(Plan { problem: *problem, soc: soc.clone(), tiling }),
        None => Err(Error::new(ErrorKind::Unsupported, format!("matmul on {}: no tiling fits", soc.name))),
    }
}

/// Columns of tiles that give each core as many, or nearly: for few rows, whose time is that of reading B.
/// Cores that have no tile left in the last round leave HBM to too few. Tiles of B as `[k, n]` are not cut
/// within a line of L2.
fn even_columns(problem: &Problem, soc: &Soc) -> impl Iterator<Item = u32> {
    let [n, cores] = [problem.n, soc.cube_cores];
    let is_tried = problem.m <= FEW_ROWS && problem.b_layout == BLayout::Nk;
    let rounds = if is_tried { n.div_ceil(MAX_COLUMNS).div_ceil(cores) } else { 0 };
    let share = move |rounds: u32| n.div_ceil(cores.saturating_mul(rounds)).next_multiple_of(16);
    [rounds, rounds.saturating_mul(2)].into_iter().filter(|&rounds| rounds > 0).map(share)
}

/// Plans a problem with this tiling instead of the planner's choice.
///
/// # Errors
/// As [`plan`], and `Unsupported` with the reason why the tiling cannot be used.
pub fn plan_with(problem: &Problem, soc: &Soc, tiling: Tiling) -> Result<Plan> {
    check(problem, soc)?;
    match tiling.refusal(problem, soc) {
        None => Ok(Plan { problem: *problem, soc: soc.clone(), tiling }),
        Some(why) => {
            Err(Error::new(ErrorKind::Unsupported, format!("matmul on {}: {tiling}: {why}", soc.name)))
        }
    }
}

fn check(problem: &Problem, soc: &Soc) -> Result<()> {
    Reason::refuse(&format!("matmul on {}", soc.name), &problem.refusals(soc))
}

impl Plan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The SoC.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// The tiling.
    pub fn tiling(&self) -> Tiling {
        self.tiling
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result.
    pub fn predicted_us(&self) -> f64 {
        self.tiling.cycles(&self.problem, &self.soc) / f64::from(self.soc.clock_mhz)
    }

    /// Cores that the launch takes: no more than there are blocks, and none for a product without elements.
    pub fn num_cores(&self) -> u32 {
        let p = &self.problem;
        let blocks =
            u64::from(p.m.div_ceil(self.tiling.block[0])) * u64::from(p.n.div_ceil(self.tiling.block[1]));
        let batch = p.batch.iter().fold(1u64, |product, &b| product.saturating_mul(u64::from(b)));
        u32::try_from(blocks.saturating_mul(batch)).unwrap_or(u32::MAX).min(self.tiling.num_cores)
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> MatmulTilingData {
        let (p, t) = (&self.problem, &self.tiling);
        let [a, b, c] = p.matrices().map(|matrix| matrix.strides);
        let l1 = t.l1_offsets();
        MatmulTilingData {
            m: p.m,
            n: p.n,
            k: p.k,
            batch: p.batch,
            b_is_nk: u32::from(p.b_layout == BLayout::Nk),
            block_m: t.block[0],
            block_n: t.block[1],
            tile_m: t.tile[0],
            tile_n: t.tile[1],
            tile_k: t.tile[2],
            step_k_a: t.step_k[0],
            step_k_b: t.step_k[1],
            l1_buffers: t.l1_buffers,
            l0_buffers: t.l0_buffers,
            l0c_buffers: t.l0c_buffers,
            unit_flag: u32::from(t.unit_flag),
            num_cores: self.num_cores(),
            swizzle: t.swizzle,
            swizzle_along_n: u32::from(t.swizzle_axis == Axis::N),
            l1_a_offset_bytes: l1.a,
            l1_b_offset_bytes: l1.b,
            b_past_l2: u32::from(t.b_past_l2),
            accumulates: u32::from(p.accumulates),
            reserved: 0,
            a_stride: a.row,
            b_stride: b.row,
            c_stride: c.row,
            a_batch_stride: a.batch,
            b_batch_stride: b.batch,
            c_batch_stride: c.batch,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.problem;
        writeln!(
            f,
            "matmul {} -> {} on {}: batch {:?}, m {}, n {}, k {}, b as {}{}{}",
            p.dtype,
            p.dtype_out,
            self.soc.name,
            p.batch,
            p.m,
            p.n,
            p.k,
            p.b_layout,
            if p.is_b_cold { " from HBM" } else { "" },
            if p.accumulates { ", added to c" } else { "" }
        )?;
        writeln!(f, "{}; launches {}", self.tiling, self.num_cores())?;
        write!(f, "estimate {:.0} cycles", self.tiling.cycles(p, &self.soc))
    }
}
