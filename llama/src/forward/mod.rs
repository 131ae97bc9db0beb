//! A step of a model on a device: rows of prompts, of chunks of prompts and of decoding, mixed as they come.

mod buffers;
mod operators;
mod plans;
mod weights;

use std::collections::HashMap;

use fastattention::append::{self, RotaryArgs};
use fastattention::layer::{activation, embedding, norm};
use fastattention::runtime::{Buffer, CaptureMode, Device, Graph, Operand, Stream};
use fastattention::{matmul, serving};
use fastattention::{Error, Result};

use crate::files::{Config, Model};
use buffers::{Buffers, Lists, WantedRows};
use half::f16;
use operators::Operators;
use plans::{Plans, Projection, RowPlans, StepShape};
use weights::Weights;

/// How much a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Sequences of a step.
    pub slots: u32,
    /// Rows of a step: new tokens of all sequences.
    pub rows: u32,
    /// Keys of a sequence.
    pub max_keys: u32,
    /// Keys of a page of the cache.
    pub page_size: u32,
    /// Pages of the cache.
    pub num_pages: u32,
    /// Whether the numbers of a sequence depend on nothing but its own tokens
    /// (`serving::Problem::batch_invariant`).
    pub is_batch_invariant: bool,
    /// Whether steps that only decode are captured once for each class of them, and then launched as one.
    pub is_captured: bool,
}

/// What a step computes.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The new tokens, sequence by sequence.
    pub tokens: Vec<u32>,
    /// Where each stands in its sequence.
    pub positions: Vec<u32>,
    /// Where its key goes: `page * page_size + row`.
    pub places: Vec<u32>,
    /// The sequences, in the order of their tokens.
    pub slots: Vec<Slot>,
    /// Rows whose logits are wanted.
    pub logits: Vec<u32>,
}

/// A sequence in a step.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Its new tokens.
    pub rows: u32,
    /// All of its keys, those of the new tokens included.
    pub keys: u32,
    /// Its pages.
    pub pages: Vec<u32>,
}

/// A model on a device.
#[derive(Debug)]
pub struct Forward {
    stream: Stream,
    config: Config,
    limits: Limits,
    weights: Weights,
    /// Keys and values of each layer.
    cache: Vec<[Buffer; 2]>,
    /// Cosines and sines of the positions.
    table: Buffer,
    buffers: Buffers,
    plans: Plans,
    operators: Operators,
    graphs: HashMap<Captured, Graph>,
}

/// What the launches of a step that only decodes depend on: its class, and the rows whose logits are wanted.
type Captured = (StepShape, Option<u32>);

impl Forward {
    /// Loads the weights as f16, and allocates the cache and what a step needs.
    ///
    /// # Errors
    /// `Io` for tensors that are missing or wrong; `Unsupported` where the operators cannot serve the model
    /// or the limits; `OutOfMemory`; `Driver`.
    pub fn new(device: &Device, model: &Model<'_>, limits: Limits) -> Result<Self> {
        check(&limits, &model.config)?;
        let config = model.config.clone();
        let frequencies = append::Rotary::frequencies(config.rope_theta, config.rope_dims);
        let table = append::Rotary::table(&frequencies, limits.max_keys, 1.0);
        let cache_bytes =
            2 * u64::from(limits.num_pages) * u64::from(limits.page_size) * u64::from(config.width_k());
        let cache = || {
            let buffer = Buffer::alloc(device, bytes(cache_bytes)?)?;
            buffer.zero()?;
            Ok::<_, Error>(buffer)
        };
        Ok(Self {
            stream: Stream::new(device)?,
            weights: Weights::load(device, model)?,
            cache: (0..config.layers).map(|_| Ok([cache()?, cache()?])).collect::<Result<_>>()?,
            table: Buffer::from_slice(device, &table)?,
            buffers: Buffers::new(device, &config, &limits)?,
            plans: Plans::new(device.soc(), &config, &limits),
            operators: Operators::new(device)?,
            graphs: HashMap::new(),
            config,
            limits,
        })
    }

    /// What the device has room for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Computes a step and waits for it. Logits of the rows that were asked for, `[rows, vocabulary]`.
    ///
    /// # Errors
    /// `InvalidArgument` for a step that does not fit the limits, and what the operators return.
    pub fn step(&mut self, step: &Step) -> Result<Vec<f32>> {
        step.check(&self.limits, self.config.vocabulary)?;
        let shape = StepShape::of(step, &self.limits);
        let attention = self.plans.of_slots(shape)?;
        if self.buffers.reserve_workspace(attention.workspace_bytes())? {
            // They have the address of the workspace before.
            self.graphs.clear();
        }
        let lists = self.buffers.upload(step, shape, &self.limits)?;
        let only_decodes = shape.rows_of_slot == 1 && lists.logits.len() <= 1;
        match self.limits.is_captured && only_decodes {
            true => self.replay(shape, &attention, &lists)?,
            false => self.queue(shape, &attention, &lists)?,
        }
        let mut logits = vec![0.0; step.logits.len() * self.config.vocabulary as usize];
        let mut rest = logits.as_mut_slice();
        for (at, wanted) in lists.logits.iter().enumerate() {
            if at > 0 {
                self.logits(wanted)?;
            }
            self.stream.synchronize()?;
            let out = rest.split_off_mut(..wanted.count * self.config.vocabulary as usize);
            self.buffers.logits.copy_to_host(out.unwrap_or_default())?;
        }
        self.stream.synchronize()?;
        Ok(logits)
    }

    /// Queues a step that only decodes as one graph: lists of steps of one class lie at the same places.
    fn replay(&mut self, shape: StepShape, attention: &serving::Plan, lists: &Lists) -> Result<()> {
        let class = (shape, lists.logits.first().map(|wanted| wanted.padded));
        if !self.graphs.contains_key(&class) {
            let capture = self.stream.begin_capture(CaptureMode::ThreadLocal)?;
            self.queue(shape, attention, lists)?;
            self.graphs.insert(class, capture.end()?);
        }
        self.graphs.get(&class).map_or(Ok(()), |graph| graph.launch(&self.stream))
    }

    /// Queues a step, up to the first logits.
    fn queue(&mut self, shape: StepShape, attention: &serving::Plan, lists: &Lists) -> Result<()> {
        let plans = self.plans.of_rows(shape.rows)?;
        let b = &self.buffers;
        let args = embedding::Args::new(&self.weights.embedding, b.list(lists.tokens), &b.delta);
        self.operators.embedding.launch(&self.stream, &plans.embedding, args)?;
        for layer in 0..self.weights.layers.len() {
            self.layer(layer, &plans, attention, lists)?;
        }
        lists.logits.first().map_or(Ok(()), |wanted| self.logits(wanted))
    }

    /// One layer: it takes the residual stream, and what the layer before has left to add to it.
    fn layer(&self, layer: usize, plans: &RowPlans, attention: &serving::Plan, lists: &Lists) -> Result<()> {
        let (b, of) = (&self.buffers, &self.weights.layers[layer]);
        let norm = norm::Args::new(&b.delta, &of.attention_norm, b.of_qkv());
        let norm = match layer {
            0 => norm.with_residual(&b.zeros, &b.residual),
            _ => norm.with_residual_in_place(&b.residual),
        };
        self.operators.norm.launch(&self.stream, &plans.norm, norm)?;
        self.project(of, &plans.qkv)?;
        self.attend(layer, plans, attention, lists)?;
        self.product(&plans.output, [&b.attended, &of.output, &b.delta])?;
        let norm = norm::Args::new(&b.delta, &of.feed_forward_norm, &b.normed);
        let norm = norm.with_residual_in_place(&b.residual);
        self.operators.norm.launch(&self.stream, &plans.feed_forward_norm, norm)?;
        self.product(&plans.gate_up, [&b.normed, &of.gate_up, &b.gate_up])?;
        let args = activation::Args::of_halves(&plans.activation, &b.gate_up, &b.activated);
        self.operators.activation.launch(&self.stream, &plans.activation, args)?;
        self.product(&plans.down, [&b.activated, &of.down, &b.delta])
    }

    /// Makes q, k and v.
    fn project(&self, of: &weights::Layer, how: &Projection) -> Result<()> {
        let (b, on) = (&self.buffers, &self.operators);
        let row_bytes = size_of::<f16>() * self.config.hidden as usize;
        let (weights, places) = (self.firsts().map(|first| first * row_bytes), self.places_of_qkv());
        for ((plan, weight), place) in how.products.iter().zip(weights).zip(places) {
            let (weight, out) = (Operand::at(&of.qkv, weight), Operand::at(&b.qkv, place));
            on.matmul.launch(&self.stream, plan, matmul::Args::new(b.of_qkv(), weight, out))?;
        }
        for ((plan, weight), place) in how.norms.iter().zip(of.head_norms.iter().flatten()).zip(places) {
            let args = norm::Args::in_place(Operand::at(&b.qkv, place), weight);
            on.norm.launch(&self.stream, plan, args)?;
        }
        Ok(())
    }

    /// Elements of a row in front of q, k and v.
    fn firsts(&self) -> [usize; 3] {
        [0, self.config.width_q(), self.config.width_q() + self.config.width_k()].map(|first| first as usize)
    }

    /// Where q, k and v of a step begin, in bytes.
    fn places_of_qkv(&self) -> [usize; 3] {
        // Side by side in each row, or one below the other.
        let rows = if self.config.family.has_head_norms() { self.limits.rows as usize } else { 1 };
        self.firsts().map(|first| size_of::<f16>() * first * rows)
    }

    /// Rotates q and k, writes K and V of the new tokens to the cache, and attends to it.
    fn attend(&self, layer: usize, plans: &RowPlans, attention: &serving::Plan, lists: &Lists) -> Result<()> {
        let (b, [k_cache, v_cache]) = (&self.buffers, &self.cache[layer]);
        let [_, k, v] = self.places_of_qkv().map(|place| Operand::at(&b.qkv, place));
        let rotary = RotaryArgs::new(b.list(lists.positions), &self.table).with_q(&b.qkv, &b.q);
        let args = append::Args::new(k, v, b.list(lists.places), k_cache, v_cache).with_rotary(rotary);
        self.operators.append.launch(&self.stream, &plans.append, args)?;
        let args =
            serving::Args::new(&b.q, k_cache, v_cache, b.list(lists.lengths), &b.attended, &b.workspace)
                .with_row_starts(b.list(lists.row_starts))
                .with_block_table(b.list(lists.table));
        self.operators.attention.launch(&self.stream, attention, args)
    }

    /// Logits of the rows that are wanted: only these are normed and multiplied.
    fn logits(&mut self, wanted: &WantedRows) -> Result<()> {
        let plans = self.plans.of_logits(wanted.padded)?;
        let (b, on) = (&self.buffers, &self.operators);
        let choose = |plan, from, to| {
            on.embedding.launch(&self.stream, plan, embedding::Args::new(from, b.list(wanted.at), to))
        };
        choose(&plans.residual, &b.residual, &b.last_residual)?;
        choose(&plans.delta, &b.delta, &b.last_delta)?;
        let norm = norm::Args::new(&b.last_delta, &self.weights.last_norm, &b.last_normed);
        on.norm.launch(&self.stream, &plans.norm, norm.with_residual_in_place(&b.last_residual))?;
        self.product(&plans.product, [&b.last_normed, self.weights.logits(), &b.logits])
    }

    /// `c = a b^T`.
    fn product(&self, plan: &matmul::Plan, [a, b, c]: [&Buffer; 3]) -> Result<()> {
        self.operators.matmul.launch(&self.stream, plan, matmul::Args::new(a, b, c))
    }
}

/// Refuses limits that cannot be served.
fn check(limits: &Limits, config: &Config) -> Result<()> {
    for (name, value, most) in [
        ("slots", limits.slots, MAX_SLOTS),
        ("rows", limits.rows, MAX_ROWS),
        ("max_keys", limits.max_keys, config.context),
        ("page_size", limits.page_size, MAX_PAGE),
        ("num_pages", limits.num_pages, i32::MAX.unsigned_abs() / limits.page_size.max(1)),
    ] {
        if value == 0 || value > most {
            return Err(Error::invalid(format!("engine: {name} = {value}, 1 to {most} wanted")));
        }
    }
    Ok(())
}

/// Bounds of the limits: far more than is of use, and products of them fit their types.
const MAX_SLOTS: u32 = 4096;
const MAX_ROWS: u32 = 1 << 16;
const MAX_PAGE: u32 = 1 << 14;

/// A size of the host.
fn bytes(bytes: u64) -> Result<usize> {
    usize::try_from(bytes)
        .map_err(|_| Error::invalid(format!("engine: {bytes} bytes are too many for this host")))
}

impl Step {
    /// Refuses what does not fit: each list is read by kernels.
    fn check(&self, limits: &Limits, vocabulary: u32) -> Result<()> {
        let rows = self.tokens.len();
        let refused = |text: String| Err(Error::invalid(format!("engine step: {text}")));
        if rows == 0 || rows > limits.rows as usize {
            return refused(format!("{rows} rows, 1 to {} wanted", limits.rows));
        }
        if self.slots.is_empty() || self.slots.len() > limits.slots as usize {
            return refused(format!("{} slots, 1 to {} wanted", self.slots.len(), limits.slots));
        }
        let of_slots: u64 = self.slots.iter().map(|slot| u64::from(slot.rows)).sum();
        if self.positions.len() != rows || self.places.len() != rows || of_slots != rows as u64 {
            return refused(format!(
                "{rows} tokens, {} positions, {} places, {of_slots} rows of slots; the same number wanted",
                self.positions.len(),
                self.places.len()
            ));
        }
        if self.logits.len() > rows {
            return refused(format!("logits of {} rows, at most {rows} wanted", self.logits.len()));
        }
        let places = limits.num_pages * limits.page_size;
        for (name, numbers, most) in [
            ("token", &self.tokens, vocabulary),
            ("position", &self.positions, limits.max_keys),
            ("place", &self.places, places),
            ("row of logits", &self.logits, self.tokens.len().try_into().unwrap_or(u32::MAX)),
        ] {
            if let Some(wrong) = numbers.iter().find(|number| **number >= most) {
                return refused(format!("{name} {wrong}, one below {most} wanted"));
            }
        }
        for (at, slot) in self.slots.iter().enumerate() {
            let wanted = slot.keys.div_ceil(limits.page_size) as usize;
            let (few, many) = (slot.rows.max(1), limits.max_keys);
            if !(few..=many).contains(&slot.keys) || slot.pages.len() < wanted {
                return refused(format!(
                    "slot {at} has {} keys in {} pages; {few} to {many} keys, and a page for each {} wanted",
                    slot.keys,
                    slot.pages.len(),
                    limits.page_size
                ));
            }
        }
        Ok(())
    }
}
