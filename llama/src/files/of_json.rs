//! Configuration, tokenizer and chat template from the JSON files beside safetensors.

use std::fs;
use std::path::Path;

use fastattention::append::Pairing;
use fastattention::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::Deserialize;

use super::{wrong, Config, Family};
use crate::text::{ChatTemplate, Tokenizer};

/// What is read of `config.json`.
#[derive(Deserialize)]
struct ConfigJson {
    model_type: String,
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    max_position_embeddings: u32,
    vocab_size: u32,
    rms_norm_eps: f32,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeJson>,
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    use_sliding_window: bool,
    rope_scaling: Option<serde_json::Value>,
    sliding_window: Option<u32>,
    quantization_config: Option<serde_json::Value>,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    eos_token_id: Option<Ids>,
    bos_token_id: Option<u32>,
}

/// Where newer files have the base of the rotary embedding.
#[derive(Deserialize)]
struct RopeJson {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

fn silu() -> String {
    "silu".to_owned()
}

/// One id, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

/// What is read of `generation_config.json`.
#[derive(Default, Deserialize)]
struct GenerationJson {
    eos_token_id: Option<Ids>,
}

/// What is read of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct TokenizerJson {
    chat_template: Option<serde_json::Value>,
}

/// A file of the folder.
fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let text = fs::read(folder.join(name)).map_err(|e| wrong(format!("{name}: {e}")))?;
    serde_json::from_slice(&text).map_err(|e| wrong(format!("{name}: {e}")))
}

/// The same, or nothing where there is no such file.
fn read_optional<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T> {
    if folder.join(name).exists() {
        read(folder, name)
    } else {
        Ok(T::default())
    }
}

/// Sizes and constants from `config.json`.
pub(super) fn config(folder: &Path) -> Result<Config> {
    let json: ConfigJson = read(folder, "config.json")?;
    let family = Family::named(&json.model_type)?;
    refuse_unread(&json, family)?;
    let rope_theta = json.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(json.rope_theta);
    let per_head = json.hidden_size.checked_div(json.num_attention_heads).unwrap_or(0);
    let head_dim = json.head_dim.unwrap_or(per_head);
    Config {
        family,
        layers: json.num_hidden_layers,
        hidden: json.hidden_size,
        intermediate: json.intermediate_size,
        num_heads: json.num_attention_heads,
        num_heads_k: json.num_key_value_heads.unwrap_or(json.num_attention_heads),
        head_dim,
        context: json.max_position_embeddings,
        vocabulary: json.vocab_size,
        rope_theta: rope_theta.unwrap_or(10_000.0),
        rope_dims: head_dim,
        rope_pairing: Pairing::Halves,
        norm_epsilon: json.rms_norm_eps,
        // Files of Qwen have a size for it, and say apart whether there is one.
        window: json.sliding_window.filter(|_| family == Family::Mistral),
    }
    .checked()
}

/// What would change the numbers, and nothing here computes.
fn refuse_unread(json: &ConfigJson, family: Family) -> Result<()> {
    let window = json.sliding_window.filter(|_| family == Family::Llama);
    let rope_type = json.rope_parameters.as_ref().and_then(|rope| rope.rope_type.clone());
    let mut layer_types = json.layer_types.iter().flatten();
    let found = [
        ("rope_scaling", json.rope_scaling.as_ref().map(ToString::to_string)),
        ("rope_parameters.rope_type", rope_type.filter(|kind| kind != "default")),
        ("layer_types", layer_types.find(|kind| *kind != "full_attention").cloned()),
        ("sliding_window", window.map(|window| window.to_string())),
        ("use_sliding_window", json.use_sliding_window.then(|| "true".to_owned())),
        ("quantization_config", json.quantization_config.as_ref().map(ToString::to_string)),
        ("hidden_act", (json.hidden_act != "silu").then(|| json.hidden_act.clone())),
        ("attention_bias", json.attention_bias.then(|| "true".to_owned())),
        ("mlp_bias", json.mlp_bias.then(|| "true".to_owned())),
    ];
    match found.into_iter().find_map(|(name, value)| value.map(|value| (name, value))) {
        None => Ok(()),
        Some((name, value)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("config.json: {name} = {value}; supported: models without it, with hidden_act = silu"),
        )),
    }
}

/// The tokenizer from `tokenizer.json`, and the tokens that end an answer.
pub(super) fn tokenizer(folder: &Path) -> Result<Tokenizer> {
    let json: ConfigJson = read(folder, "config.json")?;
    let generation: GenerationJson = read_optional(folder, "generation_config.json")?;
    let ends = generation.eos_token_id.or(json.eos_token_id).map_or_else(Vec::new, Ids::into_vec);
    let text = fs::read(folder.join("tokenizer.json")).map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
    // Whether a text begins with a token of its own is in `tokenizer.json`, its post-processor.
    Tokenizer::new(&text, json.bos_token_id, false, ends)
}

/// The chat template from `chat_template.jinja`, else from `tokenizer_config.json`.
pub(super) fn chat_template(folder: &Path, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
    let file = folder.join("chat_template.jinja");
    if file.exists() {
        let text = fs::read_to_string(&file).map_err(|e| wrong(format!("chat_template.jinja: {e}")))?;
        return ChatTemplate::new(&text, tokenizer).map(Some);
    }
    let json: TokenizerJson = read_optional(folder, "tokenizer_config.json")?;
    match json.chat_template {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => ChatTemplate::new(&text, tokenizer).map(Some),
        Some(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "tokenizer_config.json: chat_template is no string; supported: one template",
        )),
    }
}
