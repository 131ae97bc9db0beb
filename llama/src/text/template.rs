//! Chats as prompts: the template that a model brings, by the crate `minijinja`.

use std::sync::Arc;

use fastattention::{Error, Result};
use minijinja::{context, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use super::markers::{Marker, Markers};
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

/// Who may speak. A template may make a special token of the name.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// Tokens of a chat, up to where the answer begins. What the messages say never becomes a special token.
///
/// # Errors
/// `Unsupported` without a template, `InvalidArgument` for messages that it refuses.
pub fn chat(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    messages: &[Message],
) -> Result<Vec<u32>> {
    let missing = || Error::new(fastattention::ErrorKind::Unsupported, "chat: this model has no template");
    template.ok_or_else(missing)?.encode(tokenizer, messages)
}

/// How messages become a prompt.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    markers: Arc<Markers>,
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
            markers: Arc::new(tokenizer.markers(source)?),
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

    /// Tokens of the prompt. Special tokens are those that the template has written.
    ///
    /// A template may do to messages what it likes, so they are rendered with a mark that no message has, and
    /// a name with a mark in it is no name. Marks in names alone leave a template the least to stumble over.
    /// Where that gives other special tokens than marks at every place where a part of a name may be, the
    /// template has made one of what the messages say: then the latter stand.
    fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        if let Some(wrong) = messages.iter().find(|message| !ROLES.contains(&message.role.as_str())) {
            let (role, wanted) = (&wrong.role, ROLES.join(", "));
            return Err(Error::invalid(format!("chat: role {role:?}, one of {wanted} wanted")));
        }
        let mark = free_character(messages)?;
        let marked = |with: fn(&Markers, &str, char) -> String| {
            let contents = messages.iter().map(|message| with(&self.markers, &message.content, mark));
            let messages = messages.iter().zip(contents);
            let messages: Vec<_> =
                messages.map(|(message, content)| Message::new(&message.role, content)).collect();
            let prompt = self.render(&messages)?;
            Ok::<_, Error>(without(mark, &prompt, &self.markers.find(&prompt)))
        };
        let (mut prompt, mut at) = marked(Markers::broken)?;
        if messages.iter().any(|message| self.markers.has_parts_in(&message.content)) {
            let (guarded, strict) = marked(Markers::guarded)?;
            if !at.iter().map(|(_, id)| id).eq(strict.iter().map(|(_, id)| id)) {
                (prompt, at) = (guarded, strict);
            }
        }
        tokenizer.encode_marked(&self.markers, &prompt, &at)
    }
}

/// A character that no message has: first of those that Unicode gives to nobody.
fn free_character(messages: &[Message]) -> Result<char> {
    let all = ('\u{fdd0}'..='\u{fdef}').chain('\u{f0000}'..='\u{ffffd}');
    let is_free = |mark: &char| !messages.iter().any(|message| message.content.contains(*mark));
    let most = "chat: messages have all characters for private use, one that they do not have wanted";
    all.into_iter().find(is_free).ok_or_else(|| Error::invalid(most))
}

/// A text without marks, and where its special tokens are then. They have none in them.
fn without(mark: char, text: &str, at: &[Marker]) -> (String, Vec<Marker>) {
    let (mut from, mut before) = (0, 0);
    let moved = |(range, id): &Marker| {
        before += text[from..range.start].matches(mark).count() * mark.len_utf8();
        from = range.start;
        (range.start - before..range.end - before, *id)
    };
    (text.replace(mark, ""), at.iter().map(moved).collect())
}
