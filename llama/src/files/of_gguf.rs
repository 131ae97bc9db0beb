//! Configuration, tokenizer and chat template from the metadata of a GGUF file.

use fastattention::append::Pairing;
use fastattention::{Error, ErrorKind, Result};
use serde_json::{json, Map, Value as Json};

use super::gguf::{Gguf, Value};
use super::{wrong, Config, Family};
use crate::text::{ChatTemplate, Tokenizer};

/// Sizes and constants, from the keys of `general.architecture`.
pub(super) fn config(gguf: &Gguf<'_>) -> Result<Config> {
    let name = string(gguf, "general.architecture")?;
    let family = Family::named(name)?;
    let key = |last: &str| format!("{name}.{last}");
    let size = |last: &str| size(gguf, &key(last));
    let optional = |last: &str| {
        if gguf.metadata().contains_key(key(last).as_str()) {
            size(last).map(Some)
        } else {
            Ok(None)
        }
    };
    refuse_unread(gguf, name)?;
    let (hidden, num_heads) = (size("embedding_length")?, size("attention.head_count")?);
    let per_head = hidden.checked_div(num_heads).unwrap_or(0);
    let head_dim = optional("attention.key_length")?.unwrap_or(per_head);
    let head_dim_v = optional("attention.value_length")?.unwrap_or(head_dim);
    if head_dim_v != head_dim {
        return Err(unsupported(format!(
            "attention.value_length = {head_dim_v}; supported: that of keys, {head_dim}"
        )));
    }
    // The rows of the embedding are the tokens.
    let embedding = gguf.tensor("token_embd.weight").map(|tensor| tensor.shape[0]);
    let embedding = embedding.and_then(|rows| u32::try_from(rows).ok());
    let epsilon = float(gguf, &key("attention.layer_norm_rms_epsilon"), None)?;
    Config {
        family,
        layers: size("block_count")?,
        hidden,
        intermediate: size("feed_forward_length")?,
        num_heads,
        num_heads_k: optional("attention.head_count_kv")?.unwrap_or(num_heads),
        head_dim,
        context: size("context_length")?,
        vocabulary: embedding.ok_or_else(|| wrong("GGUF: there is no tensor \"token_embd.weight\""))?,
        rope_theta: float(gguf, &key("rope.freq_base"), Some(10_000.0))?,
        rope_dims: optional("rope.dimension_count")?.unwrap_or(head_dim),
        // Those who make files of Llama put pairs side by side; others stay as they are.
        rope_pairing: if family == Family::Llama { Pairing::Adjacent } else { Pairing::Halves },
        window: optional("attention.sliding_window")?.filter(|window| *window > 0),
        #[allow(clippy::cast_possible_truncation, reason = "the file has an f32")]
        norm_epsilon: epsilon as f32,
    }
    .checked()
}

/// Keys that change what is computed, and that nothing here reads.
fn refuse_unread(gguf: &Gguf<'_>, name: &str) -> Result<()> {
    for last in [
        "rope.scaling.type",
        "rope.scale_linear",
        "expert_count",
        "attention.clamp_kqv",
        "attention.max_alibi_bias",
        "logit_scale",
        "attention.scale",
    ] {
        let key = format!("{name}.{last}");
        let is_none = |value: &Value<'_>| {
            value.to_str() == Some("none") || value.to_u64() == Some(0) || value.to_f64() == Some(0.0)
        };
        if let Some(value) = gguf.metadata().get(key.as_str()).filter(|value| !is_none(value)) {
            return Err(unsupported(format!("{key} = {value:?}; supported: models without it")));
        }
    }
    Ok(())
}

/// The vocabulary as the `tokenizer.json` that says the same.
pub(super) fn tokenizer(gguf: &Gguf<'_>) -> Result<Tokenizer> {
    let model = string(gguf, "tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(unsupported(format!("tokenizer.ggml.model = {model:?}; supported: \"gpt2\"")));
    }
    let pre = string(gguf, "tokenizer.ggml.pre")?;
    let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
    let kinds = gguf.value("tokenizer.ggml.token_type")?.to_array();
    let kinds: Option<Vec<u64>> = kinds.and_then(|kinds| kinds.values().map(Value::to_u64).collect());
    let kinds = kinds.filter(|kinds| kinds.len() == tokens.len()).ok_or_else(|| {
        wrong(format!(
            "GGUF: tokenizer.ggml.token_type: one number for each of {} tokens wanted",
            tokens.len()
        ))
    })?;
    let mut vocabulary = Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        if vocabulary.insert((*token).to_owned(), id.into()).is_some() {
            return Err(wrong(format!("GGUF: tokenizer.ggml.tokens has {token:?} twice")));
        }
        let special = match kind {
            NORMAL | UNUSED => continue,
            CONTROL => true,
            USER_DEFINED => false,
            _ => return Err(unsupported(format!("token {token:?} has type {kind}; supported: 1, 3, 4, 5"))),
        };
        added.push(json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special,
        }));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added,
        "pre_tokenizer": pre_tokenizer(pre)?,
        "decoder": byte_level(),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": strings(gguf, "tokenizer.ggml.merges")?,
        },
    });
    let mut ends = Vec::from_iter(token(gguf, "eos_token_id", tokens.len())?);
    ends.extend(token(gguf, "eot_token_id", tokens.len())?);
    let adds = gguf.metadata().get("tokenizer.ggml.add_bos_token").and_then(|value| value.to_bool());
    let begin = token(gguf, "bos_token_id", tokens.len())?;
    Tokenizer::new(tokenizer.to_string().as_bytes(), begin, adds.unwrap_or(false), ends)
}

/// Types of tokens (`llama_token_type` of llama.cpp).
const NORMAL: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// How text is cut before pairs are merged. Of "smollm" each digit is a piece of its own, which the name of
/// the model ("gpt2") does not tell.
fn pre_tokenizer(name: &str) -> Result<Json> {
    match name {
        "gpt-2" => Ok(byte_level()),
        "qwen2" => Ok(json!({
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": QWEN2 }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ],
        })),
        "smollm" => Ok(json!({
            "type": "Sequence",
            "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level()],
        })),
        _ => Err(unsupported(format!(
            "tokenizer.ggml.pre = {name:?}; supported: \"gpt-2\", \"qwen2\", \"smollm\""
        ))),
    }
}

/// Endings of English, words with what stands in front of them, digits, signs, and spaces.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn byte_level() -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
}

/// The chat template, with the special tokens that it may name.
pub(super) fn chat_template(gguf: &Gguf<'_>, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
    let key = "tokenizer.chat_template";
    if !gguf.metadata().contains_key(key) {
        return Ok(None);
    }
    ChatTemplate::new(string(gguf, key)?, tokenizer).map(Some)
}

/// A special token, if the file names one.
fn token(gguf: &Gguf<'_>, name: &str, tokens: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}");
    if !gguf.metadata().contains_key(key.as_str()) {
        return Ok(None);
    }
    let id = size(gguf, &key)?;
    if id as usize >= tokens {
        return Err(wrong(format!("GGUF: {key} = {id}, one of {tokens} tokens wanted")));
    }
    Ok(Some(id))
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

fn string<'a>(gguf: &Gguf<'a>, key: &str) -> Result<&'a str> {
    let value = gguf.value(key)?;
    value.to_str().ok_or_else(|| wrong(format!("GGUF: {key} = {value:?}, a string wanted")))
}

fn strings<'a>(gguf: &Gguf<'a>, key: &str) -> Result<Vec<&'a str>> {
    let strings = gguf.value(key)?.to_array().and_then(|array| array.strings());
    strings.ok_or_else(|| wrong(format!("GGUF: {key}: an array of strings wanted")))
}

fn size(gguf: &Gguf<'_>, key: &str) -> Result<u32> {
    let value = gguf.value(key)?;
    let number = value.to_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| wrong(format!("GGUF: {key} = {value:?}, an integer from 0 to 2^32 - 1 wanted")))
}

fn float(gguf: &Gguf<'_>, key: &str, default: Option<f64>) -> Result<f64> {
    let value = match (gguf.metadata().get(key), default) {
        (None, Some(default)) => return Ok(default),
        _ => gguf.value(key)?,
    };
    value.to_f64().ok_or_else(|| wrong(format!("GGUF: {key} = {value:?}, a floating-point number wanted")))
}
