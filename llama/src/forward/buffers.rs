//! What a step needs on the device beside weights and cache. All is allocated once.

use std::iter;

use fastattention::runtime::{Buffer, Device, Operand};
use fastattention::{Error, Result};
use half::f16;

use super::plans::{padded, StepShape};
use super::weights::bias_ones;
use super::{bytes, Limits, Step};
use crate::files::Config;

/// Tensors of a step, each `[rows, ..]` in f16 unless said otherwise.
#[derive(Debug)]
pub(super) struct Buffers {
    /// The residual stream, f32, `hidden`: the first tokens of a text have elements of some 10,000 in it,
    /// which the last layers take out again. In f16 what is left of them would be wrong.
    pub(super) residual: Buffer,
    /// f32 `hidden`, zeros: what the first layer adds the embedding to.
    pub(super) zeros: Buffer,
    /// What is to be added to the residual stream, `hidden`.
    pub(super) delta: Buffer,
    /// `hidden`.
    pub(super) normed: Buffer,
    /// What q, k and v are made of, with ones behind each row, where these have biases; else it is `normed`.
    biased: Option<Buffer>,
    /// `width_qkv`; where heads are normed, all rows of q, then all of k, then all of v.
    pub(super) qkv: Buffer,
    /// Rotated, `width_q`.
    pub(super) q: Buffer,
    /// `width_q`.
    pub(super) attended: Buffer,
    /// `2 intermediate`: gate, then up.
    pub(super) gate_up: Buffer,
    /// `intermediate`.
    pub(super) activated: Buffer,
    /// Of the rows whose logits are wanted, `[slots, hidden]`; the first one is f32.
    pub(super) last_residual: Buffer,
    pub(super) last_delta: Buffer,
    pub(super) last_normed: Buffer,
    /// f32 `[slots, vocabulary]`.
    pub(super) logits: Buffer,
    /// Of attention; it grows with the plans that come.
    pub(super) workspace: Buffer,
    /// All lists of integers, 32 bits each.
    lists: Buffer,
}

/// Where each list of a step lies, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) positions: usize,
    pub(super) places: usize,
    pub(super) row_starts: usize,
    pub(super) lengths: usize,
    pub(super) table: usize,
    pub(super) tokens: usize,
    /// Of the rows whose logits are wanted, as many at a time as there are slots.
    pub(super) logits: Vec<WantedRows>,
}

/// Rows whose logits are computed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedRows {
    /// Of their numbers.
    pub(super) at: usize,
    pub(super) count: usize,
    /// With those of padding, which are computed and not looked at.
    pub(super) padded: u32,
}

impl Buffers {
    pub(super) fn new(device: &Device, config: &Config, limits: &Limits) -> Result<Self> {
        let of = |rows: u32, width: u32, size: u64| {
            let buffer = Buffer::alloc(device, bytes(u64::from(rows) * u64::from(width) * size)?)?;
            // Rows of padding are multiplied, too: the simulator refuses arithmetic on unwritten memory.
            buffer.zero()?;
            Ok::<_, Error>(buffer)
        };
        let rows = |width| of(limits.rows, width, 2);
        let last = |size| of(limits.slots, config.hidden, size);
        // Positions, places and tokens; starts, lengths, pages; the rows whose logits are wanted.
        let [rows_wide, slots_wide] = [limits.rows, limits.slots].map(u64::from);
        let words = 4 * rows_wide + 3 * slots_wide + 1 + table_words(limits);
        Ok(Self {
            residual: of(limits.rows, config.hidden, 4)?,
            zeros: of(limits.rows, config.hidden, 4)?,
            delta: rows(config.hidden)?,
            normed: rows(config.hidden)?,
            biased: if config.family.has_biases() { Some(with_ones(device, config, limits)?) } else { None },
            qkv: rows(config.width_qkv())?,
            q: rows(config.width_q())?,
            attended: rows(config.width_q())?,
            gate_up: rows(2 * config.intermediate)?,
            activated: rows(config.intermediate)?,
            last_residual: last(4)?,
            last_delta: last(2)?,
            last_normed: last(2)?,
            logits: of(limits.slots, config.vocabulary, 4)?,
            workspace: Buffer::alloc(device, 0)?,
            lists: Buffer::alloc(device, bytes(4 * words)?)?,
        })
    }

    /// What q, k and v are made of.
    pub(super) fn of_qkv(&self) -> &Buffer {
        self.biased.as_ref().unwrap_or(&self.normed)
    }

    /// Makes the workspace as large as a plan wants it. Few plans have the largest: powers of two let it grow
    /// few times. True where it is another one now.
    pub(super) fn reserve_workspace(&mut self, wanted: u64) -> Result<bool> {
        let is_short = wanted > self.workspace.len_bytes() as u64;
        if is_short {
            self.workspace = Buffer::alloc(self.workspace.device(), bytes(wanted.next_power_of_two())?)?;
        }
        Ok(is_short)
    }

    /// The list at byte `at`.
    pub(super) fn list(&self, at: usize) -> Operand<'_> {
        Operand::at(&self.lists, at)
    }

    /// Copies the lists of a step to the device, which has nothing to do meanwhile. Rows of padding have no
    /// place, and belong to no slot; slots of padding have no keys.
    pub(super) fn upload(&self, step: &Step, shape: StepShape, limits: &Limits) -> Result<Lists> {
        let (rows, slots, width) = (shape.rows as usize, shape.slots as usize, table_width(limits));
        let mut words: Vec<u32> = Vec::new();
        let mut list = |numbers: &[u32], len: usize, padding: u32| {
            let at = 4 * words.len();
            words.extend(numbers);
            words.resize(at / 4 + len, padding);
            at
        };
        let positions = list(&step.positions, rows, 0);
        let places = list(&step.places, rows, NONE);
        let mut row = 0;
        let mut starts = vec![0];
        for slot in &step.slots {
            row += slot.rows;
            starts.push(row);
        }
        let row_starts = list(&starts, slots + 1, row);
        let keys: Vec<u32> = step.slots.iter().map(|slot| slot.keys).collect();
        let lengths = list(&keys, slots, 0);
        let table = list(&[], 0, NONE);
        for at in 0..slots {
            let pages = step.slots.get(at).map_or(&[][..], |slot| &slot.pages);
            list(&pages[..pages.len().min(width)], width, NONE);
        }
        let tokens = list(&step.tokens, rows, 0);
        let chunks = step.logits.chunks(limits.slots as usize);
        let logits = chunks.map(|wanted| {
            let padded = padded(wanted.len(), limits.slots);
            WantedRows { at: list(wanted, padded as usize, 0), count: wanted.len(), padded }
        });
        let logits = logits.collect();
        self.lists.copy_from_host(&words)?;
        Ok(Lists { positions, places, row_starts, lengths, table, tokens, logits })
    }
}

/// Rows of `hidden`, each with ones behind it that nothing writes again.
fn with_ones(device: &Device, config: &Config, limits: &Limits) -> Result<Buffer> {
    let row: Vec<f16> = iter::repeat_n(f16::ZERO, config.hidden as usize).chain(bias_ones()).collect();
    Buffer::from_slice(device, &row.repeat(limits.rows as usize))
}

/// -1.
const NONE: u32 = u32::MAX;

fn table_width(limits: &Limits) -> usize {
    limits.max_keys.div_ceil(limits.page_size) as usize
}

fn table_words(limits: &Limits) -> u64 {
    u64::from(limits.slots) * table_width(limits) as u64
}
