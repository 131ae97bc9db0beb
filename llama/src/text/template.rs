//! Chats as prompts: the template that a model brings, by the crate `minijinja`.

use fastattention::{Error, Result};
use minijinja::{context, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use super::Tokenizer;
use crate::files::wrong;

/// Instructions that a template may take, so that none runs for ever.
const FUEL: u64 = 1_000_000;

/// The longest prompt that a template may make, in bytes.
const MAX_PROMPT: usize = 1 << 24;

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Tokens of a chat, up to where the answer begins.
///
/// # Errors
/// `Unsupported` without a template, `InvalidArgument` for messages that it refuses.
pub fn chat(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    messages: &[Message],
) -> Result<Vec<u32>> {
    let missing = || Error::new(fastattention::ErrorKind::Unsupported, "chat: this model has no template");
    tokenizer.encode(&template.ok_or_else(missing)?.render(messages)?)
}

/// How messages become a prompt.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// The template in its environment.
const NAME: &str = "chat";

impl ChatTemplate {
    /// Of a template in the language Jinja, as the library transformers understands it.
    pub(crate) fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        // Templates are written for Python: they call methods of its strings and lists.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| wrong(format!("chat template: {e:#}")))?;
        let name = |token: Option<String>| token.unwrap_or_default();
        Ok(Self {
            environment,
            bos_token: name(tokenizer.begin_name()),
            eos_token: name(tokenizer.end_name()),
        })
    }

    /// The prompt that asks for an answer to these messages.
    ///
    /// # Errors
    /// `InvalidArgument` for messages that the template refuses, or that make it take too long.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let failed = |e: minijinja::Error| Error::invalid(format!("chat template: {e:#}"));
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let (bos_token, eos_token) = (&self.bos_token, &self.eos_token);
        let prompt = template
            .render(context! { messages, bos_token, eos_token, add_generation_prompt => true })
            .map_err(failed)?;
        if prompt.len() > MAX_PROMPT {
            let len = prompt.len();
            return Err(Error::invalid(format!(
                "chat template: a prompt of {len} bytes, at most {MAX_PROMPT} wanted"
            )));
        }
        Ok(prompt)
    }
}
