//! Few rows, as in decode: elements of K and V lie in the lanes of vectors, and are read from memory once for
//! all rows that share them.
//!
//! Keys come in tiles of [`TILE`]. While a tile's K is multiplied its V is fetched, and while its V is
//! multiplied the next K is: rows of one head lie too far apart for the processor to guess them.

use std::ops::Range;

use crate::element::Load;
use crate::memory::Memory;
use crate::simd::{accumulate, dots, exp2, Simd, MAX_LANES};
use crate::work::{visible, Job, Part, FEW_ROWS};

/// Keys of a tile: 8 KiB of K at 128 f16.
const TILE: usize = 32;

/// Bytes of a line of memory.
const LINE_BYTES: usize = 64;

/// Buffers of a thread.
#[derive(Default)]
pub(crate) struct Few {
    /// For each set of rows: `[vector][row][LANES]`, padded with zeros.
    q: Vec<f32>,
    /// `[row][head_dim_v]`, rows padded to whole vectors.
    o: Vec<f32>,
    wide: Vec<f32>,
}

/// Rows that are worked on together: 4, 2 or 1.
#[derive(Clone, Copy)]
struct Set {
    first: usize,
    rows: usize,
}

/// Sets of `rows` rows.
fn sets(rows: usize) -> impl Iterator<Item = Set> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rows = match rows - first {
            0 => return None,
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        first += rows;
        Some(Set { first: first - rows, rows })
    })
}

/// Rows of K and V of a tile.
struct Tile<'a, T> {
    first: usize,
    count: usize,
    k: [&'a [T]; TILE],
    v: [&'a [T]; TILE],
    are_sound: [bool; TILE],
}

impl<'a, T: Load> Tile<'a, T> {
    #[inline(always)]
    fn read(memory: &Memory<'a, T>, job: &Job, keys: Range<usize>, zeros: &'a [T]) -> Self {
        let problem = memory.problem;
        let mut rows = [None; TILE];
        memory.keys(&job.slot, job.head, keys.start, &mut rows[..keys.len()]);
        let (k, v) = (&zeros[..problem.head_dim], &zeros[..problem.head_dim_v]);
        let mut tile = Self {
            first: keys.start,
            count: keys.len(),
            k: [k; TILE],
            v: [v; TILE],
            are_sound: [true; TILE],
        };
        for (i, row) in rows[..keys.len()].iter().enumerate() {
            match row {
                Some((k, v)) => (tile.k[i], tile.v[i]) = (k, v),
                None => tile.are_sound[i] = false,
            }
        }
        tile
    }
}

#[inline(always)]
fn prefetch<S: Simd, T>(s: S, rows: &[&[T]]) {
    for row in rows {
        let start = row.as_ptr().cast::<u8>();
        for line in (0..size_of_val(*row)).step_by(LINE_BYTES) {
            s.prefetch(start.wrapping_add(line));
        }
    }
}

/// Leaves in `part` what `keys` give for the rows of a job.
#[inline(always)]
pub(crate) fn run<S: Simd, T: Load>(
    s: S,
    memory: &Memory<'_, T>,
    job: &Job,
    keys: Range<usize>,
    (few, part): (&mut Few, &mut Part),
) {
    few.start(s, memory, job, part);
    let zeros = vec![T::ZERO; memory.problem.head_dim.max(memory.problem.head_dim_v)];
    let tile_from = |first: usize| {
        let end = (first - first % TILE + TILE).min(keys.end).max(first);
        Tile::read(memory, job, first..end, &zeros)
    };
    let mut next = tile_from(keys.start);
    while next.count > 0 {
        let tile = next;
        next = tile_from(tile.first + tile.count);
        for set in sets(job.rows.len()) {
            // Lines are asked for once.
            let next = if set.first == 0 { Some(&next) } else { None };
            match set.rows {
                4 => few.add_tile::<S, T, 4, 2, 2>(s, memory, job, set, (&tile, next), part),
                2 => few.add_tile::<S, T, 2, 4, 4>(s, memory, job, set, (&tile, next), part),
                _ => few.add_tile::<S, T, 1, 8, 8>(s, memory, job, set, (&tile, next), part),
            }
        }
    }
    few.finish::<S>(memory.problem.head_dim_v, part);
}

impl Few {
    #[inline(always)]
    fn start<S: Simd, T: Load>(&mut self, s: S, memory: &Memory<'_, T>, job: &Job, part: &mut Part) {
        let problem = memory.problem;
        let rows = job.rows.len();
        let dim = problem.head_dim.next_multiple_of(S::LANES);
        part.max.clear();
        part.max.resize(rows, f32::NEG_INFINITY);
        part.sum.clear();
        part.sum.resize(rows, 0.0);
        self.o.clear();
        self.o.resize(rows * problem.head_dim_v.next_multiple_of(S::LANES), 0.0);
        self.q.resize(rows * dim, 0.0);
        self.wide.resize(dim, 0.0);
        for set in sets(rows) {
            let q = &mut self.q[set.first * dim..][..set.rows * dim];
            for i in 0..set.rows {
                let (row, head) = job.row_and_head(problem, job.rows.start + set.first + i);
                T::widen(s, memory.q(&job.slot, row, head), &mut self.wide);
                for (vector, wide) in self.wide.chunks_exact(S::LANES).enumerate() {
                    let to = &mut q[(vector * set.rows + i) * S::LANES..];
                    s.store(to, s.load(wide));
                }
            }
        }
    }

    /// `R` rows meet a tile of keys; `8 / R = K` keys, then `8 / R = W` vectors of V at a time.
    #[inline(always)]
    fn add_tile<S: Simd, T: Load, const R: usize, const K: usize, const W: usize>(
        &mut self,
        s: S,
        memory: &Memory<'_, T>,
        job: &Job,
        set: Set,
        (tile, next): (&Tile<'_, T>, Option<&Tile<'_, T>>),
        part: &mut Part,
    ) {
        let (dim, dim_v) = (memory.problem.head_dim, memory.problem.head_dim_v);
        let q = &self.q[set.first * dim.next_multiple_of(S::LANES)..][..R * dim.next_multiple_of(S::LANES)];
        // `[key][R]`: scores, then probabilities.
        let mut scores = [f32::NEG_INFINITY; TILE * 4];
        let scores = &mut scores[..TILE * R];
        let log2_scale = memory.problem.log2_scale();
        for first in (0..tile.count).step_by(K) {
            let mut rows = [tile.k[first]; K];
            rows.copy_from_slice(&tile.k[first..first + K]);
            if next.is_some() {
                prefetch(s, &tile.v[first..first + K]);
            }
            let dots = dots::<S, T, R, K>(s, q, rows);
            scores[first * R..][..8].copy_from_slice(&dots.map(|dot| dot * log2_scale));
        }
        hide::<T, R>(memory, job, set, tile, scores);
        let scale = softmax::<S, R>(s, scores, &mut part.max[set.first..], &mut part.sum[set.first..]);

        let stride = dim_v.next_multiple_of(S::LANES);
        let o = &mut self.o[set.first * stride..][..R * stride];
        let (scores, rows) = (&scores[..tile.count * R], &tile.v[..tile.count]);
        let step = W * S::LANES;
        let wide = dim_v / step * step;
        let mut fetched = 0;
        for at in (0..wide).step_by(step) {
            accumulate::<S, T, R, W>(s, scores, rows, at, o, (stride, &scale));
            if let Some(next) = next {
                let end = (at + step) * next.count / wide;
                prefetch(s, &next.k[fetched..end]);
                fetched = end;
            }
        }
        for at in (wide..dim_v).step_by(S::LANES) {
            accumulate::<S, T, R, 1>(s, scores, rows, at, o, (stride, &scale));
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, dim: usize, part: &mut Part) {
        part.o.clear();
        for o in self.o.chunks_exact(dim.next_multiple_of(S::LANES)) {
            part.o.extend_from_slice(&o[..dim]);
        }
    }
}

/// Scores of keys that a row does not see become -inf, and of those that it sees and the cache lacks NaN.
#[inline(always)]
fn hide<T: Load, const R: usize>(
    memory: &Memory<'_, T>,
    job: &Job,
    set: Set,
    tile: &Tile<'_, T>,
    scores: &mut [f32],
) {
    for r in 0..R {
        let seen = visible(memory.problem, &job.slot, job.rows.start + set.first + r);
        let is_whole = tile.count == TILE && seen.start <= tile.first && tile.first + TILE <= seen.end;
        if is_whole && tile.are_sound == [true; TILE] {
            continue;
        }
        for (key, scores) in scores.chunks_exact_mut(R).enumerate() {
            if key >= tile.count || !seen.contains(&(tile.first + key)) {
                scores[r] = f32::NEG_INFINITY;
            } else if !tile.are_sound[key] {
                scores[r] = f32::NAN;
            }
        }
    }
}

/// Scores `[key][R]` become probabilities; maxima and sums follow. The answer is the factors of o.
#[inline(always)]
fn softmax<S: Simd, const R: usize>(s: S, scores: &mut [f32], max: &mut [f32], sum: &mut [f32]) -> [f32; R] {
    let mut lanes = [0.0; MAX_LANES];
    let mut greatest = s.splat(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(S::LANES) {
        greatest = s.max(s.load(scores), greatest);
    }
    s.store(&mut lanes, greatest);
    let mut new = [f32::NEG_INFINITY; R];
    new.copy_from_slice(&max[..R]);
    for (i, lane) in lanes[..S::LANES].iter().enumerate() {
        new[i % R] = new[i % R].max(*lane);
    }
    // A row that sees none of the keys has -inf, which must not be subtracted from itself.
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = new[i % R].max(f32::MIN);
    }
    let shift = s.load(&lanes);
    let mut total = s.splat(0.0);
    for scores in scores.chunks_exact_mut(S::LANES) {
        let p = exp2(s, s.sub(s.load(scores), shift));
        total = s.add(total, p);
        s.store(scores, p);
    }
    let mut old = [f32::NEG_INFINITY; MAX_LANES];
    for ((old, max), shift) in old.iter_mut().zip(&max[..R]).zip(&lanes) {
        *old = max - shift;
    }
    let mut scale = [0.0; MAX_LANES];
    s.store(&mut scale, exp2(s, s.load(&old)));
    s.store(&mut lanes, total);
    let mut factors = [0.0; R];
    factors.copy_from_slice(&scale[..R]);
    max[..R].copy_from_slice(&new);
    for (sum, factor) in sum.iter_mut().zip(&factors) {
        *sum *= factor;
    }
    for (i, lane) in lanes[..S::LANES].iter().enumerate() {
        sum[i % R] += lane;
    }
    factors
}

const _: () = assert!(TILE.is_multiple_of(MAX_LANES) && FEW_ROWS >= 4, "scores of a tile are whole vectors");
