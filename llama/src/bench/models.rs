//! Shapes of models, as their makers publish them.

use fastattention::{DType, Error, ErrorKind, Result};
use serde::Serialize;

/// Experts in the place of the feed-forward part of some layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Experts {
    /// Layers that have them.
    pub layers: u32,
    /// Of such a layer. A token goes to one of them.
    pub count: u32,
}

/// Sizes of a model: a Llama, or something that is timed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Shape {
    /// What the command line calls it.
    pub name: &'static str,
    /// Type of weights, activations and cache.
    pub dtype: DType,
    /// Layers.
    pub layers: u32,
    /// Elements of the residual stream.
    pub hidden: u32,
    /// Elements between the products of a feed-forward part.
    pub intermediate: u32,
    /// Whether that part is `SwiGLU`, with three products; else two, and GELU between them.
    pub is_gated: bool,
    /// Heads of queries.
    pub num_heads: u32,
    /// Heads of keys and values.
    pub num_heads_k: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Rows of the embedding; the logits have a matrix of their own.
    pub vocabulary: u32,
    /// Whether q, k and v have a bias.
    pub has_qkv_bias: bool,
    /// Experts, where there are any.
    pub experts: Option<Experts>,
}

/// Every model that can be timed.
pub const MODELS: [Shape; 5] = [LLAMA_2_7B, LLAMA_2_13B, LLAMA_2_70B, QWEN2_7B, PANGU_38B];

const LLAMA_2_7B: Shape = Shape {
    name: "llama-2-7b",
    dtype: DType::F16,
    layers: 32,
    hidden: 4096,
    intermediate: 11008,
    is_gated: true,
    num_heads: 32,
    num_heads_k: 32,
    head_dim: 128,
    vocabulary: 32000,
    has_qkv_bias: false,
    experts: None,
};

const LLAMA_2_13B: Shape = Shape {
    name: "llama-2-13b",
    layers: 40,
    hidden: 5120,
    intermediate: 13824,
    num_heads: 40,
    num_heads_k: 40,
    ..LLAMA_2_7B
};

const LLAMA_2_70B: Shape = Shape {
    name: "llama-2-70b",
    layers: 80,
    hidden: 8192,
    intermediate: 28672,
    num_heads: 64,
    num_heads_k: 8,
    ..LLAMA_2_7B
};

const QWEN2_7B: Shape = Shape {
    name: "qwen2-7b",
    dtype: DType::Bf16,
    layers: 28,
    hidden: 3584,
    intermediate: 18944,
    num_heads: 28,
    num_heads_k: 4,
    vocabulary: 152_064,
    has_qkv_bias: true,
    ..LLAMA_2_7B
};

/// The domain submodel of `PanGu`-Sigma (docs/models.md). Its vocabulary is that of `PanGu`-alpha.
const PANGU_38B: Shape = Shape {
    name: "38b",
    layers: 40,
    hidden: 5120,
    intermediate: 20480,
    is_gated: false,
    num_heads: 40,
    num_heads_k: 40,
    vocabulary: 40000,
    experts: Some(Experts { layers: 8, count: 16 }),
    ..LLAMA_2_7B
};

impl Shape {
    /// The model of that name.
    ///
    /// # Errors
    /// `InvalidArgument` with the names that there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        MODELS.iter().find(|shape| shape.name == name).ok_or_else(|| {
            let known = MODELS.map(|shape| shape.name).join(", ");
            Error::new(
                ErrorKind::InvalidArgument,
                format!("model = {name:?} is not known, one of these wanted: {known}"),
            )
        })
    }

    /// Elements of q, k and v of a token.
    pub fn width_qkv(&self) -> u64 {
        u64::from(self.num_heads + 2 * self.num_heads_k) * u64::from(self.head_dim)
    }

    /// Elements of all weights of one feed-forward part.
    fn feed_forward(&self) -> u64 {
        let matrices = if self.is_gated { 3 } else { 2 };
        matrices * u64::from(self.hidden) * u64::from(self.intermediate)
    }

    /// Elements of the matrices of all layers; of those with experts, all of these.
    pub fn layer_matrices(&self) -> u64 {
        let attention = u64::from(self.hidden)
            * (self.width_qkv() + u64::from(self.num_heads) * u64::from(self.head_dim));
        let parts = u64::from(self.layers)
            + self.experts.map_or(0, |experts| u64::from(experts.layers) * u64::from(experts.count - 1));
        u64::from(self.layers) * attention + parts * self.feed_forward()
    }

    /// Elements of the matrices of all layers that one token meets.
    pub fn active_layer_matrices(&self) -> u64 {
        Self { experts: None, ..*self }.layer_matrices()
    }

    /// Elements of norms and biases of all layers, and of the last norm.
    pub fn vectors(&self) -> u64 {
        let bias = if self.has_qkv_bias { self.width_qkv() } else { 0 };
        u64::from(self.layers) * (2 * u64::from(self.hidden) + bias) + u64::from(self.hidden)
    }

    /// Elements of the embedding; those of the logits' matrix are as many.
    pub fn embedding(&self) -> u64 {
        u64::from(self.vocabulary) * u64::from(self.hidden)
    }

    /// Elements of all weights.
    pub fn parameters(&self) -> u64 {
        2 * self.embedding() + self.layer_matrices() + self.vectors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts that the models' pages give.
    #[test]
    fn parameters_are_as_many_as_published() {
        for (name, published) in [
            ("llama-2-7b", 6_738_415_616),
            ("llama-2-13b", 13_015_864_320),
            ("llama-2-70b", 68_976_648_192),
            ("qwen2-7b", 7_615_616_512),
        ] {
            assert_eq!(Shape::named(name).unwrap().parameters(), published, "{name}");
        }
        // "38 B", of which about 12.6 B meet a token.
        let pangu = Shape::named("38b").unwrap();
        assert_eq!(pangu.layer_matrices() / 10_000_000, 3774);
        assert_eq!(pangu.active_layer_matrices() / 100_000_000, 125);
    }

    #[test]
    fn other_names_are_refused_with_the_list() {
        let error = Shape::named("llama-3").unwrap_err().to_string();
        assert_eq!(
            error,
            "model = \"llama-3\" is not known, one of these wanted: llama-2-7b, llama-2-13b, llama-2-70b, qwen2-7b, 38b"
        );
    }
}
