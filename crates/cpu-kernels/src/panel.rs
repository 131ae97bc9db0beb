//! Many rows: rows of q lie in the lanes of vectors.
//!
//! A panel is `PANEL` packed rows. Its scores are `S^T = K Q^T`, its result is `O^T = V^T P^T`; both are one
//! micro-kernel ([`Simd::product`]), whose left operand are elements of K or V, each spread over the lanes.
//! Maxima, sums and exponentials then never cross lanes, and K and V need no transposition beyond groups of
//! `GROUP` elements. Blocks of keys become f32 once for all panels of a block of rows.
//!
//! Online softmax as in FlashAttention-2 (Dao, arXiv 2307.08691): o is rescaled once for each block of keys.
//! Blocks start at multiples of [`BLOCK_KEYS`], so a row's bits depend on nothing but its own keys.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::element::Load;
use crate::memory::Memory;
use crate::simd::{exp2, prefetch, Left, Simd, MAX_LANES};
use crate::work::{visible, Job, Part};

/// Keys of a block: the scores of a panel of 16 rows are 8 KiB then, and K and V 64 KiB each at
/// `head_dim` 128.
const BLOCK_KEYS: usize = 128;

/// Elements between rows of K and V, so that rows of 2^n elements do not share sets of the cache.
const GAP: usize = 16;

/// Buffers of a thread.
#[derive(Default)]
pub(crate) struct Panels {
    /// `[panel][head_dim][PANEL]`.
    q: Buffer,
    /// `[key][k_row]`.
    k: Buffer,
    /// `[key][v_row]`.
    v: Buffer,
    /// Elements of a row of `k` and of `v`.
    k_row: usize,
    v_row: usize,
    /// `[key][PANEL]`: scores, then probabilities.
    s: Buffer,
    /// `[panel][head_dim_v][PANEL]`.
    o: Buffer,
    /// Of each lane: greatest score, sum, and factor of o.
    max: Buffer,
    sum: Buffer,
    scale: Buffer,
    /// Of each lane: first key that it sees, and the one behind the last.
    first: Vec<usize>,
    end: Vec<usize>,
}

/// Leaves in `part` what `keys` give for the rows of a job.
#[inline(always)]
pub(crate) fn run<S: Simd, T: Load>(
    s: S,
    memory: &Memory<'_, T>,
    job: &Job,
    keys: Range<usize>,
    (panels, part): (&mut Panels, &mut Part),
) {
    panels.start(s, memory, job);
    let count = job.rows.len().div_ceil(S::PANEL);
    let mut first = keys.start - keys.start % BLOCK_KEYS;
    while first < keys.end {
        let block = first.max(keys.start)..(first + BLOCK_KEYS).min(keys.end);
        let are_sound = panels.pack(s, memory, job, first, block.clone());
        // The next block is fetched meanwhile: rows of a head lie too far apart for the processor to guess.
        let mut next = block.end..(block.end + BLOCK_KEYS).min(keys.end);
        for panel in 0..count {
            let share = next.len().div_ceil(count - panel);
            fetch(s, memory, job, next.start..next.start + share);
            next.start += share;
            panels.add_block(s, memory, panel, first, block.clone(), &are_sound);
        }
        first += BLOCK_KEYS;
    }
    panels.finish::<S>(job.rows.len(), memory.problem.head_dim_v, part);
}

/// Asks for K and V of some keys.
#[inline(always)]
fn fetch<S: Simd, T: Load>(s: S, memory: &Memory<'_, T>, job: &Job, keys: Range<usize>) {
    let mut rows = [None; BLOCK_KEYS];
    let rows = &mut rows[..keys.len()];
    memory.keys(&job.slot, keys.start, rows);
    for key in rows.iter().flatten() {
        prefetch(s, memory.k(*key, job.head));
        prefetch(s, memory.v(*key, job.head));
    }
}

impl Panels {
    #[inline(always)]
    fn start<S: Simd, T: Load>(&mut self, s: S, memory: &Memory<'_, T>, job: &Job) {
        let problem = memory.problem;
        let lanes = job.rows.len().next_multiple_of(S::PANEL);
        let (dim, dim_v) = (problem.head_dim, problem.head_dim_v.next_multiple_of(S::GROUP));
        self.q.renew(lanes * dim, 0.0);
        self.o.renew(lanes * dim_v, 0.0);
        self.max.renew(lanes, f32::NEG_INFINITY);
        self.sum.renew(lanes, 0.0);
        self.scale.resize(S::PANEL);
        self.first.clear();
        self.first.resize(lanes, 0);
        self.end.clear();
        self.end.resize(lanes, 0);
        self.s.resize(BLOCK_KEYS * S::PANEL);
        let row = |dim: usize| dim.next_multiple_of(MAX_LANES) + GAP;
        (self.k_row, self.v_row) = (row(problem.head_dim), row(problem.head_dim_v));
        self.k.resize(BLOCK_KEYS * self.k_row);
        self.v.resize(BLOCK_KEYS * self.v_row);
        let mut wide = vec![0.0; row(dim)];
        for (lane, packed) in job.rows.clone().enumerate() {
            let seen = visible(problem, &job.slot, packed);
            (self.first[lane], self.end[lane]) = (seen.start, seen.end);
            let (row, head) = job.row_and_head(problem, packed);
            T::widen(s, memory.q(&job.slot, row, head), &mut wide);
            let panel = &mut self.q[lane / S::PANEL * dim * S::PANEL..][..dim * S::PANEL];
            for (to, x) in panel.chunks_exact_mut(S::PANEL).zip(&wide) {
                to[lane % S::PANEL] = *x;
            }
        }
    }

    /// K and V of a block in f32. The answer says which keys the cache has; V of the others is 0.
    #[inline(always)]
    fn pack<S: Simd, T: Load>(
        &mut self,
        s: S,
        memory: &Memory<'_, T>,
        job: &Job,
        first: usize,
        block: Range<usize>,
    ) -> [bool; BLOCK_KEYS] {
        let mut rows = [None; BLOCK_KEYS];
        memory.keys(&job.slot, block.start, &mut rows[block.start - first..block.end - first]);
        let mut are_sound = [false; BLOCK_KEYS];
        let to = self.k.chunks_exact_mut(self.k_row).zip(self.v.chunks_exact_mut(self.v_row));
        let [in_pieces_k, in_pieces_v] = memory.problem.pieces.map(|pieces| pieces.is_some());
        let whole = |len: usize, is_used: bool| vec![T::ZERO; if is_used { len } else { 0 }];
        let mut k_row = whole(memory.problem.head_dim, in_pieces_k);
        let mut v_row = whole(memory.problem.head_dim_v, in_pieces_v);
        for ((row, is_sound), (k, v)) in rows.iter().zip(&mut are_sound).zip(to).take(block.end - first) {
            *is_sound = row.is_some();
            match row {
                Some(key) => {
                    if in_pieces_k {
                        memory.gather_k(*key, job.head, &mut k_row);
                        T::widen(s, &k_row, k);
                    } else {
                        T::widen(s, memory.k(*key, job.head), k);
                    }
                    if in_pieces_v {
                        memory.gather_v(*key, job.head, &mut v_row);
                        T::widen(s, &v_row, v);
                    } else {
                        T::widen(s, memory.v(*key, job.head), v);
                    }
                }
                // Its score becomes NaN or -inf.
                None => v.fill(0.0),
            }
        }
        are_sound
    }

    /// One panel meets one block of keys.
    #[inline(always)]
    fn add_block<S: Simd, T: Load>(
        &mut self,
        s: S,
        memory: &Memory<'_, T>,
        panel: usize,
        base: usize,
        block: Range<usize>,
        are_sound: &[bool; BLOCK_KEYS],
    ) {
        let (dim, dim_v) = (memory.problem.head_dim, memory.problem.head_dim_v.next_multiple_of(S::GROUP));
        let lanes = panel * S::PANEL..(panel + 1) * S::PANEL;
        let limits = || self.first[lanes.clone()].iter().zip(&self.end[lanes.clone()]).filter(|(a, b)| a < b);
        let first = limits().map(|(first, _)| *first).min().unwrap_or(0).max(block.start);
        let end = limits().map(|(_, end)| *end).max().unwrap_or(0).min(block.end);
        if first >= end {
            return;
        }
        let seen_by_all = limits().count() == S::PANEL && limits().all(|(a, b)| *a <= first && *b >= end);
        // Of the block.
        let (first, end) = (first - base, end - base);
        let q = &self.q[panel * dim * S::PANEL..][..dim * S::PANEL];
        for group in first / S::GROUP..end.div_ceil(S::GROUP) {
            let rows = &self.k[group * S::GROUP * self.k_row..];
            let k = Left { elements: rows, row: 1, column: self.k_row };
            s.product(k, q, &mut self.s[group * S::GROUP * S::PANEL..][..S::GROUP * S::PANEL], None);
        }
        // Products of f16 are exact in f32, and those of a scaled q would not be: sums of large products that
        // cancel, and equal scores, keep their digits.
        let scale = s.splat(memory.problem.log2_scale());
        for scores in self.s[first * S::PANEL..end * S::PANEL].chunks_exact_mut(S::LANES) {
            s.store(scores, s.mul(s.load(scores), scale));
        }
        if !seen_by_all || !are_sound[first..end].iter().all(|sound| *sound) {
            self.hide::<S>(lanes.clone(), base, first..end, are_sound);
        }
        self.softmax(s, lanes.clone(), first..end);
        let p = &self.s[first * S::PANEL..end * S::PANEL];
        let o = &mut self.o[panel * dim_v * S::PANEL..][..dim_v * S::PANEL];
        for (group, o) in o.chunks_exact_mut(S::GROUP * S::PANEL).enumerate() {
            let columns = &self.v[first * self.v_row + group * S::GROUP..];
            let v = Left { elements: columns, row: self.v_row, column: 1 };
            s.product(v, p, o, Some(&self.scale));
        }
    }

    /// Scores of keys that a row does not see become -inf, and of those that it sees and the cache lacks NaN.
    #[inline(always)]
    fn hide<S: Simd>(&mut self, lanes: Range<usize>, base: usize, keys: Range<usize>, are_sound: &[bool]) {
        let (first, end) = (&self.first[lanes.clone()], &self.end[lanes]);
        for key in keys {
            let scores = &mut self.s[key * S::PANEL..][..S::PANEL];
            for ((score, first), end) in scores.iter_mut().zip(first).zip(end) {
                let is_seen = *first <= base + key && base + key < *end;
                let seen = if are_sound[key] { *score } else { f32::NAN };
                *score = if is_seen { seen } else { f32::NEG_INFINITY };
            }
        }
    }

    /// Scores become probabilities; maxima, sums and factors of o follow.
    #[inline(always)]
    fn softmax<S: Simd>(&mut self, s: S, lanes: Range<usize>, keys: Range<usize>) {
        let scores = &mut self.s[keys.start * S::PANEL..keys.end * S::PANEL];
        for (j, at) in lanes.step_by(S::LANES).enumerate() {
            let j = j * S::LANES;
            let old = s.load(&self.max[at..]);
            let mut max = old;
            for row in scores.chunks_exact(S::PANEL) {
                max = s.max(s.load(&row[j..]), max);
            }
            // A row that sees none of the keys has -inf, which must not be subtracted from itself.
            let shift = s.max(max, s.splat(f32::MIN));
            let mut sum = s.splat(0.0);
            for row in scores.chunks_exact_mut(S::PANEL) {
                let p = exp2(s, s.sub(s.load(&row[j..]), shift));
                sum = s.add(sum, p);
                s.store(&mut row[j..], p);
            }
            let scale = exp2(s, s.sub(old, shift));
            let total = s.fma(s.load(&self.sum[at..]), scale, sum);
            s.store(&mut self.max[at..], max);
            s.store(&mut self.sum[at..], total);
            s.store(&mut self.scale[j..], scale);
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, rows: usize, dim: usize, part: &mut Part) {
        let padded = dim.next_multiple_of(S::GROUP);
        part.max.clear();
        part.max.extend_from_slice(&self.max[..rows]);
        part.sum.clear();
        part.sum.extend_from_slice(&self.sum[..rows]);
        part.o.resize(rows * dim, 0.0);
        for (row, o) in part.o.chunks_exact_mut(dim).enumerate() {
            let panel = &self.o[row / S::PANEL * padded * S::PANEL..];
            for (o, from) in o.iter_mut().zip(panel.chunks_exact(S::PANEL)) {
                *o = from[row % S::PANEL];
            }
        }
    }
}
