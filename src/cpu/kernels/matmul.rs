//! Matrix products (`matmul.cpp`), on blocks. B as `[n, k]`, that of weights, is read where it lies, once and
//! in its own type, by the kernel of the crate `fastattention-cpu`; other B become f32 block by block, for
//! that of the crate `matrixmultiply`. Either adds in an order that depends on k alone, so a product can be
//! cut along its rows.

#![allow(
    unsafe_code,
    reason = "operands lie at addresses, and the product of `matrixmultiply` takes pointers"
)]

use std::ops::Range;
use std::sync::OnceLock;

use ascend_sim::engine::Stopped;
use fastattention_cpu::{PackedRows, Rows};

use super::{Real, Row};
use crate::cpu::call::{index, span, Call, Tensor};
use crate::kernels::operands::MatmulArguments;
use crate::matmul::MatmulTilingData;

/// Rows and columns of C that a thread makes at a time, and the depth that it adds at a time: in f32, blocks
/// of A and B and of C together stay in a cache of 1 MiB.
const ROWS: u64 = 128;
const COLS: u64 = 256;
const DEPTH: u64 = 512;

/// Rows of B as `[n, k]` that a thread takes at a time, and elements of them, which stay in the cache for all
/// rows of a block of A.
const NK_COLS: u64 = 64;
const NK_ELEMENTS: u64 = 128 * 1024;
/// Elements of A that there are in f32 at a time.
const NK_ELEMENTS_A: u64 = 1 << 24;

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
    let (b_rows, b_row) = if t.b_is_nk != 0 { (n, k) } else { (k, n) };
    let all = Product {
        call,
        t,
        a: call.tensor::<T>("a", a, len(t.a_batch_stride, m, t.a_stride, k))?,
        b: call.tensor::<T>("b", b, len(t.b_batch_stride, b_rows, t.b_stride, b_row))?,
        c: call.tensor::<C>("c", c, len(t.c_batch_stride, m, t.c_stride, n))?,
        size: [m, n, k],
        matrices: batch.iter().product(),
    };
    if t.b_is_nk != 0 && k > 0 {
        all.by_rows();
    } else {
        all.by_blocks();
    }
    Ok(())
}

/// A launch.
struct Product<'a, T, C> {
    call: &'a Call<'a>,
    t: &'a MatmulTilingData,
    a: Tensor<T>,
    b: Tensor<T>,
    c: Tensor<C>,
    /// m, n, k.
    size: [u64; 3],
    matrices: u64,
}

/// A block of C.
struct Block {
    matrix: u64,
    rows: Range<u64>,
    cols: Range<u64>,
}

/// Part `i` of `count` elements in parts of `part`.
fn part(i: u64, part: u64, count: u64) -> Range<u64> {
    i * part..((i + 1) * part).min(count)
}

impl<T: Real, C: Real> Product<'_, T, C> {
    /// The first element of a matrix.
    fn first(&self, matrix: u64, strides: [u64; 3]) -> u64 {
        let batch = self.t.batch.map(u64::from);
        let at = [matrix / batch[2] / batch[1], matrix / batch[2] % batch[1], matrix % batch[2]];
        (0..3).map(|i| at[i] * strides[i]).sum()
    }

    fn write(&self, block: &Block, sums: &[f32], out: &mut Row<C>) {
        let cols = index(block.cols.end - block.cols.start);
        let first = self.first(block.matrix, self.t.c_batch_stride) + block.cols.start;
        out.resize(cols);
        for (row, sums) in block.rows.clone().zip(sums.chunks_exact(cols)) {
            let at = first + row * self.t.c_stride;
            if self.t.accumulates == 0 {
                out.write_from(sums, &self.c, at);
            } else {
                out.read(&self.c, at);
                out.values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
                out.write(&self.c, at);
            }
        }
    }

    /// B as `[n, k]`. Blocks of A are packed by the thread that first comes to one. Neighbours in the order
    /// of blocks share rows of B.
    fn by_rows(&self) {
        let [m, n, k] = self.size;
        // SAFETY: C shares no byte with A and B, and nobody else writes these during the launch (`matmul`).
        let a = unsafe { self.a.elements() };
        // SAFETY: as above.
        let b = unsafe { self.b.elements() };
        let tasks = 4 * self.call.host.threads() as u64;
        let even = (n / tasks).next_multiple_of(8).clamp(8, NK_COLS);
        let cols = (NK_ELEMENTS / k).clamp(1, even);
        let (blocks_m, blocks_n) = (m.div_ceil(ROWS), n.div_ceil(cols));
        let all_rows = self.matrices * blocks_m;
        let at_a_time = (NK_ELEMENTS_A / (ROWS.min(m) * k)).clamp(1, all_rows.max(1));
        for first in (0..all_rows).step_by(index(at_a_time)) {
            let blocks = at_a_time.min(all_rows - first);
            let packed: Vec<OnceLock<PackedRows>> = (0..blocks).map(|_| OnceLock::new()).collect();
            let state = || (Vec::new(), Row::<C>::new(0));
            self.call.each(blocks * blocks_n, 1, state, |(sums, out), i| {
                let number = first + i % blocks;
                let rows = part(number % blocks_m, ROWS, m);
                let block = Block { matrix: number / blocks_m, rows, cols: part(i / blocks, cols, n) };
                let a = packed[index(i % blocks)].get_or_init(|| {
                    let rows = self.rows(&a, &block, self.t.a_batch_stride, self.t.a_stride, &block.rows);
                    PackedRows::new(self.call.host.isa(), rows)
                });
                let b = self.rows(&b, &block, self.t.b_batch_stride, self.t.b_stride, &block.cols);
                sums.resize(
                    index((block.rows.end - block.rows.start) * (block.cols.end - block.cols.start)),
                    0.0,
                );
                a.products(b, sums);
                self.write(&block, sums, out);
            });
        }
    }

    /// Rows of A, or of B as `[n, k]`.
    fn rows<'a>(
        &self,
        elements: &'a [T],
        block: &Block,
        batch_stride: [u64; 3],
        stride: u64,
        rows: &Range<u64>,
    ) -> Rows<'a> {
        let first = index(self.first(block.matrix, batch_stride) + rows.start * stride);
        let size = [rows.end - rows.start, self.size[2], stride].map(index);
        Rows::new(T::elements(&elements[first..]), size)
    }

    /// B as `[k, n]`, or nothing to add.
    fn by_blocks(&self) {
        let [m, n, k] = self.size;
        let (blocks_m, blocks_n) = (m.div_ceil(ROWS), n.div_ceil(COLS));
        self.call.each(self.matrices * blocks_m * blocks_n, 1, Scratch::<C>::default, |scratch, i| {
            let (number, matrix) = (i % (blocks_m * blocks_n), i / (blocks_m * blocks_n));
            let (rows, cols) = (part(number / blocks_n, ROWS, m), part(number % blocks_n, COLS, n));
            let size = [rows.end - rows.start, cols.end - cols.start];
            let a_at = self.first(matrix, self.t.a_batch_stride) + rows.start * self.t.a_stride;
            let b_at = self.first(matrix, self.t.b_batch_stride) + cols.start;
            scratch.c.clear();
            scratch.c.resize(index(size[0] * size[1]), 0.0);
            for depth in (0..k).step_by(index(DEPTH)) {
                let part = DEPTH.min(k - depth);
                load(&self.a, &mut scratch.a, a_at + depth, self.t.a_stride, [size[0], part]);
                load(
                    &self.b,
                    &mut scratch.b,
                    b_at + depth * self.t.b_stride,
                    self.t.b_stride,
                    [part, size[1]],
                );
                scratch.add_product([size[0], part, size[1]]);
            }
            self.write(&Block { matrix, rows, cols }, &scratch.c, &mut scratch.out);
        });
    }
}

/// Blocks of a thread, row by row.
struct Scratch<C> {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    out: Row<C>,
}

impl<C: Real> Default for Scratch<C> {
    fn default() -> Self {
        Self { a: Vec::new(), b: Vec::new(), c: Vec::new(), out: Row::new(0) }
    }
}

impl<C> Scratch<C> {
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
