//! The model, and its files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use fastrand::Rng;
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::Dtype;
use serde_json::json;

pub(crate) const LAYERS: usize = 2;
pub(crate) const HIDDEN: usize = 32;
pub(crate) const INTERMEDIATE: usize = 48;
pub(crate) const HEADS: usize = 4;
pub(crate) const HEADS_K: usize = 2;
pub(crate) const DIM: usize = 16;
/// Bytes, and the tokens that begin and end a text.
pub(crate) const VOCABULARY: usize = 258;
pub(crate) const THETA: f64 = 1000.0;
/// The comment gives room for other templates.
pub(crate) const TEMPLATE: &str =
    "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{# ------------------------ #}";
pub(crate) const EPSILON: f64 = 1e-5;

/// Keys that a token of the Mistral sees.
pub(crate) const WINDOW: usize = 5;

/// What the families have of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Llama,
    /// Biases of q, k and v.
    Qwen2,
    /// Norms of heads.
    Qwen3,
    /// A window.
    Mistral,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Mistral];

    /// As files spell it: those who make GGUF files of a Mistral call it a Llama.
    fn name(self, is_gguf: bool) -> &'static str {
        match self {
            Self::Mistral if !is_gguf => "mistral",
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Tensors by their names in safetensors: shape, and values that are f16.
pub(crate) struct Tiny {
    pub(crate) kind: Kind,
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Tiny {
    pub(crate) fn random(seed: u64) -> Self {
        Self::of(Kind::Llama, seed)
    }

    pub(crate) fn of(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize], middle: f32, scale: f32| {
            let mut value = || f16::from_f32(middle + (rng.f32() - 0.5) * scale).to_f32();
            let values = (0..shape.iter().product()).map(|_| value()).collect();
            tensors.insert(name, (shape.to_vec(), values));
        };
        let (q, k) = (HEADS * DIM, HEADS_K * DIM);
        for layer in 0..LAYERS {
            let name = |last: &str| format!("model.layers.{layer}.{last}.weight");
            add(name("input_layernorm"), &[HIDDEN], 1.0, 0.5);
            add(name("self_attn.q_proj"), &[q, HIDDEN], 0.0, 1.5);
            add(name("self_attn.k_proj"), &[k, HIDDEN], 0.0, 1.5);
            add(name("self_attn.v_proj"), &[k, HIDDEN], 0.0, 1.0);
            add(name("self_attn.o_proj"), &[HIDDEN, q], 0.0, 0.5);
            add(name("post_attention_layernorm"), &[HIDDEN], 1.0, 0.5);
            add(name("mlp.gate_proj"), &[INTERMEDIATE, HIDDEN], 0.0, 1.0);
            add(name("mlp.up_proj"), &[INTERMEDIATE, HIDDEN], 0.0, 1.0);
            add(name("mlp.down_proj"), &[HIDDEN, INTERMEDIATE], 0.0, 0.5);
        }
        add("model.embed_tokens.weight".into(), &[VOCABULARY, HIDDEN], 0.0, 2.0);
        add("model.norm.weight".into(), &[HIDDEN], 1.0, 0.5);
        add("lm_head.weight".into(), &[VOCABULARY, HIDDEN], 0.0, 0.5);
        for layer in 0..LAYERS {
            let own = |last: &str| format!("model.layers.{layer}.self_attn.{last}");
            if kind == Kind::Qwen2 {
                // f32, as the norms are: f16 does not hold them.
                add(own("q_proj.bias"), &[q], 1.0 / 3.0, 3.0);
                add(own("k_proj.bias"), &[k], 1.0 / 3.0, 3.0);
                add(own("v_proj.bias"), &[k], 1.0 / 3.0, 1.0);
            }
            if kind == Kind::Qwen3 {
                add(own("q_norm.weight"), &[DIM], 1.5, 1.0);
                add(own("k_norm.weight"), &[DIM], 1.0, 1.0);
            }
        }
        Self { kind, tensors }
    }

    pub(crate) fn values(&self, name: &str) -> &[f32] {
        &self.tensors[name].1
    }

    /// `config.json`, `tokenizer.json`, and two files of tensors, one of them f32.
    pub(crate) fn write_safetensors(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config.json"), config_of(self.kind).to_string()).unwrap();
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        let wide = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let narrow = |values: &[f32]| values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        for (file, is_layer) in [("a.safetensors", true), ("b.safetensors", false)] {
            let own = self.tensors.iter().filter(|(name, _)| name.contains("layers") == is_layer);
            let data: Vec<(&String, &Vec<usize>, Vec<u8>)> = own
                .map(|(name, (shape, values))| {
                    (name, shape, if is_layer { narrow(values) } else { wide(values) })
                })
                .collect();
            let dtype = if is_layer { Dtype::F16 } else { Dtype::F32 };
            let views: HashMap<&String, TensorView<'_>> = data
                .iter()
                .map(|(name, shape, bytes)| (*name, TensorView::new(dtype, (*shape).clone(), bytes).unwrap()))
                .collect();
            safetensors::serialize_to_file(&views, None, &folder.join(file)).unwrap();
        }
    }

    /// The same as a GGUF file: names are others, and pairs of elements of q and k lie side by side.
    pub(crate) fn gguf(&self) -> Vec<u8> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        let entries = entries(self.kind);
        head.extend((entries.len() as u64).to_le_bytes());
        entries.into_iter().for_each(|entry| head.extend(entry));
        let mut data: Vec<u8> = Vec::new();
        for (name, (shape, values)) in &self.tensors {
            head.extend(text(&gguf_name(name)));
            head.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
            shape.iter().rev().for_each(|extent| head.extend((*extent as u64).to_le_bytes()));
            let is_norm = shape.len() == 1;
            head.extend(u32::from(!is_norm).to_le_bytes());
            head.extend((data.len() as u64).to_le_bytes());
            let is_turned = name.contains("q_proj") || name.contains("k_proj");
            let values = match is_turned && self.kind.name(true) == "llama" {
                true => adjacent(values),
                false => values.clone(),
            };
            for value in values {
                match is_norm {
                    true => data.extend(value.to_le_bytes()),
                    false => data.extend(f16::from_f32(value).to_le_bytes()),
                }
            }
            data.resize(data.len().next_multiple_of(32), 0);
        }
        head.resize(head.len().next_multiple_of(32), 0);
        [head, data].concat()
    }
}

/// Rows of each head: the first of each half, then the second, and so on.
fn adjacent(values: &[f32]) -> Vec<f32> {
    let heads = values.chunks_exact(DIM * HIDDEN);
    let rows = heads.flat_map(|head| {
        (0..DIM).flat_map(move |row| &head[(row / 2 + row % 2 * DIM / 2) * HIDDEN..][..HIDDEN])
    });
    rows.copied().collect()
}

fn gguf_name(name: &str) -> String {
    let last = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.layers", "blk"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ];
    last.into_iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The metadata.
fn entries(kind: Kind) -> Vec<Vec<u8>> {
    let of = |last: &str| format!("{}.{last}", kind.name(true));
    let entry = |key: &str, kind: u32, value: &[u8]| [&text(key), &kind.to_le_bytes()[..], value].concat();
    let size = |key: &str, value: usize| entry(key, 4, &u32::try_from(value).unwrap().to_le_bytes());
    let string = |key: &str, value: &str| entry(key, 8, &text(value));
    #[allow(clippy::cast_possible_truncation, reason = "rounds to f32")]
    let float = |key: &str, value: f64| entry(key, 6, &(value as f32).to_le_bytes());
    let array = |key: &str, kind: u32, values: Vec<Vec<u8>>| {
        let len = (values.len() as u64).to_le_bytes();
        entry(key, 9, &[&kind.to_le_bytes()[..], &len, &values.concat()].concat())
    };
    let names: Vec<String> = names();
    let kinds = (0..VOCABULARY).map(|id| if id < 256 { 1i32 } else { 3 });
    let mut all = vec![
        string("general.architecture", kind.name(true)),
        size(&of("block_count"), LAYERS),
        size(&of("context_length"), 64),
        size(&of("embedding_length"), HIDDEN),
        size(&of("feed_forward_length"), INTERMEDIATE),
        size(&of("attention.head_count"), HEADS),
        size(&of("attention.head_count_kv"), HEADS_K),
        size(&of("attention.key_length"), DIM),
        float(&of("attention.layer_norm_rms_epsilon"), EPSILON),
        float(&of("rope.freq_base"), THETA),
        string("tokenizer.ggml.model", "gpt2"),
        string("tokenizer.ggml.pre", if kind.name(true) == "llama" { "smollm" } else { "qwen2" }),
        array("tokenizer.ggml.tokens", 8, names.iter().map(|name| text(name)).collect()),
        array("tokenizer.ggml.token_type", 5, kinds.map(|kind| kind.to_le_bytes().to_vec()).collect()),
        array("tokenizer.ggml.merges", 8, vec![]),
        size("tokenizer.ggml.bos_token_id", 256),
        size("tokenizer.ggml.eos_token_id", 257),
        string("tokenizer.chat_template", TEMPLATE),
    ];
    if kind == Kind::Mistral {
        all.push(size(&of("attention.sliding_window"), WINDOW));
    }
    all
}

pub(crate) fn config_of(kind: Kind) -> serde_json::Value {
    let mut config = config();
    config["model_type"] = kind.name(false).into();
    match kind {
        Kind::Llama => {}
        Kind::Mistral => config["sliding_window"] = WINDOW.into(),
        // A size, and that there is none.
        Kind::Qwen2 => {
            config["sliding_window"] = 7.into();
            config["use_sliding_window"] = false.into();
        }
        // As newer files have it.
        Kind::Qwen3 => {
            config["rope_parameters"] = json!({ "rope_theta": THETA, "rope_type": "default" });
            config["layer_types"] = json!(["full_attention", "full_attention"]);
            config["rope_theta"] = serde_json::Value::Null;
        }
    }
    config
}

pub(crate) fn config() -> serde_json::Value {
    json!({
        "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS_K,
        "head_dim": DIM, "max_position_embeddings": 64, "vocab_size": VOCABULARY, "rms_norm_eps": EPSILON,
        "rope_theta": THETA, "rope_scaling": null, "hidden_act": "silu", "bos_token_id": 256,
        "eos_token_id": [257],
    })
}

/// Names of all tokens: each byte as the character that GPT-2 writes it as.
fn names() -> Vec<String> {
    let is_shown = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let mut names: Vec<String> = (0..256)
        .map(|byte| {
            let shown = if is_shown(byte) { byte } else { next };
            next += u32::from(!is_shown(byte));
            char::from_u32(shown).unwrap().to_string()
        })
        .collect();
    names.extend(["<begin>".to_owned(), "<end>".to_owned()]);
    names
}

fn tokenizer() -> serde_json::Value {
    let vocabulary: BTreeMap<String, usize> =
        names().into_iter().enumerate().map(|(i, name)| (name, i)).collect();
    let level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<begin>"), special(257, "<end>")],
        "pre_tokenizer": level, "decoder": level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                   "ignore_merges": false, "vocab": vocabulary, "merges": [] },
    })
}
