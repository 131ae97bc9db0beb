//! Files that are wrong: errors, and nothing else.

use std::fs;
use std::path::Path;

use fastattention::{ErrorKind, Result};
use fastattention_llama::files::{ModelFiles, Part};
use fastattention_llama::text::Message;
use serde_json::{json, Value};

use crate::model::{config, Tiny, TEMPLATE};

/// Reads everything of a model that a file says.
fn read(path: &Path) -> Result<usize> {
    let files = ModelFiles::open(path)?;
    let model = files.model()?;
    let mut elements = 0;
    for layer in 0..model.config.layers.min(4) {
        for part in [Part::AttentionNorm(layer), Part::Query(layer), Part::Key(layer), Part::Down(layer)] {
            elements += model.tensors.load_f16(part, &model.config)?.len();
        }
    }
    elements += model.tensors.load(Part::Embedding, &model.config)?.len();
    elements += model.tokenizer.encode("a 12 <end>")?.len();
    if let Some(template) = &model.chat_template {
        elements += template.render(&[Message::new("user", "hi")])?.len();
    }
    Ok(elements)
}

#[test]
fn a_gguf_file_that_ends_anywhere_is_refused() {
    let (bytes, folder) = (Tiny::random(2).gguf(), tempfile::tempdir().unwrap());
    let path = folder.path().join("tiny.gguf");
    let check = |len: usize| {
        fs::write(&path, &bytes[..len]).unwrap();
        read(&path)
    };
    assert!(check(bytes.len()).is_ok());
    for len in (0..bytes.len() - 40).step_by(97) {
        assert_eq!(check(len).unwrap_err().kind(), ErrorKind::Io, "{len} of {}", bytes.len());
    }
}

#[test]
fn a_gguf_header_may_be_wrong_anywhere() {
    let (bytes, folder) = (Tiny::random(2).gguf(), tempfile::tempdir().unwrap());
    let path = folder.path().join("tiny.gguf");
    let mut rng = fastrand::Rng::with_seed(3);
    let header = 12_000.min(bytes.len());
    for at in (0..header).step_by(7) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << rng.u32(..8);
        if rng.bool() {
            let end = (at + 8).min(wrong.len());
            wrong[at..end].fill(0xff);
        }
        fs::write(&path, &wrong).unwrap();
        let _ = read(&path);
    }
}

#[test]
fn a_safetensors_header_may_be_wrong_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::random(2).write_safetensors(folder.path());
    assert!(read(folder.path()).is_ok());
    let path = folder.path().join("b.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut rng = fastrand::Rng::with_seed(4);
    for at in 0..header {
        let mut wrong = bytes.clone();
        wrong[at] = if at % 2 == 0 { rng.u8(..) } else { b'9' };
        fs::write(&path, &wrong).unwrap();
        let _ = read(folder.path());
    }
    for len in (0..bytes.len()).step_by(501) {
        fs::write(&path, &bytes[..len]).unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::Io, "{len} of {}", bytes.len());
    }
}

/// Every field of `config.json`, gone and with other values.
#[test]
fn a_configuration_may_be_wrong_in_every_field() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::random(2).write_safetensors(folder.path());
    let path = folder.path().join("config.json");
    let values = [
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(7),
        json!(u32::MAX),
        json!(1e300),
        json!("x"),
        json!([]),
        json!(true),
    ];
    let fields: Vec<String> = config().as_object().unwrap().keys().cloned().collect();
    for field in &fields {
        let with = |value: Option<&Value>| {
            let mut wrong = config();
            match value {
                Some(value) => wrong[field] = value.clone(),
                None => drop(wrong.as_object_mut().unwrap().remove(field)),
            }
            fs::write(&path, wrong.to_string()).unwrap();
            let _ = read(folder.path());
        };
        with(None);
        values.iter().for_each(|value| with(Some(value)));
    }
}

#[test]
fn what_is_refused_is_named() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::random(2).write_safetensors(folder.path());
    let place = folder.path().display().to_string();
    let with = |field: &str, value: Value| {
        let mut wrong = config();
        wrong[field] = value;
        fs::write(folder.path().join("config.json"), wrong.to_string()).unwrap();
        read(folder.path()).unwrap_err().to_string().replace(&place, "F")
    };
    assert_eq!(
        with("model_type", json!("x")),
        "F: model family \"x\" is not known; supported: llama, qwen2, qwen3, mistral"
    );
    for (field, value, told) in [
        ("use_sliding_window", json!(true), "true"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "sliding_attention"),
        ("rope_parameters", json!({ "rope_type": "yarn" }), "yarn"),
    ] {
        let said = with(field, value);
        assert!(said.contains(field) && said.contains(told), "{said}");
    }
    assert_eq!(
        with("rope_scaling", json!({ "factor": 8.0 })),
        "F: config.json: rope_scaling = {\"factor\":8.0}; supported: models without it, with hidden_act = silu"
    );
    assert_eq!(
        with("num_key_value_heads", json!(3)),
        "F: num_heads = 4, a multiple of num_heads_k = 3 wanted"
    );
    assert_eq!(with("num_hidden_layers", json!(0)), "F: layers = 0, 1 to 4096 wanted");
    assert_eq!(
        with("vocab_size", json!(257)),
        "F: the tokenizer has 258 tokens, at most vocabulary = 257 wanted"
    );
    assert_eq!(
        with("hidden_size", json!(16)),
        "tensor \"model.layers.0.input_layernorm.weight\" has shape [32], [16] wanted"
    );
    assert_eq!(
        with("num_hidden_layers", json!(3)),
        "there is no tensor \"model.layers.2.input_layernorm.weight\""
    );
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(with("rope_theta", json!(1.0)).starts_with("F: tokenizer.json: "));
    let empty = tempfile::tempdir().unwrap();
    assert!(read(empty.path()).unwrap_err().to_string().ends_with("no file *.safetensors in this folder"));
    assert_eq!(read(&empty.path().join("no.gguf")).unwrap_err().kind(), ErrorKind::Io);
}

/// A template that never ends.
#[test]
fn templates_end() {
    let mut bytes = Tiny::random(2).gguf();
    let at = bytes.windows(TEMPLATE.len()).position(|part| part == TEMPLATE.as_bytes()).unwrap();
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let text = format!("{endless:<0$}", TEMPLATE.len());
    assert_eq!(text.len(), TEMPLATE.len());
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    fs::write(&path, bytes).unwrap();
    let text = read(&path).unwrap_err().to_string();
    assert!(text.starts_with("chat template: "), "{text}");
}
