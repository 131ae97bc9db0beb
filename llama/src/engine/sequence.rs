//! One request on its way.

use fastattention::Result;

use super::pages::Held;
use crate::sampling::{Sampler, Sampling};
use crate::text::{Growing, Stops, Tokenizer};

/// What is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Most tokens of the answer.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Strings that end the answer; they are not part of it.
    pub stops: Vec<String>,
    /// Which tokens end the answer.
    pub ends: Ends,
}

/// Tokens that end an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ends {
    /// Those that the model's files name.
    #[default]
    OfModel,
    /// None: an answer has all of its tokens.
    Never,
}

impl Request {
    /// The most probable tokens, until the model ends its answer.
    pub fn new(prompt: Vec<u32>, max_new_tokens: usize) -> Self {
        Self { prompt, max_new_tokens, sampling: Sampling::default(), stops: Vec::new(), ends: Ends::OfModel }
    }

    /// Sets how tokens are chosen.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Sets strings that end the answer.
    #[must_use]
    pub fn with_stops(self, stops: Vec<String>) -> Self {
        Self { stops, ..self }
    }

    /// Sets which tokens end the answer.
    #[must_use]
    pub fn with_ends(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }
}

/// Why an answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model has ended it, or a stop string was found.
    Stop,
    /// It has as many tokens as were asked for, or as there is room for.
    Length,
    /// Its logits are no numbers: those of the model have left their range. Other sequences go on.
    NoNumbers,
}

/// One token of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// The request.
    pub id: u64,
    /// The token; no part of the answer where `finish` is [`Finish::NoNumbers`].
    pub token: u32,
    /// What the answer's text has become longer by: nothing where characters are not whole yet, or may be the
    /// start of a stop string.
    pub text: String,
    /// Whether it was the last one, and why.
    pub finish: Option<Finish>,
}

/// A request with its state.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: u64,
    /// Prompt and answer.
    pub(super) tokens: Vec<u32>,
    /// Tokens whose keys are in the cache.
    pub(super) computed: usize,
    pub(super) held: Held,
    pub(super) is_finished: bool,
    /// Tokens at which it ends whatever they are.
    most_tokens: usize,
    ends: Ends,
    sampler: Sampler,
    growing: Growing,
    stops: Stops,
}

impl Sequence {
    /// `room` tokens can be in the cache.
    pub(super) fn new(id: u64, request: Request, room: usize) -> Result<Self> {
        let Request { prompt, max_new_tokens, sampling, stops, ends } = request;
        let most_tokens = prompt.len().saturating_add(max_new_tokens.max(1)).min(room);
        Ok(Self {
            id,
            computed: 0,
            held: Held::default(),
            is_finished: false,
            most_tokens,
            ends,
            sampler: Sampler::new(sampling)?,
            growing: Growing::new(),
            stops: Stops::new(stops),
            tokens: prompt,
        })
    }

    /// Takes the next token from its logits.
    pub(super) fn advance(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Output> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            self.is_finished = true;
            let finish = Some(Finish::NoNumbers);
            return Ok(Output { id: self.id, token: 0, text: String::new(), finish });
        }
        let token = self.sampler.next(logits, &self.tokens)?;
        self.tokens.push(token);
        let is_end = self.ends == Ends::OfModel && tokenizer.ends().contains(&token);
        let grown = if is_end { String::new() } else { self.growing.push(tokenizer, token)? };
        let (mut text, is_stopped) = self.stops.push(&grown);
        let finish = if is_end || is_stopped {
            Some(Finish::Stop)
        } else {
            (self.tokens.len() >= self.most_tokens).then_some(Finish::Length)
        };
        if finish.is_some() && !is_stopped {
            // What was held back may yet complete a stop string.
            let (rest, is_stopped) = self.stops.push(&self.growing.finish(tokenizer)?);
            text.push_str(&rest);
            if !is_stopped {
                text.push_str(&self.stops.finish());
            }
        }
        self.is_finished = finish.is_some();
        Ok(Output { id: self.id, token, text, finish })
    }
}
