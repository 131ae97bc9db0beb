//! What a request asks for. Nothing that is accepted is ignored, but for the fields that `fields` lists.

use axum::http::StatusCode;
use serde_json::Value;

use super::answer::Kind;
use super::fields::Fields;
use super::problem::Problem;
use super::State;
use crate::engine::{Ends, Request};
use crate::sampling::Sampling;
use crate::text::{self, Message};

/// Most stop strings, as in OpenAI's interface, and bytes of one.
const STOPS: usize = 4;
const STOP_BYTES: usize = 1024;

/// Tokens of a completion that does not say how many, as in OpenAI's interface.
const COMPLETION_TOKENS: usize = 16;

/// A request that was understood.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) stream: Option<Streamed>,
}

/// Wanted as a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed {
    pub(super) with_usage: bool,
}

impl Asked {
    /// Reads a body, and makes tokens of its prompt.
    pub(super) fn read(kind: Kind, body: &[u8], state: &State) -> Result<Self, Problem> {
        let not_json = |e| Problem::new(StatusCode::BAD_REQUEST, format!("body: {e}, JSON wanted"));
        let mut fields = Fields::new(serde_json::from_slice(body).map_err(not_json)?, "")?;
        check_model(&mut fields, &state.name)?;
        fields.skip_neutral()?;
        let stream = stream(&mut fields)?;
        let (sampling, stops) = (sampling(&mut fields)?, stops(&mut fields)?);
        let ends = if fields.flag("ignore_eos")? { Ends::Never } else { Ends::OfModel };
        let tokens = answer_tokens(kind, &mut fields, state)?;
        let given = fields.take(kind.prompt());
        fields.finish()?;
        let given = given.ok_or_else(|| Problem::field(kind.prompt(), "it is missing"))?;
        let prompt = match kind {
            Kind::Chat => {
                let failed = |e: crate::Error| Problem::field("messages", e.to_string());
                let template = state.chat_template.as_ref();
                text::chat(&state.tokenizer, template, &messages(given)?).map_err(failed)?
            }
            Kind::Completion => completion_prompt(given, state)?,
        };
        let most = most_tokens(kind, &prompt, tokens, state)?;
        let request = Request::new(prompt, most).with_sampling(sampling).with_stops(stops).with_ends(ends);
        Ok(Self { request, stream })
    }
}

fn check_model(fields: &mut Fields, name: &str) -> Result<(), Problem> {
    match fields.text("model")? {
        Some(model) if model != name => {
            let wrong = Problem::value("model", &model.into(), &format!("{name:?}"));
            Err(wrong.with_status(StatusCode::NOT_FOUND).with_code("model_not_found"))
        }
        _ => Ok(()),
    }
}

fn stream(fields: &mut Fields) -> Result<Option<Streamed>, Problem> {
    let is_stream = fields.flag("stream")?;
    let Some(options) = fields.take("stream_options") else {
        return Ok(is_stream.then_some(Streamed { with_usage: false }));
    };
    if !is_stream {
        return Err(Problem::value("stream_options", &options, "none without stream"));
    }
    let mut options = Fields::new(options, "stream_options")?;
    let with_usage = options.flag("include_usage")?;
    options.finish()?;
    Ok(Some(Streamed { with_usage }))
}

fn sampling(fields: &mut Fields) -> Result<Sampling, Problem> {
    let mut sampling = Sampling::default();
    let temperature = fields.number("temperature", |x| (0.0..=2.0).contains(&x), "0 to 2")?;
    // What the interface says where it is not given.
    sampling.temperature = temperature.unwrap_or(1.0);
    let above_0 = "more than 0, at most 1";
    if let Some(top_p) = fields.number("top_p", |x| x > 0.0 && x <= 1.0, above_0)? {
        sampling.top_p = top_p;
    }
    if let Some(min_p) = fields.number("min_p", |x| (0.0..=1.0).contains(&x), "0 to 1")? {
        sampling.min_p = min_p;
    }
    let (is_penalty, wanted) = (|x: f32| x > 0.0 && x <= 100.0, "more than 0, at most 100");
    if let Some(penalty) = fields.number("repetition_penalty", is_penalty, wanted)? {
        sampling.repetition_penalty = penalty;
    }
    if let Some(top_k) = fields.whole("top_k", 0..=u32::MAX.into())? {
        sampling.top_k = u32::try_from(top_k).unwrap_or(u32::MAX);
    }
    sampling.seed = match fields.take("seed") {
        None => fastrand::u64(..),
        Some(seed) => seed
            .as_u64()
            .or_else(|| seed.as_i64().map(i64::cast_unsigned))
            .ok_or_else(|| Problem::value("seed", &seed, "a whole number of 64 bits"))?,
    };
    Ok(sampling)
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, Problem> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(stops)) => stops,
        Some(one) => vec![one],
    };
    if stops.len() > STOPS {
        let message = format!("stop: {} strings, at most {STOPS} wanted", stops.len());
        return Err(Problem::field("stop", message));
    }
    let text = |stop| match stop {
        Value::String(text) if (1..=STOP_BYTES).contains(&text.len()) => Ok(text),
        other => Err(Problem::value("stop", &other, &format!("a string of 1 to {STOP_BYTES} bytes"))),
    };
    stops.into_iter().map(text).collect()
}

/// How many tokens are asked for, and the field that says so.
fn answer_tokens(
    kind: Kind,
    fields: &mut Fields,
    state: &State,
) -> Result<Option<(&'static str, usize)>, Problem> {
    let names: &[_] = match kind {
        Kind::Chat => &["max_completion_tokens", "max_tokens"],
        Kind::Completion => &["max_tokens"],
    };
    let most = most_of_answer(state) as u64;
    let mut asked: Option<(&str, usize)> = None;
    for name in names {
        let Some(count) = fields.whole(name, 1..=most)? else { continue };
        // `most` is a usize.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if let Some((other, first)) = asked.filter(|(_, first)| *first != count) {
            let wanted = format!("as many as {other} = {first}");
            return Err(Problem::value(name, &count.into(), &wanted));
        }
        asked = Some((name, count));
    }
    Ok(asked)
}

/// Whatever the prompt is.
fn most_of_answer(state: &State) -> usize {
    let room = state.room.saturating_sub(1);
    match state.options.answer_tokens {
        0 => room,
        most => most.min(room),
    }
}

/// Most tokens of the answer to this prompt.
fn most_tokens(
    kind: Kind,
    prompt: &[u32],
    asked: Option<(&str, usize)>,
    state: &State,
) -> Result<usize, Problem> {
    let (tokens, room) = (prompt.len(), state.room);
    if tokens == 0 || tokens >= room {
        let most = room.saturating_sub(1);
        let name = kind.prompt();
        let wrong = Problem::field(name, format!("{name}: {tokens} tokens, 1 to {most} wanted"));
        return Err(wrong.with_code("context_length_exceeded"));
    }
    let left = most_of_answer(state).min(room - tokens);
    match asked {
        None if kind == Kind::Completion => Ok(left.min(COMPLETION_TOKENS)),
        None => Ok(left),
        Some((_, count)) if count <= left => Ok(count),
        Some((name, count)) => {
            let wanted = format!("1 to {left} beside a prompt of {tokens} tokens");
            Err(Problem::value(name, &count.into(), &wanted).with_code("context_length_exceeded"))
        }
    }
}

/// The messages of a chat.
fn messages(given: Value) -> Result<Vec<Message>, Problem> {
    let Value::Array(given) = given else {
        return Err(Problem::value("messages", &given, "an array of messages"));
    };
    let message = |(at, message)| {
        let mut fields = Fields::new(message, &format!("messages[{at}]"))?;
        let role = fields.text("role")?.unwrap_or_default();
        if !["system", "user", "assistant"].contains(&role.as_str()) {
            let wanted = r#""system", "user" or "assistant""#;
            return Err(Problem::value(&fields.full_name("role"), &role.into(), wanted));
        }
        let name = fields.full_name("content");
        let content = match fields.take("content") {
            Some(Value::String(text)) => text,
            Some(Value::Array(parts)) if !parts.is_empty() => {
                let parts = parts.into_iter().enumerate();
                let texts = parts.map(|(at, part)| text_part(part, &format!("{name}[{at}]")));
                // As other engines join them: templates that take a text have no rule for it.
                texts.collect::<Result<Vec<_>, _>>()?.join("\n")
            }
            other => return Err(Problem::value(&name, &other.into(), "a text, or parts of type text")),
        };
        fields.finish()?;
        Ok(Message::new(role, content))
    };
    given.into_iter().enumerate().map(message).collect()
}

/// A part of a message.
fn text_part(part: Value, name: &str) -> Result<String, Problem> {
    let mut part = Fields::new(part, name)?;
    let kind = part.text("type")?.unwrap_or_default();
    if kind != "text" {
        return Err(Problem::value(&part.full_name("type"), &kind.into(), r#""text""#));
    }
    let text =
        part.text("text")?.ok_or_else(|| Problem::field(name, format!("{name}.text: it is missing")))?;
    part.finish()?;
    Ok(text)
}

/// One prompt: a text or tokens, which may stand in an array of one.
fn completion_prompt(given: Value, state: &State) -> Result<Vec<u32>, Problem> {
    let failed = |e: crate::Error| Problem::field("prompt", e.to_string());
    let token = |token: &Value| token.as_u64().and_then(|token| u32::try_from(token).ok());
    let wrong = |given: &Value| Problem::value("prompt", given, "one text, or one array of tokens");
    match given {
        Value::String(text) => state.tokenizer.encode(&text).map_err(failed),
        Value::Array(mut prompts) if matches!(prompts[..], [Value::String(_) | Value::Array(_)]) => {
            match prompts.remove(0) {
                Value::Array(of_one) if of_one.iter().any(|token| !token.is_u64()) => {
                    Err(wrong(&of_one.into()))
                }
                one => completion_prompt(one, state),
            }
        }
        Value::Array(tokens) => {
            let read: Option<Vec<u32>> = tokens.iter().map(token).collect();
            read.ok_or_else(|| wrong(&tokens.into()))
        }
        other => Err(wrong(&other)),
    }
}
