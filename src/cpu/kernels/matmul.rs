//! Matrix products (`matmul.cpp`), on blocks: of B as `[n, k]` by the kernel of the crate
//! `fastattention-cpu`, which reads rows of B once and in their own type; else by that of the crate
//! `matrixmultiply`, in f32. Either adds in an order that depends on k alone, so a product can be cut along
//! its rows.

#![allow(unsafe_code, reason = "the product of `matrixmultiply` takes pointers")]

use ascend_sim::engine::Stopped;
use fastattention_cpu::{Isa, PackedRows};
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

/// Rows of B as `[n, k]` that a thread takes at a time, and elements of them: a copy stays in the cache. Of A
/// as many rows as have so many elements, too, which matters for a very large k alone.
const NK_COLS: u64 = 64;
const NK_ELEMENTS: u64 = 128 * 1024;
const NK_ELEMENTS_A: u64 = 1 << 22;

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
    let fit = |elements: u64, most: u64| (elements / k.max(1)).clamp(1, most);
    let block = if is_nk { [fit(NK_ELEMENTS_A, ROWS), fit(NK_ELEMENTS, NK_COLS)] } else { [ROWS, COLS] };
    let (blocks_m, blocks_n) = (m.div_ceil(block[0]), n.div_ceil(block[1]));
    let all = batch.iter().product::<u64>() * blocks_m * blocks_n;
    call.host.install(|| {
        (0..all).into_par_iter().for_each_init(Scratch::<T>::default, |scratch, i| {
            let (number, matrix) = (i % (blocks_m * blocks_n), i / (blocks_m * blocks_n));
            let at = [matrix / batch[2] / batch[1], matrix / batch[2] % batch[1], matrix % batch[2]];
            let first = |strides: [u64; 3]| (0..3).map(|i| at[i] * strides[i]).sum::<u64>();
            let (row, col) = (number / blocks_n * block[0], number % blocks_n * block[1]);
            let (rows, cols) = (block[0].min(m - row), block[1].min(n - col));
            scratch.clear(rows * cols);
            let (a_at, b_at) = (first(t.a_batch_stride) + row * t.a_stride, first(t.b_batch_stride));
            if is_nk && k > 0 {
                load(&a, &mut scratch.a, a_at, t.a_stride, [rows, k]);
                scratch.multiply_rows(call.host.isa(), &b, [b_at + col * t.b_stride, t.b_stride], [k, cols]);
            } else {
                for depth in (0..k).step_by(index(DEPTH)) {
                    let part = DEPTH.min(k - depth);
                    load(&a, &mut scratch.a, a_at + depth, t.a_stride, [rows, part]);
                    load(&b, &mut scratch.b, b_at + depth * t.b_stride + col, t.b_stride, [part, cols]);
                    scratch.add_product([rows, part, cols]);
                }
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
struct Scratch<T> {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    /// Rows of B in their own type.
    raw: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { a: Vec::new(), b: Vec::new(), c: Vec::new(), raw: Vec::new() }
    }
}

impl<T: Real> Scratch<T> {
    fn clear(&mut self, elements: u64) {
        self.c.clear();
        self.c.resize(index(elements), 0.0);
    }

    /// c = a b^T, with rows of B from `at` on.
    fn multiply_rows(&mut self, isa: Isa, b: &Tensor<T>, [at, stride]: [u64; 2], [len, cols]: [u64; 2]) {
        self.raw.resize(index(len * cols), T::zeroed());
        for (row, raw) in (0..).zip(self.raw.chunks_exact_mut(index(len))) {
            b.read(at + row * stride, raw);
        }
        PackedRows::new(isa, &self.a, index(len)).products(T::elements(&self.raw), &mut self.c);
    }

    /// c += a b.
    fn add_product(&mut self, [rows, depth, cols]: [u64; 3]) {
        let [m, k, n] = [rows, depth, cols].map(index);
        assert!(self.a.len() == m * k && self.b.len() == k * n && self.c.len() == m * n);
        let (row, one) = (usize::cast_signed, 1);
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
                row(n),
                one,
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
