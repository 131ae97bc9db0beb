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

use crate::element::Load;
use crate::memory::Memory;
use crate::simd::{exp2, Simd};
use crate::work::{visible, Job, Part};

/// Keys of a block: the scores of a panel of 16 rows are 8 KiB then, and K and V 64 KiB each at
/// `head_dim` 128.
const BLOCK_KEYS: usize = 128;

/// Buffers of a thread.
#[derive(Default)]
pub(crate) struct Panels {
    /// `[panel][head_dim][PANEL]`.
    q: Vec<f32>,
    /// `[keys / GROUP][head_dim][GROUP]`.
    k: Vec<f32>,
    /// `[head_dim_v / GROUP][BLOCK_KEYS][GROUP]`.
    v: Vec<f32>,
    /// `[key][PANEL]`: scores, then probabilities.
    s: Vec<f32>,
    /// `[panel][head_dim_v][PANEL]`.
    o: Vec<f32>,
    /// Of each lane: greatest score, sum, and factor of o.
    max: Vec<f32>,
    sum: Vec<f32>,
    scale: Vec<f32>,
    /// Of each lane: first key that it sees, and the one behind the last.
    first: Vec<usize>,
    end: Vec<usize>,
    /// Rows of a group of keys in f32.
    wide: Vec<f32>,
}

fn renew<X: Copy>(buffer: &mut Vec<X>, len: usize, value: X) {
    buffer.clear();
    buffer.resize(len, value);
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
    let mut first = keys.start - keys.start % BLOCK_KEYS;
    while first < keys.end {
        let block = first.max(keys.start)..(first + BLOCK_KEYS).min(keys.end);
        let are_sound = panels.pack(s, memory, job, first, block.clone());
        for panel in 0..job.rows.len().div_ceil(S::PANEL) {
            panels.add_block(s, memory, panel, first, block.clone(), &are_sound);
        }
        first += BLOCK_KEYS;
    }
    panels.finish::<S>(job.rows.len(), memory.problem.head_dim_v, part);
}

impl Panels {
    #[inline(always)]
    fn start<S: Simd, T: Load>(&mut self, s: S, memory: &Memory<'_, T>, job: &Job) {
        let problem = memory.problem;
        let lanes = job.rows.len().next_multiple_of(S::PANEL);
        let (dim, dim_v) = (problem.head_dim, problem.head_dim_v.next_multiple_of(S::GROUP));
        renew(&mut self.q, lanes * dim, 0.0);
        renew(&mut self.o, lanes * dim_v, 0.0);
        renew(&mut self.max, lanes, f32::NEG_INFINITY);
        renew(&mut self.sum, lanes, 0.0);
        renew(&mut self.scale, S::PANEL, 0.0);
        renew(&mut self.first, lanes, 0);
        renew(&mut self.end, lanes, 0);
        self.s.resize(BLOCK_KEYS * S::PANEL, 0.0);
        self.k.resize(BLOCK_KEYS * dim, 0.0);
        self.v.resize(BLOCK_KEYS * dim_v, 0.0);
        let wide = dim.max(dim_v).next_multiple_of(crate::simd::MAX_LANES);
        renew(&mut self.wide, S::GROUP * wide, 0.0);
        for (lane, packed) in job.rows.clone().enumerate() {
            let seen = visible(problem, &job.slot, packed);
            (self.first[lane], self.end[lane]) = (seen.start, seen.end);
            let (row, head) = job.row_and_head(problem, packed);
            T::widen(s, memory.q(&job.slot, row, head), &mut self.wide);
            let panel = &mut self.q[lane / S::PANEL * dim * S::PANEL..][..dim * S::PANEL];
            for (to, x) in panel.chunks_exact_mut(S::PANEL).zip(&self.wide) {
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
        let (dim, dim_v) = (memory.problem.head_dim, memory.problem.head_dim_v.next_multiple_of(S::GROUP));
        let mut rows = [None; BLOCK_KEYS];
        memory.keys(&job.slot, job.head, block.start, &mut rows[block.start - first..block.end - first]);
        let stride = self.wide.len() / S::GROUP;
        let mut are_sound = [false; BLOCK_KEYS];
        for (key, row) in rows.iter().enumerate().take(block.end - first) {
            are_sound[key] = row.is_some();
            match row {
                Some((_, v)) => T::widen(s, v, &mut self.wide),
                None => self.wide[..stride].fill(0.0),
            }
            for (group, from) in self.wide[..dim_v].chunks_exact(S::GROUP).enumerate() {
                self.v[(group * BLOCK_KEYS + key) * S::GROUP..][..S::GROUP].copy_from_slice(from);
            }
        }
        let groups = rows[..(block.end - first).next_multiple_of(S::GROUP)].chunks_exact(S::GROUP);
        for (rows, to) in groups.zip(self.k.chunks_exact_mut(dim * S::GROUP)) {
            for (row, wide) in rows.iter().zip(self.wide.chunks_exact_mut(stride)) {
                match row {
                    Some((k, _)) => T::widen(s, k, wide),
                    None => wide.fill(0.0),
                }
            }
            match S::GROUP {
                8 => interleave::<8>(&self.wide, stride, to),
                _ => interleave::<4>(&self.wide, stride, to),
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
            let k = &self.k[group * dim * S::GROUP..][..dim * S::GROUP];
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
            let at = group * BLOCK_KEYS;
            s.product(&self.v[(at + first) * S::GROUP..(at + end) * S::GROUP], p, o, Some(&self.scale));
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

/// `to[n][i] = from[i][n]` for `M` rows.
#[inline(always)]
fn interleave<const M: usize>(from: &[f32], stride: usize, to: &mut [f32]) {
    let rows: [&[f32]; M] = std::array::from_fn(|i| &from[i * stride..][..stride]);
    let to = to.chunks_exact_mut(M);
    let len = to.len().min(stride);
    for (n, to) in to.enumerate().take(len) {
        for (to, row) in to.iter_mut().zip(rows) {
            *to = row[n];
        }
    }
}
