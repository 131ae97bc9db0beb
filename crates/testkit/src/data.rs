//! Operands of a case, made from its seed.

use fastattention::attention::Problem;
use fastattention::reference::{Element, Params, Tensor};
use fastrand::Rng;

use crate::cases::{Case, Layout, Values};

/// One tensor of a case: its elements and `[batch, seqlen, head]` strides.
#[derive(Clone, Debug)]
pub struct Operand<T> {
    /// From the first element to the last, gaps included.
    pub data: Vec<T>,
    /// In elements.
    pub stride: [u64; 3],
}

impl<T> Operand<T> {
    /// As the references take it.
    pub fn tensor(&self) -> Tensor<'_, T> {
        let stride = self.stride.map(|s| usize::try_from(s).expect("test tensors are small"));
        Tensor { data: &self.data, stride }
    }
}

/// Strides and number of elements of a `[batch, seqlen, heads, dim]` tensor.
pub fn strides(layout: Layout, [batch, seqlen, heads, dim]: [u32; 4]) -> ([u64; 3], usize) {
    let [batch, seqlen, heads, dim] = [batch, seqlen, heads, dim].map(u64::from);
    let with_gaps = |[of_head, of_row, of_batch]: [u64; 3]| {
        let head = dim + of_head;
        let row = heads * head + of_row;
        let whole = seqlen * row + of_batch;
        ([whole, row, head], batch * whole)
    };
    let (stride, len) = match layout {
        Layout::Bsnd => ([seqlen * heads * dim, heads * dim, dim], batch * seqlen * heads * dim),
        Layout::Bnsd => ([seqlen * heads * dim, dim, seqlen * dim], batch * seqlen * heads * dim),
        // Behind each head, each row, each batch. Those of 3, 5 and 7 leave nothing aligned.
        Layout::Gaps => with_gaps([3, 5, 7]),
        Layout::AlignedGaps => with_gaps([8, 24, 40]),
    };
    (stride, usize::try_from(len).expect("test tensors are small"))
}

/// The problem of a case, with its layout's strides.
pub fn problem(case: &Case) -> Problem {
    let c = case;
    let mut problem = Problem::new(c.dtype, [c.batch, c.seqlen_q, c.num_heads, c.head_dim])
        .with_seqlen_k(c.seqlen_k)
        .with_num_heads_k(c.num_heads_k)
        .with_head_dim_v(c.head_dim_v)
        .with_score_dtype(c.score_dtype)
        .with_mask(c.mask)
        .with_lse();
    problem.spec.softmax_scale = c.softmax_scale;
    let stride = |shape| Some(strides(c.layout, shape).0);
    problem.q_stride = stride([c.batch, c.seqlen_q, c.num_heads, c.head_dim]);
    problem.k_stride = stride([c.batch, c.seqlen_k, c.num_heads_k, c.head_dim]);
    problem.v_stride = stride([c.batch, c.seqlen_k, c.num_heads_k, c.head_dim_v]);
    problem.o_stride = stride([c.batch, c.seqlen_q, c.num_heads, c.head_dim_v]);
    problem
}

/// What the references are given of a case.
pub fn params(case: &Case) -> Params {
    Params {
        batch: case.batch as usize,
        num_heads: case.num_heads as usize,
        num_heads_k: case.num_heads_k as usize,
        head_dim: case.head_dim as usize,
        head_dim_v: case.head_dim_v as usize,
        seqlen_q: case.seqlen_q as usize,
        seqlen_k: case.seqlen_k as usize,
        softmax_scale: f64::from(problem(case).shape().softmax_scale),
        mask: case.mask,
    }
}

/// Standard normal by Box-Muller.
pub fn normal(rng: &mut Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.f32()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.f32()).cos()
}

/// q, k and v of a case.
pub fn operands<T: Element>(case: &Case) -> [Operand<T>; 3] {
    let mut rng = Rng::with_seed(case.seed);
    let c = case;
    [
        ([c.batch, c.seqlen_q, c.num_heads, c.head_dim], Which::Q),
        ([c.batch, c.seqlen_k, c.num_heads_k, c.head_dim], Which::K),
        ([c.batch, c.seqlen_k, c.num_heads_k, c.head_dim_v], Which::V),
    ]
    .map(|(shape, which)| {
        let (stride, len) = strides(case.layout, shape);
        let step = stride.map(|s| usize::try_from(s).expect("test tensors are small"));
        let mut data = vec![T::round(0.0); len];
        let [batch, seqlen, heads, dim] = shape.map(|d| d as usize);
        for b in 0..batch {
            for s in 0..seqlen {
                for h in 0..heads {
                    for d in 0..dim {
                        let at = b * step[0] + s * step[1] + h * step[2] + d;
                        data[at] = T::round(value(case.values, which, s, seqlen, &mut rng));
                    }
                }
            }
        }
        Operand { data, stride }
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Q,
    K,
    V,
}

fn value(values: Values, which: Which, row: usize, rows: usize, rng: &mut Rng) -> f32 {
    match (values, which) {
        (Values::LargeLogits, Which::Q) => 8.0 * normal(rng),
        (Values::EqualScores, Which::Q | Which::K) => 0.0,
        (Values::NegativeZero, Which::Q | Which::V) if rng.bool() => -0.0,
        (Values::NegativeZero, _) => 1.0,
        (Values::Growing, Which::Q) => 1.0,
        (Values::Growing, Which::K) => row as f32 / rows.max(1) as f32 + 0.01 * normal(rng),
        _ => normal(rng),
    }
}
