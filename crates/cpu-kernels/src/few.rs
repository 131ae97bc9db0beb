//! Few rows, as in decode: elements of K and V lie in the lanes of vectors, and are read from memory once for
//! all rows that share them.
//!
//! Keys come in tiles of [`TILE`]. A task has some heads, and all of them meet a tile before the next one.
//! Meanwhile that is fetched, in the order of memory: so a task reads from one end of its keys to the other,
//! whether heads lie between the keys or not.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::element::Load;
use crate::memory::{Key, Memory};
use crate::simd::{accumulate, dots, exp2, prefetch, Simd, MAX_LANES};
use crate::work::{visible, Job, Part, FEW_ROWS};

/// Keys of a tile: 16 KiB of K at 128 f16.
const TILE: usize = 64;

/// Buffers of a thread. All are for one job after the other.
#[derive(Default)]
pub(crate) struct Few {
    /// For each set of rows: `[vector][row][LANES]`, padded with zeros.
    q: Buffer,
    /// `[row][head_dim_v]`, rows padded to whole vectors.
    o: Buffer,
    /// Greatest score and sum of each row.
    max: Vec<f32>,
    sum: Vec<f32>,
    /// Rows of a job.
    rows: usize,
    /// Keys that all rows see.
    seen: Range<usize>,
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

/// Some keys, at most [`TILE`].
#[derive(Clone)]
struct Tile {
    keys: Range<usize>,
    places: [Option<Key>; TILE],
    are_sound: bool,
}

impl Tile {
    /// Those from `first` to the next multiple of [`TILE`].
    #[inline(always)]
    fn read<T: Load>(memory: &Memory<'_, T>, job: &Job, first: usize, end: usize) -> Self {
        let keys = first..(first - first % TILE + TILE).min(end).max(first);
        let mut places = [None; TILE];
        memory.keys(&job.slot, keys.start, &mut places[..keys.len()]);
        let are_sound = places[..keys.len()].iter().all(Option::is_some);
        Self { keys, places, are_sound }
    }

    /// Rows of K or V; `missing` stands for those that there are not.
    #[inline(always)]
    fn rows<'a, T>(&self, missing: &'a [T], row: impl Fn(Key) -> &'a [T]) -> [&'a [T]; TILE] {
        self.places.map(|key| key.map_or(missing, &row))
    }

    /// The same of rows that lie in pieces: `gathered` takes them, as many elements each as `missing` has.
    fn gathered_rows<'a, T>(
        &self,
        missing: &'a [T],
        gathered: &'a mut Vec<T>,
        gather: impl Fn(Key, &mut [T]),
    ) -> [&'a [T]; TILE]
    where
        T: Copy,
    {
        gathered.clear();
        for key in &self.places {
            gathered.extend_from_slice(missing);
            let start = gathered.len() - missing.len();
            if let Some(key) = key {
                gather(*key, &mut gathered[start..]);
            }
        }
        let gathered = &*gathered;
        std::array::from_fn(|i| &gathered[i * missing.len()..][..missing.len()])
    }
}

/// What is fetched while others compute: K or V of a tile for all heads of a task, in the order of memory.
struct Ahead<'a> {
    tile: &'a Tile,
    heads: Range<usize>,
    key: usize,
    head: usize,
}

impl<'a> Ahead<'a> {
    fn new(tile: &'a Tile, heads: &Range<usize>) -> Self {
        Self { tile, heads: heads.clone(), key: 0, head: heads.start }
    }

    /// The next `count` rows.
    #[inline(always)]
    fn fetch<'b, S: Simd, T: 'b>(&mut self, s: S, count: usize, row: impl Fn(Key, usize) -> &'b [T]) {
        for _ in 0..count {
            if let Some(key) = self.tile.places.get(self.key).copied().flatten() {
                prefetch(s, row(key, self.head));
            }
            self.head += 1;
            if self.head == self.heads.end {
                (self.key, self.head) = (self.key + 1, self.heads.start);
            }
        }
    }
}

/// What `keys` give for the rows of some jobs, which differ in their heads only.
#[inline(always)]
pub(crate) fn run<S: Simd, T: Load>(
    s: S,
    memory: &Memory<'_, T>,
    jobs: &[Job],
    keys: Range<usize>,
    few: &mut Few,
) {
    few.start(s, memory, jobs);
    let zeros = vec![T::ZERO; memory.problem.head_dim.max(memory.problem.head_dim_v)];
    let (mut gathered_k, mut gathered_v) = (Vec::new(), Vec::new());
    let heads = jobs[0].head..jobs[0].head + jobs.len();
    let mut next = Tile::read(memory, &jobs[0], keys.start, keys.end);
    while !next.keys.is_empty() {
        let tile = next;
        next = Tile::read(memory, &jobs[0], tile.keys.end, keys.end);
        let mut ahead = [Ahead::new(&next, &heads), Ahead::new(&next, &heads)];
        for (i, job) in jobs.iter().enumerate() {
            let (k_zeros, v_zeros) = (&zeros[..memory.problem.head_dim], &zeros[..memory.problem.head_dim_v]);
            let k = match memory.problem.pieces[0] {
                None => tile.rows(k_zeros, |key| memory.k(key, job.head)),
                Some(_) => {
                    let gather = |key, row: &mut [T]| memory.gather_k(key, job.head, row);
                    tile.gathered_rows(k_zeros, &mut gathered_k, gather)
                }
            };
            let v = match memory.problem.pieces[1] {
                None => tile.rows(v_zeros, |key| memory.v(key, job.head)),
                Some(_) => {
                    let gather = |key, row: &mut [T]| memory.gather_v(key, job.head, row);
                    tile.gathered_rows(v_zeros, &mut gathered_v, gather)
                }
            };
            let tile = (&tile, &k, &v);
            for set in sets(job.rows.len()) {
                match set.rows {
                    4 => few.add_tile::<S, T, 4, 2, 2>(s, memory, (i, job, set), tile, &mut ahead),
                    2 => few.add_tile::<S, T, 2, 4, 4>(s, memory, (i, job, set), tile, &mut ahead),
                    _ => few.add_tile::<S, T, 1, 8, 8>(s, memory, (i, job, set), tile, &mut ahead),
                }
            }
        }
    }
}

impl Few {
    #[inline(always)]
    fn start<S: Simd, T: Load>(&mut self, s: S, memory: &Memory<'_, T>, jobs: &[Job]) {
        let problem = memory.problem;
        self.rows = jobs[0].rows.len();
        let rows = jobs.len() * self.rows;
        let dim = problem.head_dim.next_multiple_of(S::LANES);
        self.max.clear();
        self.max.resize(rows, f32::NEG_INFINITY);
        self.sum.clear();
        self.sum.resize(rows, 0.0);
        self.o.renew(rows * problem.head_dim_v.next_multiple_of(S::LANES), 0.0);
        self.q.resize(rows * dim);
        let mut wide = vec![0.0; dim];
        for (job, q) in jobs.iter().zip(self.q.chunks_exact_mut(self.rows * dim)) {
            for set in sets(self.rows) {
                for i in 0..set.rows {
                    let (row, head) = job.row_and_head(problem, job.rows.start + set.first + i);
                    T::widen(s, memory.q(&job.slot, row, head), &mut wide);
                    for (vector, wide) in wide.chunks_exact(S::LANES).enumerate() {
                        let to = &mut q[set.first * dim + (vector * set.rows + i) * S::LANES..];
                        s.store(to, s.load(wide));
                    }
                }
            }
        }
        self.seen = 0..usize::MAX;
        for row in jobs[0].rows.clone() {
            let seen = visible(problem, &jobs[0].slot, row);
            self.seen = self.seen.start.max(seen.start)..self.seen.end.min(seen.end);
        }
    }

    /// `R` rows of a job meet a tile of keys; `8 / R = K` keys, then `8 / R = W` vectors of V at a time.
    // Compiled as one for its registers, and read in the order of its steps: scores, softmax, sums of V.
    #[inline(always)]
    fn add_tile<S: Simd, T: Load, const R: usize, const K: usize, const W: usize>(
        &mut self,
        s: S,
        memory: &Memory<'_, T>,
        (index, job, set): (usize, &Job, Set),
        (tile, k, v): (&Tile, &[&[T]; TILE], &[&[T]; TILE]),
        [k_ahead, v_ahead]: &mut [Ahead<'_>; 2],
    ) {
        let problem = memory.problem;
        let row = index * self.rows + set.first;
        let dim = problem.head_dim.next_multiple_of(S::LANES);
        let q = &self.q[row * dim..][..R * dim];
        // `[key][R]`: scores, then probabilities.
        let mut scores = Scores([f32::NEG_INFINITY; TILE * 4]);
        let scores = &mut scores.0[..TILE * R];
        let count = tile.keys.len();
        let log2_scale = problem.log2_scale();
        for (rows, scores) in k[..count.next_multiple_of(K)].chunks_exact(K).zip(scores.chunks_exact_mut(8)) {
            // The first set of rows fetches for all.
            if set.first == 0 {
                k_ahead.fetch(s, K, |key, head| memory.k(key, head));
            }
            let mut keys = [rows[0]; K];
            keys.copy_from_slice(rows);
            // Products of f16 are exact in f32, and those of a scaled q would not be (panel.rs).
            scores.copy_from_slice(&dots::<S, T, R, K>(s, q, keys).map(|dot| dot * log2_scale));
        }
        if count < TILE
            || !tile.are_sound
            || tile.keys.start < self.seen.start
            || self.seen.end < tile.keys.end
        {
            hide::<T, R>(memory, job, set, tile, scores);
        }
        let scale = softmax::<S, R>(s, scores, &mut self.max[row..], &mut self.sum[row..]);

        let dim_v = problem.head_dim_v;
        let stride = dim_v.next_multiple_of(S::LANES);
        let o = &mut self.o[row * stride..][..R * stride];
        let (scores, rows) = (&scores[..count * R], &v[..count]);
        let step = W * S::LANES;
        let wide = dim_v / step * step;
        for at in (0..wide).step_by(step) {
            if set.first == 0 {
                v_ahead.fetch(s, TILE.div_ceil(wide / step), |key, head| memory.v(key, head));
            }
            accumulate::<S, T, R, W>(s, scores, rows, at, o, (stride, &scale));
        }
        for at in (wide..dim_v).step_by(S::LANES) {
            accumulate::<S, T, R, 1>(s, scores, rows, at, o, (stride, &scale));
        }
    }

    /// Leaves in `part` what there is of the job of this index.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, index: usize, dim: usize, part: &mut Part) {
        let rows = index * self.rows..(index + 1) * self.rows;
        let stride = dim.next_multiple_of(S::LANES);
        part.max.clear();
        part.max.extend_from_slice(&self.max[rows.clone()]);
        part.sum.clear();
        part.sum.extend_from_slice(&self.sum[rows.clone()]);
        part.o.clear();
        for o in self.o[rows.start * stride..rows.end * stride].chunks_exact(stride) {
            part.o.extend_from_slice(&o[..dim]);
        }
    }
}

/// Whole vectors.
#[repr(align(64))]
struct Scores([f32; TILE * 4]);

/// Scores of keys that a row does not see become -inf, and of those that it sees and the cache lacks NaN.
#[inline(always)]
fn hide<T: Load, const R: usize>(
    memory: &Memory<'_, T>,
    job: &Job,
    set: Set,
    tile: &Tile,
    scores: &mut [f32],
) {
    for r in 0..R {
        let seen = visible(memory.problem, &job.slot, job.rows.start + set.first + r);
        for (i, scores) in scores.chunks_exact_mut(R).enumerate() {
            if i >= tile.keys.len() || !seen.contains(&(tile.keys.start + i)) {
                scores[r] = f32::NEG_INFINITY;
            } else if tile.places[i].is_none() {
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
