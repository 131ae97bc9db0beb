//! How an activation is cut.

use std::fmt;

use serde::Serialize;

use super::super::cost::{Vector, Work};
use super::super::rows::{Places, LANES};
use super::super::ActivationTilingData;
use super::{kernel_name, Problem};
use crate::record;
use crate::spec::Reason;
use crate::tiling::traffic::Rows;
use crate::{DType, Result, Soc};

/// Columns of a tile that are tried, and rows.
const CHUNKS: [u32; 8] = [6144, 4096, 3072, 2048, 1024, 512, 256, 128];
const TILE_ROWS: [u32; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// A planned activation; prints itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    cut: Cut,
}

/// How the elements are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    /// Rows and columns: those of the problem, or all of dense rows as one.
    shape: [u32; 2],
    tile_rows: u32,
    chunk: u32,
    num_cores: u32,
}

/// Plans an activation.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("activation on {}", soc.name), &problem.refusals(soc))?;
    let shape = shape(problem);
    let fits = |cut: &Cut| Buffers::new(problem, cut).is_some_and(|b| b.end <= soc.core.usable_ub_bytes());
    let cycles = |cut: &Cut| cycles(problem, cut, soc);
    let best = cuts(shape, soc).filter(fits).min_by(|a, b| cycles(a).total_cmp(&cycles(b)));
    // One row of the shortest chunk fits every UB.
    let least = cut(shape, [1, CHUNKS[CHUNKS.len() - 1]], soc);
    Ok(Plan { problem: *problem, soc: soc.clone(), cut: best.unwrap_or(least) })
}

/// Rows that all follow each other are one.
fn shape(problem: &Problem) -> [u32; 2] {
    let is_dense = problem.tensors().iter().all(|tensor| tensor.stride[1] == tensor.dim);
    let own = [problem.rows, problem.dim];
    let all = problem.rows.checked_mul(problem.dim).filter(|all| is_dense && *all > 0);
    all.map_or(own, |all| [1, all])
}

/// All tiles, and the chunk that gives each core the same part of a row.
fn cuts(shape: [u32; 2], soc: &Soc) -> impl Iterator<Item = Cut> + '_ {
    let [rows, dim] = shape;
    let even = dim.div_ceil((soc.vector_cores / rows.max(1)).max(1)).div_ceil(LANES).saturating_mul(LANES);
    let whole = dim.min(CHUNKS[0]).next_multiple_of(16);
    let chunks = CHUNKS.into_iter().chain([even.min(CHUNKS[0]), whole]);
    let chunks = chunks.map(move |chunk| chunk.min(whole));
    let tiles = chunks.flat_map(|chunk| TILE_ROWS.map(|rows| [rows, chunk]));
    let tiles = tiles.filter(move |[tile_rows, _]| *tile_rows == 1 || *tile_rows <= rows);
    tiles.map(move |tile| cut(shape, tile, soc))
}

fn cut(shape: [u32; 2], [tile_rows, chunk]: [u32; 2], soc: &Soc) -> Cut {
    let tiles = u64::from(shape[0].div_ceil(tile_rows)) * u64::from(shape[1].div_ceil(chunk));
    let num_cores = u32::try_from(tiles).unwrap_or(u32::MAX).min(soc.vector_cores);
    Cut { shape, tile_rows, chunk, num_cores }
}

/// Where the buffers of a tile lie in UB.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Buffers {
    x: u32,
    up: u32,
    out: u32,
    wide: u32,
    power: u32,
    square: u32,
    end: u32,
}

impl Buffers {
    /// `None` for a tile that no UB holds.
    fn new(problem: &Problem, cut: &Cut) -> Option<Self> {
        let elements = cut.tile_rows.checked_mul(cut.chunk).filter(|n| *n <= 255 * LANES)?;
        let is_f32 = problem.dtype == DType::F32;
        let of = |is_there: bool| if is_there { 2 * elements * if is_f32 { 4 } else { 2 } } else { 0 };
        let mut places = Places::default();
        Some(Self {
            x: places.next(of(true)),
            up: places.next(of(problem.is_gated)),
            out: places.next(of(true)),
            wide: places.next(if is_f32 { 0 } else { 4 * elements }),
            // Apart from what it is combined with.
            power: places.next_apart(4 * elements),
            square: places.next(4 * elements),
            end: places.end(),
        })
    }
}

/// Predicted cycles of the slowest core.
fn cycles(problem: &Problem, cut: &Cut, soc: &Soc) -> f64 {
    let [rows, dim] = cut.shape;
    if rows == 0 || dim == 0 {
        return 0.0;
    }
    let size = if problem.dtype == DType::F32 { 4 } else { 2 };
    let [tile_rows, chunk] = [cut.tile_rows.min(rows), cut.chunk.min(dim)];
    let tensors = problem.tensors();
    let of = |stride: u64| Rows {
        rows: tile_rows,
        bytes: chunk * size,
        pitch: stride.saturating_mul(size.into()),
    };
    let is_one = cut.shape != [problem.rows, problem.dim];
    let stride = |own: u64| if is_one { dim.into() } else { own };
    let tiles = |is_output: bool| -> Vec<Rows> {
        let some = tensors.iter().filter(|tensor| tensor.is_output == is_output);
        some.map(|tensor| of(stride(tensor.stride[1]))).collect()
    };
    let (reads, writes) = (tiles(false), tiles(true));
    let all = u64::from(rows) * u64::from(dim) * u64::from(size);
    let count = u64::from(rows.div_ceil(tile_rows)) * u64::from(dim.div_ceil(chunk));
    let work = Work {
        tiling_bytes: size_of::<ActivationTilingData>(),
        num_cores: cut.num_cores,
        tiles: count.div_ceil(cut.num_cores.max(1).into()) as f64,
        vector: vector(problem, f64::from(tile_rows) * f64::from(chunk)),
        reads: &reads,
        writes: &writes,
        bytes: [all.saturating_mul(reads.len() as u64), all],
    };
    work.cycles(soc)
}

/// Instructions of a tile.
fn vector(problem: &Problem, elements: f64) -> Vector {
    let repeats = elements / f64::from(LANES);
    let degree = problem.function.polynomial().degree;
    // The exponent; exponential, sum, quotient; rounded.
    let mut v = Vector::default().step(repeats, 1.0).step(repeats, 2.0).step(repeats, 1.0).step(repeats, 4.0);
    v = v.step(repeats, 1.0);
    if degree > 0 {
        v = v.step(repeats, 2.0).step(repeats, 1.0);
    }
    for _ in 0..degree {
        v = v.step(repeats, 1.0).step(repeats, 1.0);
    }
    if problem.dtype != DType::F32 {
        v = v.step(repeats, 1.0);
    }
    if problem.is_gated {
        v = v.step(repeats, if problem.dtype == DType::F32 { 1.0 } else { 2.0 });
    }
    v
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
        self.cut.num_cores
    }

    /// Bytes that a launch reads and writes.
    pub fn bytes(&self) -> u64 {
        let p = &self.problem;
        let tensors = if p.is_gated { 3 } else { 2 };
        tensors * u64::from(p.rows) * u64::from(p.dim) * p.dtype.size_bytes() as u64
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result.
    pub fn predicted_us(&self) -> f64 {
        cycles(&self.problem, &self.cut, &self.soc) / f64::from(self.soc.clock_mhz)
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> ActivationTilingData {
        let (p, cut) = (&self.problem, &self.cut);
        let polynomial = p.function.polynomial();
        // A cut whose tile UB does not hold is never chosen.
        let ub = Buffers::new(p, cut)
            .unwrap_or_else(|| unreachable!("the planner has found that the tile fits UB"));
        let stride = |given: Option<u64>| given.unwrap_or(p.dim.into());
        ActivationTilingData {
            x_stride: stride(p.x_stride),
            up_stride: stride(p.up_stride),
            y_stride: stride(p.y_stride),
            rows: cut.shape[0],
            dim: cut.shape[1],
            tile_rows: cut.tile_rows,
            chunk: cut.chunk,
            num_cores: cut.num_cores,
            is_gated: p.is_gated.into(),
            degree: polynomial.degree,
            square_limit: polynomial.limit,
            coefficients: polynomial.coefficients,
            ub_x_offset_bytes: ub.x,
            ub_up_offset_bytes: ub.up,
            ub_out_offset_bytes: ub.out,
            ub_wide_offset_bytes: ub.wide,
            ub_power_offset_bytes: ub.power,
            ub_square_offset_bytes: ub.square,
        }
    }
}

record::json_of_problem!(Plan, "activation", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    tile_rows: u32,
    chunk: u32,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        let Cut { tile_rows, chunk, num_cores, .. } = self.cut;
        Ok(Chosen { kernel: kernel_name(self.problem.dtype), num_cores, tile_rows, chunk })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, cut) = (&self.problem, &self.cut);
        write!(
            f,
            "{}{} {} on {}: rows {}, dim {}; tiles of {} rows and {} columns of [{}, {}], on {} cores",
            p.function.name(),
            if p.is_gated { " times up" } else { "" },
            p.dtype,
            self.soc.name,
            p.rows,
            p.dim,
            cut.tile_rows,
            cut.chunk,
            cut.shape[0],
            cut.shape[1],
            cut.num_cores
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::super::Function;
    use super::*;

    #[test]
    fn tiles_fit_and_cover_every_element() {
        for soc in Soc::all() {
            for dim in (1..19_000).step_by(331).chain([576, 1536, 4096, 11_008, 14_336, 18_944, 1 << 28]) {
                for (dtype, rows) in [(DType::F16, 1), (DType::F32, 7), (DType::Bf16, 4096)] {
                    for problem in [
                        Problem::new(Function::GeluErf, dtype, [rows, dim]),
                        Problem::new(Function::Silu, dtype, [rows, dim]).gated().with_halves(),
                    ] {
                        let Ok(plan) = plan(&problem, soc) else {
                            assert!(u64::from(dim) * u64::from(rows) > 1 << 32, "{problem:?}");
                            continue;
                        };
                        let Cut { shape, tile_rows, chunk, num_cores } = plan.cut;
                        let all = |[rows, dim]: [u32; 2]| u64::from(rows) * u64::from(dim);
                        assert_eq!(all(shape), all([rows, dim]), "{plan}");
                        assert!(
                            Buffers::new(&problem, &plan.cut).unwrap().end <= soc.core.usable_ub_bytes(),
                            "{plan}"
                        );
                        assert!(chunk.is_multiple_of(16) && tile_rows <= 256, "{plan}");
                        assert!((1..=soc.vector_cores).contains(&num_cores), "{plan}");
                    }
                }
            }
        }
    }
}
