//! Continuous batching: sequences come and go between steps, prompts are taken in chunks beside sequences
//! that decode, and the start of a prompt that is in the cache already is not computed again.

mod pages;
mod sequence;

use std::collections::VecDeque;

use fastattention::runtime::Device;
use fastattention::{Error, Result};

use crate::files::{Config, Model};
use crate::forward::{Forward, Limits, Slot, Step};
use crate::text::{self, ChatTemplate, Message, Tokenizer};
use pages::Pages;
use sequence::Sequence;
pub use sequence::{Ends, Finish, Output, Request};

/// What an engine has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Sequences that run side by side.
    pub slots: u32,
    /// New tokens of a step, over all sequences: prompts are taken in chunks of at most so many.
    pub step_rows: u32,
    /// Tokens of a sequence, those of its prompt included; 0: as many as the model was made for, at most
    /// 4096.
    pub max_tokens: u32,
    /// Tokens of a page of the cache.
    pub page_size: u32,
    /// Tokens of the whole cache; 0: those of two sequences of full length.
    pub cache_tokens: u32,
    /// Whether the numbers of a sequence depend on nothing but its own tokens.
    pub is_batch_invariant: bool,
    /// Whether steps that only decode are captured once for each class of them, and then launched as one:
    /// an NPU takes a graph faster than its launches one by one.
    pub is_captured: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slots: 8,
            step_rows: 256,
            max_tokens: 0,
            page_size: 16,
            cache_tokens: 0,
            is_batch_invariant: false,
            is_captured: false,
        }
    }
}

impl Options {
    /// Sets the number of sequences that run side by side.
    #[must_use]
    pub fn with_slots(self, slots: u32) -> Self {
        Self { slots, ..self }
    }

    /// Sets the most new tokens of a step.
    #[must_use]
    pub fn with_step_rows(self, step_rows: u32) -> Self {
        Self { step_rows, ..self }
    }

    /// Sets the most tokens of a sequence, and those of the whole cache.
    #[must_use]
    pub fn with_tokens(self, max_tokens: u32, cache_tokens: u32) -> Self {
        Self { max_tokens, cache_tokens, ..self }
    }

    /// Makes the numbers of a sequence depend on nothing but its own tokens.
    #[must_use]
    pub fn batch_invariant(self) -> Self {
        Self { is_batch_invariant: true, ..self }
    }

    /// Captures steps that only decode.
    #[must_use]
    pub fn captured(self) -> Self {
        Self { is_captured: true, ..self }
    }

    fn limits(&self, config: &Config) -> Limits {
        let max_keys = if self.max_tokens == 0 { config.context.min(4096) } else { self.max_tokens };
        let of_cache = if self.cache_tokens == 0 { max_keys.saturating_mul(2) } else { self.cache_tokens };
        Limits {
            slots: self.slots,
            rows: self.step_rows.max(self.slots),
            max_keys,
            page_size: self.page_size,
            num_pages: of_cache.div_ceil(self.page_size.max(1)),
            is_batch_invariant: self.is_batch_invariant,
            is_captured: self.is_captured,
        }
    }
}

/// A model that answers requests.
#[derive(Debug)]
pub struct Engine {
    forward: Forward,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    pages: Pages,
    /// In the order of their admission; those that came last give way first.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    next_id: u64,
    counts: Counts,
}

/// What an engine has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Steps.
    pub steps: u64,
    /// Rows that were computed.
    pub rows: u64,
    /// Tokens that were given out.
    pub tokens: u64,
    /// Tokens of prompts whose keys were in the cache already.
    pub shared: u64,
    /// Sequences that lost their pages to others.
    pub evictions: u64,
}

impl Engine {
    /// Loads a model.
    ///
    /// # Errors
    /// `InvalidArgument` for options that cannot be served, and what [`Forward::new`] returns.
    pub fn new(device: &Device, model: &Model<'_>, options: Options) -> Result<Self> {
        let forward = Forward::new(device, model, options.limits(&model.config))?;
        let limits = forward.limits();
        Ok(Self {
            pages: Pages::new(limits.num_pages, limits.page_size),
            forward,
            tokenizer: model.tokenizer.clone(),
            chat_template: model.chat_template.clone(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            next_id: 0,
            counts: Counts::default(),
        })
    }

    /// The tokenizer of the model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model, to compute steps of one's own: sequences of the engine must have ended.
    pub fn forward(&mut self) -> &mut Forward {
        &mut self.forward
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Pages that no sequence has, and all.
    pub fn free_pages(&self) -> (usize, usize) {
        (self.pages.free(), self.pages.all())
    }

    /// The chat template of the model, if it has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Sequences that run, and requests that wait.
    pub fn sequences(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Most tokens of a sequence, those of its prompt included.
    pub fn room(&self) -> usize {
        let limits = self.forward.limits();
        (limits.max_keys as usize).min(self.pages.all() * limits.page_size as usize)
    }

    /// Tokens of a chat, up to where the answer begins.
    ///
    /// # Errors
    /// Those of [`text::chat`].
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        text::chat(&self.tokenizer, self.chat_template(), messages)
    }

    /// Adds a request, and returns the number that its outputs have. It is taken up in a later step.
    ///
    /// # Errors
    /// `InvalidArgument` for a prompt without tokens or with more than the engine has room for, for tokens
    /// that the model does not have, and for wrong numbers.
    pub fn add(&mut self, request: Request) -> Result<u64> {
        let config = self.forward.config();
        // One more has to fit. Whatever else runs, one sequence of full length always finds its pages.
        let (tokens, room) = (request.prompt.len(), self.room());
        if tokens == 0 || tokens >= room {
            let most = room.saturating_sub(1);
            return Err(Error::invalid(format!("request: a prompt of {tokens} tokens, 1 to {most} wanted")));
        }
        if let Some(wrong) = request.prompt.iter().find(|token| **token >= config.vocabulary) {
            let most = config.vocabulary;
            return Err(Error::invalid(format!("request: token {wrong}, one below {most} wanted")));
        }
        let id = self.next_id;
        self.waiting.push_back(Sequence::new(id, request, room)?);
        self.next_id += 1;
        Ok(id)
    }

    /// Gives a request up; false where it has ended already, or never was.
    pub fn cancel(&mut self, id: u64) -> bool {
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(at);
            self.pages.release(sequence.held);
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|sequence| sequence.id != id);
        self.waiting.len() < before
    }

    /// Is there anything to do?
    pub fn has_work(&self) -> bool {
        !(self.running.is_empty() && self.waiting.is_empty())
    }

    /// Computes one step: at most one token of each sequence.
    ///
    /// # Errors
    /// What the device returns. The engine is of no more use then.
    pub fn step(&mut self) -> Result<Vec<Output>> {
        self.admit();
        let rows = self.share_rows();
        let (step, ready) = self.gather(&rows);
        if step.tokens.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.forward.step(&step)?;
        self.counts.steps += 1;
        self.counts.rows += step.tokens.len() as u64;
        for (sequence, rows) in self.running.iter_mut().zip(&rows) {
            sequence.computed += rows;
            self.pages.tell(&mut sequence.held, &sequence.tokens, sequence.computed);
        }
        self.sample(&ready, logits)
    }

    /// Takes up requests, in their order, as long as there are slots, and pages for their prompts.
    fn admit(&mut self) {
        while self.running.len() < self.forward.limits().slots as usize {
            let Some(mut sequence) = self.waiting.pop_front() else { break };
            sequence.held = self.pages.start(&sequence.tokens);
            let page_size = self.forward.limits().page_size as usize;
            let wanted = (sequence.tokens.len() + 1).div_ceil(page_size) - sequence.held.pages.len();
            if wanted > self.pages.free() {
                self.pages.release(std::mem::take(&mut sequence.held));
                self.waiting.push_front(sequence);
                break;
            }
            sequence.computed = sequence.held.pages.len() * page_size;
            self.counts.shared += sequence.computed as u64;
            self.running.push(sequence);
        }
    }

    /// How many rows each running sequence gets, with pages for them. First those that decode get one, then
    /// prompts share the rest.
    fn share_rows(&mut self) -> Vec<usize> {
        let mut left = self.forward.limits().rows as usize;
        let mut rows = vec![0; self.running.len()];
        for decodes in [true, false] {
            for (sequence, rows) in self.running.iter().zip(&mut rows) {
                let missing = sequence.tokens.len() - sequence.computed;
                if (missing == 1) == decodes {
                    *rows = missing.min(left);
                    left -= *rows;
                }
            }
        }
        let mut at = 0;
        while at < self.running.len() {
            let sequence = &mut self.running[at];
            if self.pages.grow(&mut sequence.held, sequence.computed + rows[at]) {
                at += 1;
            } else {
                self.evict();
                rows.truncate(self.running.len());
            }
        }
        rows
    }

    /// Takes the pages of the sequence that came last: it is computed again, as far as its pages do not hold
    /// what they held, when there is room.
    fn evict(&mut self) {
        if let Some(mut sequence) = self.running.pop() {
            self.pages.release(std::mem::take(&mut sequence.held));
            sequence.computed = 0;
            self.counts.evictions += 1;
            self.waiting.push_front(sequence);
        }
    }

    /// The step of these rows, and the sequences that get a token.
    fn gather(&self, rows: &[usize]) -> (Step, Vec<usize>) {
        let page_size = self.forward.limits().page_size as usize;
        let (mut step, mut ready) = (Step::default(), Vec::new());
        for (at, (sequence, rows)) in
            self.running.iter().zip(rows).enumerate().filter(|(_, (_, rows))| **rows > 0)
        {
            let keys = sequence.computed + rows;
            for position in sequence.computed..keys {
                step.tokens.push(sequence.tokens[position]);
                step.positions.push(narrow(position));
                let page = sequence.held.pages[position / page_size] as usize;
                step.places.push(narrow(page * page_size + position % page_size));
            }
            let pages = sequence.held.pages.clone();
            step.slots.push(Slot { rows: narrow(*rows), keys: narrow(keys), pages });
            if keys == sequence.tokens.len() {
                step.logits.push(narrow(step.tokens.len() - 1));
                ready.push(at);
            }
        }
        (step, ready)
    }

    /// The next token of each sequence that is ready. Those that end give their pages back.
    fn sample(&mut self, ready: &[usize], mut logits: Vec<f32>) -> Result<Vec<Output>> {
        let vocabulary = self.forward.config().vocabulary as usize;
        let mut outputs = Vec::new();
        for (at, row) in ready.iter().zip(logits.chunks_exact_mut(vocabulary)) {
            let output = self.running[*at].advance(row, &self.tokenizer)?;
            self.counts.tokens += u64::from(output.finish != Some(Finish::NoNumbers));
            outputs.push(output);
        }
        for at in ready.iter().rev() {
            if self.running[*at].is_finished {
                let sequence = self.running.remove(*at);
                self.pages.release(sequence.held);
            }
        }
        Ok(outputs)
    }
}

/// Positions, places and rows are below 2^31 (`forward::Limits`).
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
