//! Matrix products (`matmul.cpp`): the kernel of the crate `matrixmultiply` on blocks in f32.

#![allow(unsafe_code, reason = "the product of `matrixmultiply` takes pointers")]

use ascend_sim::engine::Stopped;
use rayon::prelude::*;

use super::{Real, Row};
use crate::cpu::call::{index, span, Call, Tensor};
use crate::kernels::operands::MatmulArguments;
use crate::matmul::MatmulTilingData;

/// Rows and columns of C that a thread makes at a time, and the depth that it adds at a time: in f32, blocks
/// of A and B and of C together stay in a cache of 1 MiB.
const ROWS: u64 = 128;
const COLS: u64 = 256;
const DEPTH: u64 = 512;

/// T: of A and B. C: of the product, rounded once from f32.
pub(super) fn matmul<T: Real, C: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, MatmulArguments::of)?;
    multiply::<T, C>(call, [gm.a, gm.b, gm.c], &call.tiling(gm.tiling)?)
}

/// The product of tiling data, with A, B and C at these addresses.
pub(super) fn multiply<T: Real, C: Real>(
    call: &Call<'_>,
    [a, b, c]: [u64; 3],
    t: &MatmulTilingData,
) -> Result<(), Stopped> {
    let [m, n, k] = [t.m, t.n, t.k].map(u64::from);
    let batch = t.batch.map(u64::from);
    let len = |strides: [u64; 3], rows: u64, stride: u64, row: u64| {
        span(&[(batch[0], strides[0]), (batch[1], strides[1]), (batch[2], strides[2]), (rows, stride)], row)
    };
    let is_nk = t.b_is_nk != 0;
    let (b_rows, b_row) = if is_nk { (n, k) } else { (k, n) };
    let a = call.tensor::<T>("a", a, len(t.a_batch_stride, m, t.a_stride, k))?;
    let b = call.tensor::<T>("b", b, len(t.b_batch_stride, b_rows, t.b_stride, b_row))?;
    let c = call.tensor::<C>("c", c, len(t.c_batch_stride, m, t.c_stride, n))?;
    let (blocks_m, blocks_n) = (m.div_ceil(ROWS), n.div_ceil(COLS));
    let all = batch.iter().product::<u64>() * blocks_m * blocks_n;
    call.host.install(|| {
        (0..all).into_par_iter().for_each_init(Scratch::default, |scratch, i| {
            let (block, matrix) = (i % (blocks_m * blocks_n), i / (blocks_m * blocks_n));
            let at = [matrix / batch[2] / batch[1], matrix / batch[2] % batch[1], matrix % batch[2]];
            let first = |strides: [u64; 3]| (0..3).map(|i| at[i] * strides[i]).sum::<u64>();
            let (row, col) = (block / blocks_n * ROWS, block % blocks_n * COLS);
            let (rows, cols) = (ROWS.min(m - row), COLS.min(n - col));
            scratch.clear(rows * cols);
            for depth in (0..k).step_by(index(DEPTH)) {
                let part = DEPTH.min(k - depth);
                let a_at = first(t.a_batch_stride) + row * t.a_stride + depth;
                load(&a, &mut scratch.a, a_at, t.a_stride, [rows, part]);
                let b_at = first(t.b_batch_stride);
                if is_nk {
                    load(&b, &mut scratch.b, b_at + col * t.b_stride + depth, t.b_stride, [cols, part]);
                } else {
                    load(&b, &mut scratch.b, b_at + depth * t.b_stride + col, t.b_stride, [part, cols]);
                }
                scratch.add_product([rows, part, cols], is_nk);
            }
            let c_at = first(t.c_batch_stride) + row * t.c_stride + col;
            let mut out = Row::<C>::new(index(cols));
            for (i, sums) in (0..).zip(scratch.c.chunks_exact(index(cols))) {
                out.values.copy_from_slice(sums);
                out.write(&c, c_at + i * t.c_stride);
            }
        });
    });
    Ok(())
}

/// Blocks of a thread, row by row.
#[derive(Default)]
struct Scratch {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Scratch {
    fn clear(&mut self, elements: u64) {
        self.c.clear();
        self.c.resize(index(elements), 0.0);
    }

    /// c += a b, or a b^T.
    fn add_product(&mut self, [rows, depth, cols]: [u64; 3], is_nk: bool) {
        let [m, k, n] = [rows, depth, cols].map(index);
        assert!(self.a.len() == m * k && self.b.len() == k * n && self.c.len() == m * n);
        let (row, one) = (usize::cast_signed, 1);
        let b_strides = if is_nk { (one, row(k)) } else { (row(n), one) };
        // SAFETY: the three blocks have the sizes that the extents and strides say, and are apart.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                self.a.as_ptr(),
                row(k),
                one,
                self.b.as_ptr(),
                b_strides.0,
                b_strides.1,
                1.0,
                self.c.as_mut_ptr(),
                row(n),
                one,
            );
        }
    }
}

/// A block in f32, row by row.
fn load<T: Real>(from: &Tensor<T>, to: &mut Vec<f32>, at: u64, stride: u64, [rows, cols]: [u64; 2]) {
    let mut row = Row::<T>::new(index(cols));
    to.clear();
    for i in 0..rows {
        to.extend_from_slice(row.read(from, at + i * stride));
    }
}
