//! How a merge is cut.

use std::fmt;

use super::axes::Axes;
use super::{MergeTilingData, Problem, MAX_SOURCES};
use crate::spec::Reason;
use crate::{DType, Result, Soc};

/// Rows of a tile, the most first. With MAX_PARTS parts the last one still fits UB.
const TILE_ROWS: [u32; 8] = [128, 96, 64, 48, 32, 24, 16, 8];

/// What a tile costs beside its rows, in rows: a few instructions on one value of each row, and the start of
/// its first copies.
const TILE_COST: u64 = 16;

/// UB buffers start at whole rows of its banks.
const BANK_ROW_BYTES: u32 = 512;

/// A planned merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    /// `None` without rows.
    cut: Option<Cut>,
}

#[derive(Clone, Debug, PartialEq)]
struct Cut {
    axes: Axes,
    tile_rows: u32,
    num_cores: u32,
}

/// Plans a merge.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("merge on {}", soc.name), &problem.refusals(soc))?;
    let cut = match problem.is_empty() {
        true => None,
        // `refusals` has found the axes.
        false => Axes::of(problem).ok().map(|axes| cut(problem, axes, soc)),
    };
    Ok(Plan { problem: problem.clone(), soc: soc.clone(), cut })
}

/// The tile with the shortest time of the core that has most, the larger one of equals.
fn cut(problem: &Problem, axes: Axes, soc: &Soc) -> Cut {
    let outer: u64 = axes.outer.iter().map(|axis| u64::from(axis.extent)).product();
    let tiles = |rows: u32| outer.saturating_mul(axes.inner.extent.div_ceil(rows).into());
    let cost = |rows: &u32| tiles(*rows).div_ceil(soc.vector_cores.into()) * (u64::from(*rows) + TILE_COST);
    let fits = |rows: &u32| Buffers::new(problem, *rows).end <= soc.core.usable_ub_bytes();
    let least = TILE_ROWS[TILE_ROWS.len() - 1];
    let tile_rows = TILE_ROWS.into_iter().filter(fits).min_by_key(cost).unwrap_or(least);
    let num_cores = u32::try_from(tiles(tile_rows)).unwrap_or(u32::MAX).min(soc.vector_cores);
    Cut { axes, tile_rows, num_cores }
}

/// Where the buffers of a tile lie in UB.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Buffers {
    part: u32,
    x: u32,
    sum: u32,
    out: u32,
    out_bytes: u32,
    lse: u32,
    weights: u32,
    tmp: u32,
    spread: u32,
    rows: u32,
    end: u32,
}

impl Buffers {
    fn new(problem: &Problem, rows: u32) -> Self {
        // The sizes are bounded: 128 rows of 512 elements, 768 parts of 128 rows.
        let elements = rows * problem.head_dim;
        let values = 4 * rows * problem.num_parts();
        let of = |dtype: DType| elements * u32::try_from(dtype.size_bytes()).unwrap_or(4);
        let unless_f32 = |dtype: DType| if dtype == DType::F32 { 0 } else { 4 * elements };
        let mut next: u32 = 0;
        let mut place = |bytes: u32, behind: u32| {
            let at = next.next_multiple_of(BANK_ROW_BYTES) + behind;
            next = at + bytes;
            at
        };
        // The sum lies half a row of banks behind, so that it meets no part in a bank group.
        let half = BANK_ROW_BYTES / 2;
        let out_bytes = of(problem.dtype_out).next_multiple_of(BANK_ROW_BYTES);
        Self {
            part: place(2 * of(problem.dtype), 0),
            x: place(unless_f32(problem.dtype), 0),
            sum: place(unless_f32(problem.dtype_out), half),
            out: place(2 * out_bytes, half),
            out_bytes,
            lse: place(2 * values, 0),
            weights: place(values, 0),
            tmp: place(values, 0),
            // Two copies, half a row of banks apart (SpreadRows in fa/row_ops.h).
            spread: place(2 * rows.next_multiple_of(16) * 32 + half, 0),
            rows: place(4 * 4 * rows, 0),
            end: next,
        }
    }
}

impl Plan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What it is planned for.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// Vector cores of a launch; 0 when there is nothing to launch.
    pub fn num_cores(&self) -> u32 {
        self.cut.as_ref().map_or(0, |cut| cut.num_cores)
    }

    /// Rows of a tile; 0 when there is nothing to launch.
    pub fn tile_rows(&self) -> u32 {
        self.cut.as_ref().map_or(0, |cut| cut.tile_rows)
    }

    /// Bytes that a launch reads and writes.
    pub fn bytes(&self) -> u64 {
        let p = &self.problem;
        let rows: u64 = p.extent().map(u64::from).iter().product();
        let of = |dtype: DType| rows * (u64::from(p.head_dim) * dtype.size_bytes() as u64 + 4);
        u64::from(p.num_parts()) * of(p.dtype) + of(p.dtype_out)
    }

    /// What the kernel is told, with the device addresses of o and lse of each source; `None` when there is
    /// nothing to launch.
    pub fn tiling_data(&self, addresses: &[[u64; 2]]) -> Option<MergeTilingData> {
        let Cut { axes: Axes { outer: [a, b], inner }, tile_rows, num_cores } = self.cut.as_ref()?;
        let ub = Buffers::new(&self.problem, *tile_rows);
        let (mut parts_of, mut o_parts_stride, mut lse_parts_stride) =
            ([0; MAX_SOURCES], [0; 4 * MAX_SOURCES], [0; 3 * MAX_SOURCES]);
        for (i, source) in self.problem.sources.iter().enumerate() {
            let [[o_step, ..], [lse_step, ..]] = self.problem.source_strides(source);
            let along = |which: usize| [a, b, inner].map(|axis| axis.sources[i][which]);
            let ([o0, o1, row], [lse0, lse1, _]) = (along(0), along(1));
            parts_of[i] = source.parts;
            o_parts_stride[4 * i..4 * i + 4].copy_from_slice(&[o_step, o0, o1, row]);
            lse_parts_stride[3 * i..3 * i + 3].copy_from_slice(&[lse_step, lse0, lse1]);
        }
        let of_source = |which: usize| {
            let mut found = [0; MAX_SOURCES];
            found.iter_mut().zip(addresses).for_each(|(to, source)| *to = source[which]);
            found
        };
        Some(MergeTilingData {
            o_parts: of_source(0),
            lse_parts: of_source(1),
            o_parts_stride,
            lse_parts_stride,
            o_stride: [a.out[0], b.out[0], inner.out[0]],
            lse_stride: [a.out[1], b.out[1]],
            parts_of,
            num_parts: self.problem.num_parts(),
            extent: [a.extent, b.extent, inner.extent],
            dim: self.problem.head_dim,
            tile_rows: *tile_rows,
            num_cores: *num_cores,
            ub_in_offset_bytes: ub.part,
            ub_x_offset_bytes: ub.x,
            ub_sum_offset_bytes: ub.sum,
            ub_out_offset_bytes: ub.out,
            out_bytes: ub.out_bytes,
            ub_lse_offset_bytes: ub.lse,
            ub_weights_offset_bytes: ub.weights,
            ub_tmp_offset_bytes: ub.tmp,
            ub_spread_offset_bytes: ub.spread,
            ub_rows_offset_bytes: ub.rows,
            reserved: 0,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.problem;
        write!(
            f,
            "merge of {} parts in {} sources, {} to {}, o [{}, {}, {}, {}] on {}: ",
            p.num_parts(),
            p.sources.len(),
            p.dtype,
            p.dtype_out,
            p.batch,
            p.seqlen,
            p.num_heads,
            p.head_dim,
            self.soc.name
        )?;
        match &self.cut {
            Some(Cut { tile_rows, num_cores, .. }) => {
                write!(f, "tiles of {tile_rows} rows on {num_cores} cores")
            }
            None => f.write_str("no rows, so no launch"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;
    use crate::merge::{MAX_HEAD_DIM, MAX_PARTS};

    #[test]
    fn the_smallest_tile_fits_whatever_the_problem() {
        for soc in Soc::all() {
            for dtype in [DType::F16, DType::F32] {
                let problem = Problem::new(dtype, MAX_PARTS, [1, 1, 1, MAX_HEAD_DIM]);
                let smallest = Buffers::new(&problem, TILE_ROWS[TILE_ROWS.len() - 1]);
                assert!(smallest.end <= soc.core.usable_ub_bytes(), "{} {smallest:?}", soc.name);
            }
        }
    }
}
