//! What llama.cpp says.

use std::sync::OnceLock;

use fastattention_llama::text::Message;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) texts: Vec<Text>,
    pub(crate) loss: Loss,
}

/// A prompt with its tokens: a text, or a chat.
#[derive(Deserialize)]
pub(crate) struct Prompt {
    pub(crate) name: String,
    pub(crate) text: Option<String>,
    pub(crate) messages: Option<Vec<Message>>,
    pub(crate) ids: Vec<u32>,
    /// Of weights widened to f32.
    pub(crate) f32: Greedy,
}

/// Greedy tokens; of each the one that came second, and by how much its logit was less.
#[derive(Deserialize)]
pub(crate) struct Greedy {
    pub(crate) tokens: Vec<u32>,
    pub(crate) second: Vec<u32>,
    pub(crate) margin: Vec<f32>,
}

#[derive(Deserialize)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
}

#[derive(Deserialize)]
pub(crate) struct Loss {
    pub(crate) ids: Vec<u32>,
    /// The negative logarithm of the probability of each token but the first.
    pub(crate) of_token: Vec<f64>,
}

pub(crate) fn expected() -> &'static Expected {
    static EXPECTED: OnceLock<Expected> = OnceLock::new();
    EXPECTED.get_or_init(|| serde_json::from_str(include_str!("../data/smollm2.json")).unwrap())
}
