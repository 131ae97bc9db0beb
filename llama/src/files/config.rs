//! What a model is made of.

use fastattention::append::Pairing;
use fastattention::{Error, ErrorKind, Result};

use super::wrong;
use crate::text::Tokenizer;

/// Families of models. All are a Llama with something of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// RMSNorm, rotary embedding, grouped queries, SwiGLU; no biases.
    Llama,
    /// Biases of q, k and v.
    Qwen2,
    /// RMSNorm of each head of q and k, in front of the rotary embedding.
    Qwen3,
    /// A sliding window in some versions.
    Mistral,
}

impl Family {
    /// The family of this name, as `general.architecture` and `model_type` spell it.
    ///
    /// # Errors
    /// `Unsupported` for other names.
    pub fn named(name: &str) -> Result<Self> {
        let known = [
            ("llama", Self::Llama),
            ("qwen2", Self::Qwen2),
            ("qwen3", Self::Qwen3),
            ("mistral", Self::Mistral),
        ];
        let family = known.into_iter().find(|(own, _)| *own == name).map(|(_, family)| family);
        family.ok_or_else(|| {
            let supported = known.map(|(own, _)| own).join(", ");
            let message = format!("model family {name:?} is not known; supported: {supported}");
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// Are biases added to q, k and v?
    pub fn has_biases(self) -> bool {
        self == Self::Qwen2
    }

    /// Are heads of q and k normed?
    pub fn has_head_norms(self) -> bool {
        self == Self::Qwen3
    }
}

/// Sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What it is.
    pub family: Family,
    /// Layers.
    pub layers: u32,
    /// Elements of the residual stream.
    pub hidden: u32,
    /// Elements between the products of a feed-forward part.
    pub intermediate: u32,
    /// Heads of queries.
    pub num_heads: u32,
    /// Heads of keys and values.
    pub num_heads_k: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Tokens that the model was made for.
    pub context: u32,
    /// Rows of the embedding: tokens that there are.
    pub vocabulary: u32,
    /// Base of the frequencies of the rotary embedding.
    pub rope_theta: f64,
    /// Elements of a head that are rotated.
    pub rope_dims: u32,
    /// Which elements of a head are a pair: GGUF keeps those of Llama adjacent, safetensors by halves.
    pub rope_pairing: Pairing,
    /// Added to the mean square before its root is taken.
    pub norm_epsilon: f32,
    /// Keys that a token sees, its own included; all before it unless given.
    pub window: Option<u32>,
}

/// Bounds of sizes, far above any model: products of them stay below 2^63.
const MAX_LAYERS: u32 = 1 << 12;
const MAX_WIDTH: u32 = 1 << 20;
const MAX_HEADS: u32 = 1 << 12;
const MAX_TOKENS: u32 = 1 << 24;

impl Config {
    /// Refuses sizes that cannot be those of a model.
    ///
    /// # Errors
    /// `Io` with the first one.
    pub(super) fn checked(self) -> Result<Self> {
        for (name, value, most) in [
            ("layers", self.layers, MAX_LAYERS),
            ("hidden", self.hidden, MAX_WIDTH),
            ("intermediate", self.intermediate, MAX_WIDTH),
            ("num_heads", self.num_heads, MAX_HEADS),
            ("num_heads_k", self.num_heads_k, MAX_HEADS),
            ("head_dim", self.head_dim, MAX_HEADS),
            ("context", self.context, MAX_TOKENS),
            ("vocabulary", self.vocabulary, MAX_TOKENS),
            ("rope_dims", self.rope_dims, self.head_dim),
        ] {
            if value == 0 || value > most {
                return Err(wrong(format!("{name} = {value}, 1 to {most} wanted")));
            }
        }
        if self.window == Some(0) {
            return Err(wrong("sliding_window = 0, at least 1 wanted"));
        }
        if !self.num_heads.is_multiple_of(self.num_heads_k) {
            return Err(wrong(format!(
                "num_heads = {}, a multiple of num_heads_k = {} wanted",
                self.num_heads, self.num_heads_k
            )));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(wrong(format!("rope_theta = {}, a number above 0 wanted", self.rope_theta)));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return Err(wrong(format!("norm_epsilon = {}, a number from 0 on wanted", self.norm_epsilon)));
        }
        Ok(self)
    }

    /// Refuses a tokenizer with tokens that the embedding does not have.
    pub(super) fn check_tokens(&self, tokenizer: &Tokenizer) -> Result<()> {
        let tokens = tokenizer.size();
        if tokens > self.vocabulary as usize {
            return Err(wrong(format!(
                "the tokenizer has {tokens} tokens, at most vocabulary = {} wanted",
                self.vocabulary
            )));
        }
        Ok(())
    }

    /// Elements of all heads of q.
    pub fn width_q(&self) -> u32 {
        self.num_heads * self.head_dim
    }

    /// Elements of all heads of K, and of V.
    pub fn width_k(&self) -> u32 {
        self.num_heads_k * self.head_dim
    }

    /// Elements of q, k and v of a token.
    pub fn width_qkv(&self) -> u32 {
        self.width_q() + 2 * self.width_k()
    }
}
