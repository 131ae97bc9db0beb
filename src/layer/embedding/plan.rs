//! How an embedding is cut.

use std::fmt;

use serde::Serialize;

use super::super::cost::{Vector, Work};
use super::super::rows::Places;
use super::super::EmbeddingTilingData;
use super::{kernel_name, Problem, STATUS_WORDS};
use crate::record;
use crate::spec::Reason;
use crate::tiling::traffic::Rows;
use crate::{Result, Soc};

/// Tiles in UB; the kernel has so many flags.
const BUFFERS: u32 = 4;

/// A tile has no more bytes. Larger ones keep the first write of a core waiting.
const TILE_BYTES: u32 = 16 * 1024;

/// Tokens of a tile at most: each is a copy of its own.
const MAX_TILE_TOKENS: u32 = 64;

/// A planned embedding; prints itself. It serves every launch of up to `tokens` tokens, whatever their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    tile_tokens: u32,
    chunk: u32,
    num_cores: u32,
}

/// Plans an embedding.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("embedding on {}", soc.name), &problem.refusals(soc))?;
    let size = element_bytes(problem);
    // Whole blocks of 32 bytes for every type.
    let chunk = problem.dim.min(TILE_BYTES / size).next_multiple_of(16);
    let core_tokens = problem.tokens.div_ceil(soc.vector_cores);
    let tile_tokens = (TILE_BYTES / size / chunk).min(MAX_TILE_TOKENS).min(core_tokens).max(1);
    let tiles = u64::from(problem.tokens.div_ceil(tile_tokens)) * u64::from(problem.dim.div_ceil(chunk));
    let num_cores = u32::try_from(tiles).unwrap_or(u32::MAX).min(soc.vector_cores);
    Ok(Plan { problem: *problem, soc: soc.clone(), tile_tokens, chunk, num_cores })
}

fn element_bytes(problem: &Problem) -> u32 {
    u32::try_from(problem.dtype.size_bytes()).unwrap_or(4)
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

    /// Bytes of `status`: i32 `[num_cores, 8]`.
    pub fn status_bytes(&self) -> u64 {
        4 * STATUS_WORDS as u64 * u64::from(self.num_cores)
    }

    /// Bytes that a launch reads and writes, without the ids.
    pub fn bytes(&self) -> u64 {
        2 * u64::from(self.problem.tokens)
            * u64::from(self.problem.dim)
            * u64::from(element_bytes(&self.problem))
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result.
    pub fn predicted_us(&self) -> f64 {
        let p = &self.problem;
        if self.num_cores == 0 {
            return 0.0;
        }
        let size = element_bytes(p);
        let bytes = self.chunk.min(p.dim) * size;
        let of = |rows: u32, stride: Option<u64>| Rows {
            rows,
            bytes,
            pitch: stride.unwrap_or(p.dim.into()).saturating_mul(size.into()),
        };
        let tokens = self.tile_tokens.min(p.tokens);
        // Rows of the table lie anywhere.
        let reads = vec![Rows::dense(1, bytes); tokens as usize];
        let tiles = u64::from(p.tokens.div_ceil(tokens)) * u64::from(p.dim.div_ceil(self.chunk));
        let work = Work {
            tiling_bytes: size_of::<EmbeddingTilingData>(),
            num_cores: self.num_cores,
            tiles: tiles.div_ceil(self.num_cores.into()) as f64,
            vector: Vector::default(),
            reads: &reads,
            writes: &[of(tokens, p.y_stride)],
            bytes: [self.bytes() / 2; 2],
        };
        work.cycles(&self.soc) / f64::from(self.soc.clock_mhz)
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> EmbeddingTilingData {
        let (p, size) = (&self.problem, element_bytes(&self.problem));
        let stride = |given: Option<u64>| given.unwrap_or(p.dim.into());
        let mut places = Places::default();
        places.next(BUFFERS * self.tile_tokens * self.chunk * size);
        let none = places.next(self.chunk * size);
        EmbeddingTilingData {
            table_stride: stride(p.table_stride),
            y_stride: stride(p.y_stride),
            tokens: p.tokens,
            num_ids: p.num_ids,
            dim: p.dim,
            id_words: p.id_type.words(),
            tile_tokens: self.tile_tokens,
            chunk: self.chunk,
            num_buffers: BUFFERS,
            num_cores: self.num_cores,
            want_status: p.is_checked.into(),
            ub_none_offset_bytes: none,
            ub_status_offset_bytes: places.next(4 * 8),
            reserved: 0,
        }
    }
}

record::json_of_problem!(Plan, "embedding", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    tile_tokens: u32,
    chunk: u32,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        let Self { tile_tokens, chunk, num_cores, .. } = *self;
        Ok(Chosen { kernel: kernel_name(self.problem.dtype), num_cores, tile_tokens, chunk })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.problem;
        write!(
            f,
            "embedding {} on {}: tokens {}, num_ids {}, dim {}; tiles of {} tokens and {} columns, on {} cores",
            p.dtype,
            self.soc.name,
            p.tokens,
            p.num_ids,
            p.dim,
            self.tile_tokens,
            self.chunk,
            self.num_cores
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn tiles_fit_ub_whatever_the_problem() {
        for soc in Soc::all() {
            for dtype in [DType::F16, DType::F32] {
                for dim in (1..20_000).step_by(77).chain([576, 4096, 18_944, 1 << 24]) {
                    for tokens in [1, 50, 100_000] {
                        let Ok(plan) = plan(&Problem::new(dtype, tokens, [10, dim]), soc) else { continue };
                        let t = plan.tiling_data();
                        let buffers = BUFFERS * t.tile_tokens * t.chunk * element_bytes(&plan.problem);
                        assert!(buffers <= t.ub_none_offset_bytes && t.tile_tokens >= 1, "{plan}");
                        assert!(t.ub_status_offset_bytes + 32 <= soc.core.usable_ub_bytes(), "{plan}");
                        assert!(
                            (1..=soc.vector_cores).contains(&t.num_cores) && t.chunk.is_multiple_of(16),
                            "{plan}"
                        );
                    }
                }
            }
        }
    }
}
