//! How a search is cut.

use std::fmt;

use serde::Serialize;

use super::super::cost::{Vector, Work};
use super::super::rows::{Places, LANES};
use super::super::ArgmaxTilingData;
use super::{kernel_name, Problem};
use crate::record;
use crate::spec::Reason;
use crate::tiling::traffic::Rows;
use crate::{DType, Result, Soc};

/// Columns of a chunk at most.
const CHUNK: u32 = 8192;

/// Longest row: the maxima of its chunks have 8 KiB of UB.
pub(super) const MAX_DIM: u32 = 256 * CHUNK;

/// A planned search; prints itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    chunk: u32,
    num_cores: u32,
}

/// Plans a search.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("argmax on {}", soc.name), &problem.refusals(soc))?;
    let chunk = problem.dim.next_multiple_of(LANES).min(CHUNK);
    Ok(Plan { problem: *problem, soc: soc.clone(), chunk, num_cores: problem.rows.min(soc.vector_cores) })
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
        self.num_cores
    }

    fn size(&self) -> u32 {
        if self.problem.dtype == DType::F32 {
            4
        } else {
            2
        }
    }

    /// Bytes of the elements that a launch reads.
    pub fn bytes(&self) -> u64 {
        u64::from(self.problem.rows) * u64::from(self.problem.dim) * u64::from(self.size())
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result.
    pub fn predicted_us(&self) -> f64 {
        let p = &self.problem;
        if self.num_cores == 0 {
            return 0.0;
        }
        let repeats = f64::from(self.chunk.min(p.dim)) / f64::from(LANES);
        let mut vector = Vector::default();
        for shrunk in [1.0, 8.0, 64.0, 512.0] {
            vector = vector.step(repeats / shrunk, 1.0);
        }
        if p.dtype != DType::F32 {
            vector = vector.step(repeats, 1.0);
        }
        let (rows, chunks) = (p.rows.div_ceil(self.num_cores), p.dim.div_ceil(self.chunk));
        let work = Work {
            tiling_bytes: size_of::<ArgmaxTilingData>(),
            num_cores: self.num_cores,
            // One chunk of each row is read again.
            tiles: f64::from(rows) * (f64::from(chunks) + 1.0),
            vector,
            reads: &[Rows::dense(1, self.chunk.min(p.dim) * self.size())],
            writes: &[],
            bytes: [self.bytes(), 0],
        };
        work.cycles(&self.soc) / f64::from(self.soc.clock_mhz)
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> ArgmaxTilingData {
        let (p, chunk, size) = (&self.problem, self.chunk, self.size());
        let mut places = Places::default();
        ArgmaxTilingData {
            x_stride: p.x_stride.unwrap_or(p.dim.into()),
            rows: p.rows,
            dim: p.dim,
            chunk,
            num_cores: self.num_cores,
            ub_x_offset_bytes: places.next(2 * chunk * size),
            ub_found_offset_bytes: places.next(chunk * size),
            ub_wide_offset_bytes: places.next(if size == 4 { 0 } else { 4 * chunk }),
            // An eighth and an eighth of it, each of at least one block for 8 rows.
            ub_tree_offset_bytes: places.next(chunk / 2 + (chunk / 16).max(256)),
            ub_maxima_offset_bytes: places.next(32 * p.dim.div_ceil(chunk)),
            ub_bits_offset_bytes: places.next(chunk / 8),
            ub_index_offset_bytes: places.next(2 * 32),
            ub_end_bytes: places.end(),
        }
    }
}

record::json_of_problem!(Plan, "argmax", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    chunk: u32,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        let Self { num_cores, chunk, .. } = *self;
        Ok(Chosen { kernel: kernel_name(self.problem.dtype), num_cores, chunk })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.problem;
        write!(
            f,
            "argmax {} on {}: rows {}, dim {}; chunks of {} columns, on {} cores",
            p.dtype, self.soc.name, p.rows, p.dim, self.chunk, self.num_cores
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn every_length_fits_ub() {
        for soc in Soc::all() {
            for dtype in [DType::F16, DType::F32] {
                for dim in [1, 63, 65, 8192, 8193, 32_000, 49_152, 128_256, 152_064, MAX_DIM] {
                    let plan = plan(&Problem::new(dtype, [5, dim]), soc).unwrap();
                    let t = plan.tiling_data();
                    assert!(t.ub_end_bytes <= soc.core.usable_ub_bytes(), "{plan}: {t:?}");
                    assert!(t.chunk.is_multiple_of(LANES) && t.chunk <= CHUNK && t.num_cores == 5, "{plan}");
                }
            }
        }
    }
}
