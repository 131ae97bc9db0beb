//! How a norm is cut.

use std::fmt;

use serde::Serialize;

use super::super::cost::{Vector, Work};
use super::super::rows::{Places, LANES};
use super::super::NormTilingData;
use super::{index_of, Kind, Problem, KERNELS};
use crate::record;
use crate::spec::Reason;
use crate::tiling::traffic::Rows;
use crate::{DType, Result, Soc};

/// Columns of a chunk of a long row, the most first; whole rows of banks in f32. Larger ones would keep the
/// vector unit waiting for the first, and the first write for the last.
const CHUNKS: [u32; 5] = [4096, 2048, 1024, 512, 256];

/// Longest row of which a slice has several: the row stride of a vector instruction has 8 bits of blocks,
/// and a row tree steps over the blocks of 8 rows.
const MAX_NARROW: u32 = 31 * LANES;

/// Rows of a slice, the most first: the arrays of row values have 64.
const SLICE_ROWS: [u32; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Elements of a chunk at most: repeats of an instruction.
const MAX_CHUNK_ELEMENTS: u32 = 255 * LANES;

/// A planned norm; prints itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    cut: Cut,
    num_cores: u32,
}

/// Rows and columns of a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    slice_rows: u32,
    chunk: u32,
}

/// Plans a norm.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("norm on {}", soc.name), &problem.refusals(soc))?;
    let num_cores = problem.rows.min(soc.vector_cores);
    let fits = |cut: &Cut| Buffers::new(problem, *cut).end <= soc.core.usable_ub_bytes();
    let cycles = |cut: &Cut| work_cycles(problem, *cut, num_cores, soc);
    let best = cuts(problem, soc).into_iter().filter(fits).min_by(|a, b| cycles(a).total_cmp(&cycles(b)));
    // `too_long` has found that the smallest one fits.
    let cut = best.unwrap_or(smallest(problem));
    Ok(Plan { problem: *problem, soc: soc.clone(), cut, num_cores })
}

/// A row that leaves no room for itself in UB.
pub(super) fn too_long(problem: &Problem, soc: &Soc) -> Option<Reason> {
    let usable = soc.core.usable_ub_bytes();
    let fits = |dim: u32| {
        let problem = Problem { dim, ..*problem };
        u64::from(dim) * 4 <= usable.into() && Buffers::new(&problem, smallest(&problem)).end <= usable
    };
    (!fits(problem.dim)).then(|| {
        let most = (1..=usable / 4 / LANES).rev().map(|lanes| lanes * LANES).find(|dim| fits(*dim));
        Reason::unsupported(format!(
            "dim = {} leaves no room for a row, its weights and what is under way in UB; at most {} supported",
            problem.dim,
            most.unwrap_or(0)
        ))
    })
}

fn size(dtype: DType) -> u32 {
    if dtype == DType::F32 {
        4
    } else {
        2
    }
}

fn width(problem: &Problem) -> u32 {
    problem.dim.next_multiple_of(LANES)
}

/// What takes the least room.
fn smallest(problem: &Problem) -> Cut {
    Cut { slice_rows: 1, chunk: CHUNKS[CHUNKS.len() - 1].min(width(problem)) }
}

/// The cuts to choose from. In all of them a row has the same chunks, so that its sums, and with them its
/// bits, do not depend on how many rows there are.
fn cuts(problem: &Problem, soc: &Soc) -> Vec<Cut> {
    let width = width(problem);
    if width <= MAX_NARROW {
        let several = SLICE_ROWS.into_iter().filter(|rows| rows * width <= MAX_CHUNK_ELEMENTS);
        return several.map(|slice_rows| Cut { slice_rows, chunk: width }).collect();
    }
    let of = |chunk: u32| Cut { slice_rows: 1, chunk: chunk.min(width) };
    let fits = |cut: &Cut| Buffers::new(problem, *cut).end <= soc.core.usable_ub_bytes();
    CHUNKS.into_iter().map(of).find(fits).into_iter().collect()
}

/// Where the buffers of a cut lie in UB.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Buffers {
    x: u32,
    r: u32,
    out: u32,
    slice: u32,
    tmp: u32,
    wide: u32,
    narrow: u32,
    weight: u32,
    bias: u32,
    weight_chunk: u32,
    bias_chunk: u32,
    spread: u32,
    stats: u32,
    end: u32,
}

impl Buffers {
    /// Of rows that UB holds in f32, so that no size is beyond 32 bits.
    fn new(problem: &Problem, Cut { slice_rows, chunk }: Cut) -> Self {
        let elements = slice_rows * chunk;
        let of = |dtype: DType, count: u32| count * size(dtype);
        let only = |is_there: bool, bytes: u32| if is_there { bytes } else { 0 };
        let is_wide = problem.weight_dtype == DType::F32;
        let weight = of(problem.weight_dtype, width(problem));
        let row_values = slice_rows.next_multiple_of(8) * 32;
        let mut places = Places::default();
        Self {
            x: places.next(2 * of(problem.dtype, elements)),
            r: places.next(only(problem.has_residual, 2 * of(problem.residual_dtype, elements))),
            // A chunk of h or of y: that of h is the larger one.
            out: places.next(2 * of(problem.residual_dtype, elements)),
            slice: places.next(4 * slice_rows * width(problem)),
            tmp: places.next_apart(4 * elements),
            wide: places.next((elements / 2).max(row_values)),
            narrow: places.next((elements / 16).max(row_values)),
            weight: places.next_apart(weight),
            bias: places.next_apart(only(problem.has_bias, weight)),
            weight_chunk: places.next_apart(only(!is_wide, 4 * chunk)),
            bias_chunk: places.next_apart(only(!is_wide && problem.has_bias, 4 * chunk)),
            // Two copies, half a row of banks apart (SpreadRows in fa/row_ops.h).
            spread: places.next(2 * slice_rows.next_multiple_of(16) * 32 + 256),
            stats: places.next(4 * 4 * LANES),
            end: places.end(),
        }
    }
}

/// Rows of the core that has most.
fn core_rows(problem: &Problem, num_cores: u32) -> u32 {
    problem.rows.div_ceil(num_cores.max(1))
}

/// Predicted cycles of the slowest core.
fn work_cycles(problem: &Problem, cut: Cut, num_cores: u32, soc: &Soc) -> f64 {
    let rows = cut.slice_rows.min(core_rows(problem, num_cores)).max(1);
    let chunk = cut.chunk.min(problem.dim);
    let of = |dtype: DType, stride: Option<u64>| Rows {
        rows,
        bytes: chunk * size(dtype),
        pitch: stride.unwrap_or(problem.dim.into()).saturating_mul(size(dtype).into()),
    };
    let mut reads = vec![of(problem.dtype, problem.x_stride)];
    let mut writes = vec![of(problem.dtype, problem.y_stride)];
    if problem.has_residual {
        reads.push(of(problem.residual_dtype, problem.r_stride));
        writes.push(of(problem.residual_dtype, problem.h_stride));
    }
    let slices = f64::from(core_rows(problem, num_cores).div_ceil(rows));
    let chunks = f64::from(problem.dim.div_ceil(cut.chunk));
    // Of what is read and of what is written.
    let all = problem.bytes_of_rows() / 2;
    let work = Work {
        tiling_bytes: size_of::<NormTilingData>(),
        num_cores,
        tiles: slices * chunks,
        vector: vector(problem, f64::from(rows) * f64::from(chunk), chunks),
        reads: &reads,
        writes: &writes,
        bytes: [all, all],
    };
    work.cycles(soc)
}

/// Instructions of a chunk, of which a row has `chunks`.
fn vector(problem: &Problem, elements: f64, chunks: f64) -> Vector {
    let repeats = elements / f64::from(LANES);
    let is_wide = problem.residual_dtype == DType::F32;
    let tree =
        |v: Vector| v.step(repeats, 1.0).step(repeats / 8.0, 1.0).step(repeats / 64.0, 1.0).step(1.0, 1.0);
    // Widened, squared and added up; scaled, weighted and rounded.
    let mut v = tree(Vector::default().step(repeats, 1.0).step(repeats, 2.0));
    v = v.step(repeats, 1.0).step(repeats, 1.0).step(repeats, 1.0);
    if problem.has_residual {
        v = v.step(repeats, 1.0).step(repeats, if is_wide { 0.0 } else { 2.0 });
    }
    if problem.has_bias {
        v = v.step(repeats, 1.0);
    }
    if problem.kind == Kind::Layer {
        v = tree(v.step(repeats, 1.0));
    }
    // The scale of a row: six steps on few values.
    Vector { steps: v.steps + 8.0 / chunks, ..v }
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

    /// Bytes that a launch reads and writes, without the weights.
    pub fn bytes(&self) -> u64 {
        self.problem.bytes_of_rows()
    }

    /// Predicted model time of a launch in microseconds, from the start of a core to its last result.
    pub fn predicted_us(&self) -> f64 {
        if self.num_cores == 0 {
            return 0.0;
        }
        work_cycles(&self.problem, self.cut, self.num_cores, &self.soc) / f64::from(self.soc.clock_mhz)
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> NormTilingData {
        let (p, ub) = (&self.problem, Buffers::new(&self.problem, self.cut));
        let stride = |given: Option<u64>| given.unwrap_or(p.dim.into());
        NormTilingData {
            x_stride: stride(p.x_stride),
            r_stride: stride(p.r_stride),
            h_stride: stride(p.h_stride),
            y_stride: stride(p.y_stride),
            rows: p.rows,
            dim: p.dim,
            slice_rows: self.cut.slice_rows,
            chunk: self.cut.chunk,
            num_cores: self.num_cores,
            has_residual: p.has_residual.into(),
            is_centred: (p.kind == Kind::Layer).into(),
            has_bias: p.has_bias.into(),
            eps: p.eps,
            inverse_dim: 1.0 / p.dim as f32,
            ub_x_offset_bytes: ub.x,
            ub_r_offset_bytes: ub.r,
            ub_out_offset_bytes: ub.out,
            ub_slice_offset_bytes: ub.slice,
            ub_tmp_offset_bytes: ub.tmp,
            ub_wide_offset_bytes: ub.wide,
            ub_narrow_offset_bytes: ub.narrow,
            ub_weight_offset_bytes: ub.weight,
            ub_bias_offset_bytes: ub.bias,
            ub_weight_chunk_offset_bytes: ub.weight_chunk,
            ub_bias_chunk_offset_bytes: ub.bias_chunk,
            ub_spread_offset_bytes: ub.spread,
            ub_stats_offset_bytes: ub.stats,
            reserved: 0,
        }
    }
}

record::json_of_problem!(Plan, "norm", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    slice_rows: u32,
    chunk: u32,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        Ok(Chosen {
            kernel: KERNELS[index_of(self.problem.types())?].1,
            num_cores: self.num_cores,
            slice_rows: self.cut.slice_rows,
            chunk: self.cut.chunk,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.problem;
        write!(
            f,
            "{} norm {} on {}: rows {}, dim {}{}{}{}, weights {}; slices of {} rows in chunks of {} columns, on {} cores",
            match p.kind {
                Kind::Rms => "rms",
                Kind::Layer => "layer",
            },
            p.dtype,
            self.soc.name,
            p.rows,
            p.dim,
            if p.has_residual { ", residual" } else { "" },
            if p.residual_dtype == p.dtype { "" } else { " f32" },
            if p.has_bias { ", bias" } else { "" },
            p.weight_dtype,
            self.cut.slice_rows,
            self.cut.chunk,
            self.num_cores
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    /// Every length up to the longest of a model, with all that takes room: what lies in UB fits, and what
    /// is planned is what the kernel can do.
    #[test]
    fn every_length_of_a_model_is_planned_and_fits() {
        for soc in Soc::all() {
            for dim in
                (1..19_000).step_by(61).chain([576, 768, 896, 4096, 5120, 8192, 11_008, 14_336, 18_944])
            {
                for (dtype, weights, residual) in [
                    (DType::F16, DType::F16, DType::F16),
                    (DType::Bf16, DType::F32, DType::Bf16),
                    (DType::F16, DType::F32, DType::F32),
                ] {
                    for rows in [1, 7, 4096] {
                        let problem = Problem::rms(dtype, [rows, dim], 1e-5).with_residual_dtype(residual);
                        let plan = plan(&problem.with_weight_dtype(weights), soc).unwrap();
                        let Cut { slice_rows, chunk } = plan.cut;
                        let ub = Buffers::new(&plan.problem, plan.cut);
                        assert!(ub.end <= soc.core.usable_ub_bytes(), "{plan}");
                        assert!(chunk.is_multiple_of(LANES) && slice_rows <= 64, "{plan}");
                        assert!(slice_rows == 1 || chunk >= dim && chunk <= MAX_NARROW, "{plan}");
                        assert!(slice_rows * chunk <= MAX_CHUNK_ELEMENTS, "{plan}");
                        assert!(
                            chunk >= dim || chunk.is_multiple_of(128),
                            "{plan}: chunks start at whole rows of banks"
                        );
                        assert_eq!(plan.num_cores, rows.min(soc.vector_cores));
                    }
                }
            }
        }
    }
}
