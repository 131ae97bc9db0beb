//! What an engine computes: sequences that come in chunks, grow by one token or a few, rest, and end.

use fastattention::serving::Mask;
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::data::{normal, strides, Operand};
use fastrand::Rng;
use half::f16;

pub(crate) const HEADS: u32 = 32;
pub(crate) const HEADS_K: u32 = 8;
pub(crate) const DIM: u32 = 128;
pub(crate) const SLOTS: u32 = 4;
/// Of a slot, in one step.
pub(crate) const MAX_ROWS: u32 = 24;
/// Of a slot.
pub(crate) const MAX_KEYS: u32 = 256;

/// Elements of K or V of one token.
const TOKEN: usize = (HEADS_K * DIM) as usize;

/// Pages of a cache: a few more than all slots need.
pub(crate) fn pages(page_size: u32) -> u32 {
    SLOTS * MAX_KEYS.div_ceil(page_size) + 3
}

/// A sequence, as the host knows it.
#[derive(Clone, Default)]
struct Sequence {
    /// `[keys, heads, dim]`.
    k: Vec<f16>,
    v: Vec<f16>,
    pages: Vec<i32>,
}

impl Sequence {
    fn keys(&self) -> usize {
        self.k.len() / TOKEN
    }
}

/// All that happens, from one seed.
pub(crate) struct Sequences {
    page_size: usize,
    slots: Vec<Option<Sequence>>,
    free: Vec<i32>,
    rng: Rng,
}

/// What a step brings to the device, and what is to be known of it.
pub(crate) struct EngineStep {
    pub(crate) q: Vec<f16>,
    pub(crate) k: Vec<f16>,
    pub(crate) v: Vec<f16>,
    pub(crate) places: Vec<i32>,
    /// `row_starts`, and behind them the lengths.
    pub(crate) lists: Vec<i32>,
    /// `[slots, width]`, flat.
    pub(crate) block_table: Vec<i32>,
    pub(crate) slots: Vec<Slot>,
}

/// A slot in a step.
pub(crate) struct Slot {
    pub(crate) rows: usize,
    k: Vec<f16>,
    v: Vec<f16>,
}

impl EngineStep {
    /// Query rows of all slots.
    pub(crate) fn rows(&self) -> usize {
        self.slots.iter().map(|slot| slot.rows).sum()
    }
}

impl Slot {
    /// The slot as a case of its own.
    pub(crate) fn case(&self) -> Case {
        Case {
            dtype: DType::F16,
            score_dtype: DType::F32,
            batch: 1,
            num_heads: HEADS,
            num_heads_k: HEADS_K,
            head_dim: DIM,
            head_dim_v: DIM,
            seqlen_q: u32::try_from(self.rows).unwrap(),
            seqlen_k: u32::try_from(self.k.len() / TOKEN).unwrap(),
            mask: Mask::Causal,
            softmax_scale: None,
            values: Values::Normal,
            layout: Layout::Bsnd,
            seed: 0,
        }
    }

    /// Its operands, with these rows of q.
    pub(crate) fn operands(&self, q: Vec<f16>) -> [Operand<f16>; 3] {
        let case = self.case();
        let operand = |data, [rows, heads]: [u32; 2]| {
            let (stride, _) = strides(Layout::Bsnd, [1, rows, heads, DIM]);
            Operand { data, stride }
        };
        [
            operand(q, [case.seqlen_q, HEADS]),
            operand(self.k.clone(), [case.seqlen_k, HEADS_K]),
            operand(self.v.clone(), [case.seqlen_k, HEADS_K]),
        ]
    }
}

impl Sequences {
    pub(crate) fn new(page_size: u32, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut free: Vec<i32> = (0..i32::try_from(pages(page_size)).unwrap()).collect();
        rng.shuffle(&mut free);
        Self { page_size: page_size as usize, slots: vec![None; SLOTS as usize], free, rng }
    }

    /// Rows of a slot in the next step; `None` ends its sequence.
    fn next_rows(&mut self, slot: usize) -> Option<usize> {
        let most = MAX_ROWS as usize;
        let Some(sequence) = &self.slots[slot] else {
            return (self.rng.u32(0..3) > 0).then(|| self.rng.usize(1..=most));
        };
        let rows = match self.rng.u32(0..10) {
            0 => 0,
            1..=6 => 1,
            7 | 8 => self.rng.usize(2..=4),
            _ => self.rng.usize(5..=most),
        };
        (sequence.keys() + rows <= MAX_KEYS as usize).then_some(rows)
    }

    fn numbers(&mut self, len: usize) -> Vec<f16> {
        (0..len).map(|_| f16::from_f32(normal(&mut self.rng))).collect()
    }

    pub(crate) fn next_step(&mut self) -> EngineStep {
        let width = (MAX_KEYS as usize).div_ceil(self.page_size);
        let mut step = EngineStep {
            q: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
            places: Vec::new(),
            lists: vec![0],
            block_table: vec![-1; SLOTS as usize * width],
            slots: Vec::new(),
        };
        let mut lengths = Vec::new();
        for slot in 0..SLOTS as usize {
            let rows = self.next_rows(slot);
            let mut sequence = self.slots[slot].take().unwrap_or_default();
            let Some(rows) = rows else {
                self.free.splice(0..0, sequence.pages);
                lengths.push(0);
                step.lists.push(*step.lists.last().unwrap());
                step.slots.push(Slot { rows: 0, k: Vec::new(), v: Vec::new() });
                continue;
            };
            let first = sequence.keys();
            for key in first..first + rows {
                if key % self.page_size == 0 {
                    sequence.pages.push(self.free.pop().unwrap());
                }
                let page = usize::try_from(sequence.pages[key / self.page_size]).unwrap();
                step.places.push(i32::try_from(page * self.page_size + key % self.page_size).unwrap());
            }
            sequence.k.extend(self.numbers(rows * TOKEN));
            sequence.v.extend(self.numbers(rows * TOKEN));
            step.q.extend(self.numbers(rows * (HEADS * DIM) as usize));
            step.k.extend(&sequence.k[first * TOKEN..]);
            step.v.extend(&sequence.v[first * TOKEN..]);
            step.block_table[slot * width..][..sequence.pages.len()].copy_from_slice(&sequence.pages);
            lengths.push(i32::try_from(sequence.keys()).unwrap());
            step.lists.push(step.lists.last().unwrap() + i32::try_from(rows).unwrap());
            step.slots.push(Slot { rows, k: sequence.k.clone(), v: sequence.v.clone() });
            self.slots[slot] = Some(sequence);
        }
        step.places.resize((SLOTS * MAX_ROWS) as usize, -1);
        step.lists.append(&mut lengths);
        step
    }
}
