//! Text and tokens: tokenizer, chat template, and text that grows token by token.

mod grow;
mod markers;
mod template;
mod tokenizer;

pub use grow::{Growing, Stops};
pub use template::{chat, ChatTemplate, Message};
pub use tokenizer::Tokenizer;
