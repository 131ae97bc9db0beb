//! The tensors that a Llama has, by what they are for, whatever a file calls them.

use std::collections::HashSet;
use std::fmt;

use fastattention::{Error, ErrorKind, Result};
use half::f16;
use safetensors::{Dtype, SafeTensors};

use super::gguf::{ElementType, Gguf};
use super::{wrong, Config};

/// A tensor of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// `[vocabulary, hidden]`.
    Embedding,
    /// `[hidden]`, in front of the logits.
    LastNorm,
    /// `[vocabulary, hidden]`; models without it take the embedding.
    Logits,
    /// `[hidden]`, in front of attention, of a layer.
    AttentionNorm(u32),
    /// `[num_heads head_dim, hidden]`.
    Query(u32),
    /// `[num_heads_k head_dim, hidden]`.
    Key(u32),
    /// `[num_heads_k head_dim, hidden]`.
    Value(u32),
    /// `[num_heads head_dim]`.
    QueryBias(u32),
    /// `[num_heads_k head_dim]`.
    KeyBias(u32),
    /// `[num_heads_k head_dim]`.
    ValueBias(u32),
    /// `[head_dim]`, of each head of q.
    QueryNorm(u32),
    /// `[head_dim]`, of each head of k.
    KeyNorm(u32),
    /// `[hidden, num_heads head_dim]`.
    Output(u32),
    /// `[hidden]`, in front of the feed-forward part.
    FeedForwardNorm(u32),
    /// `[intermediate, hidden]`.
    Gate(u32),
    /// `[intermediate, hidden]`.
    Up(u32),
    /// `[hidden, intermediate]`.
    Down(u32),
}

impl Part {
    /// Its name in GGUF.
    fn in_gguf(self) -> String {
        let (layer, name) = match self {
            Self::Embedding => return "token_embd.weight".to_owned(),
            Self::LastNorm => return "output_norm.weight".to_owned(),
            Self::Logits => return "output.weight".to_owned(),
            Self::AttentionNorm(layer) => (layer, "attn_norm"),
            Self::Query(layer) => (layer, "attn_q"),
            Self::Key(layer) => (layer, "attn_k"),
            Self::Value(layer) => (layer, "attn_v"),
            Self::QueryBias(layer) => (layer, "attn_q"),
            Self::KeyBias(layer) => (layer, "attn_k"),
            Self::ValueBias(layer) => (layer, "attn_v"),
            Self::QueryNorm(layer) => (layer, "attn_q_norm"),
            Self::KeyNorm(layer) => (layer, "attn_k_norm"),
            Self::Output(layer) => (layer, "attn_output"),
            Self::FeedForwardNorm(layer) => (layer, "ffn_norm"),
            Self::Gate(layer) => (layer, "ffn_gate"),
            Self::Up(layer) => (layer, "ffn_up"),
            Self::Down(layer) => (layer, "ffn_down"),
        };
        format!("blk.{layer}.{name}.{}", self.kind())
    }

    /// Its name in safetensors, as the library transformers writes them.
    fn in_safetensors(self) -> String {
        let (layer, name) = match self {
            Self::Embedding => return "model.embed_tokens.weight".to_owned(),
            Self::LastNorm => return "model.norm.weight".to_owned(),
            Self::Logits => return "lm_head.weight".to_owned(),
            Self::AttentionNorm(layer) => (layer, "input_layernorm"),
            Self::Query(layer) => (layer, "self_attn.q_proj"),
            Self::Key(layer) => (layer, "self_attn.k_proj"),
            Self::Value(layer) => (layer, "self_attn.v_proj"),
            Self::QueryBias(layer) => (layer, "self_attn.q_proj"),
            Self::KeyBias(layer) => (layer, "self_attn.k_proj"),
            Self::ValueBias(layer) => (layer, "self_attn.v_proj"),
            Self::QueryNorm(layer) => (layer, "self_attn.q_norm"),
            Self::KeyNorm(layer) => (layer, "self_attn.k_norm"),
            Self::Output(layer) => (layer, "self_attn.o_proj"),
            Self::FeedForwardNorm(layer) => (layer, "post_attention_layernorm"),
            Self::Gate(layer) => (layer, "mlp.gate_proj"),
            Self::Up(layer) => (layer, "mlp.up_proj"),
            Self::Down(layer) => (layer, "mlp.down_proj"),
        };
        format!("model.layers.{layer}.{name}.{}", self.kind())
    }

    /// How its name ends.
    fn kind(self) -> &'static str {
        match self {
            Self::QueryBias(_) | Self::KeyBias(_) | Self::ValueBias(_) => "bias",
            _ => "weight",
        }
    }

    /// All that a model of this configuration may have.
    fn all(config: &Config) -> Vec<Self> {
        let mut all = vec![Self::Embedding, Self::LastNorm, Self::Logits];
        for layer in 0..config.layers {
            all.extend([Self::AttentionNorm(layer), Self::FeedForwardNorm(layer)]);
            all.extend([Self::Query(layer), Self::Key(layer), Self::Value(layer), Self::Output(layer)]);
            all.extend([Self::Gate(layer), Self::Up(layer), Self::Down(layer)]);
            if config.family.has_biases() {
                all.extend([Self::QueryBias(layer), Self::KeyBias(layer), Self::ValueBias(layer)]);
            }
            if config.family.has_head_norms() {
                all.extend([Self::QueryNorm(layer), Self::KeyNorm(layer)]);
            }
        }
        all
    }

    /// The shape that it has in a model.
    pub fn shape(self, config: &Config) -> Vec<u32> {
        let c = config;
        match self {
            Self::Embedding | Self::Logits => vec![c.vocabulary, c.hidden],
            Self::LastNorm | Self::AttentionNorm(_) | Self::FeedForwardNorm(_) => vec![c.hidden],
            Self::Query(_) => vec![c.width_q(), c.hidden],
            Self::Key(_) | Self::Value(_) => vec![c.width_k(), c.hidden],
            Self::QueryBias(_) => vec![c.width_q()],
            Self::KeyBias(_) | Self::ValueBias(_) => vec![c.width_k()],
            Self::QueryNorm(_) | Self::KeyNorm(_) => vec![c.head_dim],
            Self::Output(_) => vec![c.hidden, c.width_q()],
            Self::Gate(_) | Self::Up(_) => vec![c.intermediate, c.hidden],
            Self::Down(_) => vec![c.hidden, c.intermediate],
        }
    }
}

/// The tensors of a model.
pub struct Tensors<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    Gguf(Gguf<'a>),
    /// A large model lies in several files.
    Safetensors(Vec<SafeTensors<'a>>),
}

impl fmt::Debug for Tensors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Gguf(_) => "GGUF",
            Source::Safetensors(_) => "safetensors",
        };
        f.debug_struct("Tensors").field("source", &source).finish_non_exhaustive()
    }
}

impl<'a> Tensors<'a> {
    pub(super) fn of_gguf(gguf: Gguf<'a>) -> Self {
        Self { source: Source::Gguf(gguf) }
    }

    /// A name that two files have is refused.
    pub(super) fn of_safetensors(files: Vec<SafeTensors<'a>>) -> Result<Self> {
        let mut names: Vec<&str> = files.iter().flat_map(SafeTensors::names).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(wrong(format!("two files *.safetensors have a tensor {:?}", pair[0]))),
            None => Ok(Self { source: Source::Safetensors(files) }),
        }
    }

    /// Refuses tensors that nothing here computes with: a model without them is another one.
    pub(super) fn refuse_unread(&self, config: &Config) -> Result<()> {
        let all = Part::all(config);
        let (known, names): (HashSet<String>, Vec<&str>) = match &self.source {
            Source::Gguf(gguf) => (all.into_iter().map(Part::in_gguf).collect(), gguf.names().collect()),
            Source::Safetensors(files) => (
                all.into_iter().map(Part::in_safetensors).collect(),
                files.iter().flat_map(SafeTensors::names).collect(),
            ),
        };
        // Frequencies that the configuration gives, too.
        let is_read = |name: &str| known.contains(name) || name.ends_with(".rotary_emb.inv_freq");
        match names.into_iter().filter(|name| !is_read(name)).min() {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "tensor {name:?} is none of a model of family {:?}; supported: models without it",
                    config.family
                ),
            )),
        }
    }

    /// Is there such a tensor?
    pub fn has(&self, part: Part) -> bool {
        match &self.source {
            Source::Gguf(gguf) => gguf.tensor(&part.in_gguf()).is_some(),
            Source::Safetensors(files) => {
                files.iter().any(|file| file.tensor(&part.in_safetensors()).is_ok())
            }
        }
    }

    /// The elements as f32.
    ///
    /// # Errors
    /// `Io` for a tensor that is not there, that has another shape than the configuration says, or elements
    /// that are no numbers; `Unsupported` for a type of elements that is not read.
    pub fn load(&self, part: Part, config: &Config) -> Result<Vec<f32>> {
        let (name, shape, element, bytes) = self.find(part)?;
        let wanted: Vec<usize> = part.shape(config).into_iter().map(|extent| extent as usize).collect();
        if shape != wanted {
            return Err(wrong(format!("tensor {name:?} has shape {shape:?}, {wanted:?} wanted")));
        }
        let values = element.widen(bytes);
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => {
                Err(wrong(format!("tensor {name:?}: element {at} is {}, a number wanted", values[at])))
            }
        }
    }

    /// The same rounded to the nearest f16.
    ///
    /// # Errors
    /// As [`Self::load`], and `Io` for elements beyond 65504.
    pub fn load_f16(&self, part: Part, config: &Config) -> Result<Vec<f16>> {
        let wide = self.load(part, config)?;
        let values: Vec<f16> = wide.iter().copied().map(f16::from_f32).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let (name, ..) = self.find(part)?;
                let value = wide[at];
                Err(wrong(format!(
                    "tensor {name:?}: element {at} is {value}, at most 65504 either way wanted"
                )))
            }
        }
    }

    /// Name, shape, type and bytes.
    fn find(&self, part: Part) -> Result<(String, Vec<usize>, ElementType, &[u8])> {
        match &self.source {
            Source::Gguf(gguf) => {
                let name = part.in_gguf();
                let tensor = gguf.tensor(&name).ok_or_else(|| missing(&name))?;
                Ok((name, tensor.shape.clone(), tensor.element, tensor.bytes))
            }
            Source::Safetensors(files) => {
                let name = part.in_safetensors();
                let found = files.iter().find_map(|file| file.tensor(&name).ok());
                let tensor = found.ok_or_else(|| missing(&name))?;
                let element = element_of(tensor.dtype(), &name)?;
                Ok((name, tensor.shape().to_vec(), element, tensor.data()))
            }
        }
    }
}

fn missing(name: &str) -> Error {
    wrong(format!("there is no tensor {name:?}"))
}

fn element_of(dtype: Dtype, name: &str) -> Result<ElementType> {
    match dtype {
        Dtype::F32 => Ok(ElementType::F32),
        Dtype::F16 => Ok(ElementType::F16),
        Dtype::BF16 => Ok(ElementType::Bf16),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!("tensor {name:?} has elements of type {other:?}; supported: F32, F16, BF16"),
        )),
    }
}
