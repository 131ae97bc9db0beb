//! What is answered: the objects of OpenAI's interface, whole or as events that a stream brings.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::http::StatusCode;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{json, Value};
use tokio::sync::{mpsc, OwnedSemaphorePermit};

use super::problem::Problem;
use super::worker::{Event, Phases};
use crate::engine::Finish;

/// A response of this JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Which of the two interfaces is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// What all objects of an answer have.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) prompt_tokens: usize,
}

/// An answer as it comes from the engine.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) phases: Phases,
    /// Tokens so far.
    pub(super) tokens: usize,
    /// Held as long as anybody reads.
    pub(super) _place: Arc<OwnedSemaphorePermit>,
}

impl Answer {
    /// The next piece of the text, and how it ends.
    async fn next(&mut self) -> Result<(String, Option<Finish>), Problem> {
        let event = tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.phases.cut() => return Err(Problem::stopping()),
        };
        match event {
            Some(Event::Token(_, Some(Finish::NoNumbers))) => {
                Err(Problem::broken("logits are no numbers: those of the model have left their range"))
            }
            Some(Event::Token(text, finish)) => {
                self.tokens += 1;
                Ok((text, finish))
            }
            Some(Event::Refused(why)) => Err(Problem::field(self.head.kind.prompt(), why)),
            None => Err(self.phases.problem().unwrap_or_else(|| Problem::broken("the engine has ended"))),
        }
    }

    /// The whole answer.
    pub(super) async fn whole(mut self) -> Result<Response, Problem> {
        let mut all = String::new();
        loop {
            let (text, finish) = self.next().await?;
            all.push_str(&text);
            if let Some(finish) = finish {
                let mut object = self.head.object(self.head.kind.whole(&all, finish), false);
                object["usage"] = self.usage();
                return Ok(json(StatusCode::OK, &object));
            }
        }
    }

    /// The answer as a stream, as soon as its first token is there: until then it may fail.
    pub(super) async fn stream(mut self, with_usage: bool) -> Result<Response, Problem> {
        let first = self.next().await;
        let mut pieces = Pieces { answer: self, with_usage, ready: VecDeque::new(), is_over: false };
        if pieces.answer.head.kind == Kind::Chat {
            pieces.chunk(json!({ "delta": { "role": "assistant", "content": "" } }), None);
        }
        pieces.take(Ok(first?));
        Ok(Sse::new(stream::unfold(pieces, Pieces::next)).into_response())
    }

    fn usage(&self) -> Value {
        let (prompt, answer) = (self.head.prompt_tokens, self.tokens);
        json!({ "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer })
    }
}

/// A stream, with the events that are to be sent next.
#[derive(Debug)]
struct Pieces {
    answer: Answer,
    with_usage: bool,
    ready: VecDeque<String>,
    is_over: bool,
}

impl Pieces {
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some((Ok(sse::Event::default().data(data)), self));
            }
            if self.is_over {
                return None;
            }
            let next = self.answer.next().await;
            self.take(next);
        }
    }

    /// A chunk with one choice.
    fn chunk(&mut self, mut choice: Value, finish: Option<Finish>) {
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = finish.map(reason).into();
        let mut object = self.answer.head.object(choice, true);
        if self.with_usage {
            object["usage"] = Value::Null;
        }
        self.ready.push_back(object.to_string());
    }

    /// Turns what came into events. Nothing is sent for tokens whose text is held back.
    fn take(&mut self, next: Result<(String, Option<Finish>), Problem>) {
        let (text, finish) = match next {
            Ok(next) => next,
            Err(problem) => {
                self.ready.push_back(problem.body().to_string());
                self.is_over = true;
                return;
            }
        };
        let kind = self.answer.head.kind;
        if !text.is_empty() {
            self.chunk(kind.piece(&text), None);
        }
        if finish.is_none() {
            return;
        }
        self.chunk(kind.last_piece(), finish);
        if self.with_usage {
            let mut object = self.answer.head.object(Value::Null, true);
            object["choices"] = json!([]);
            object["usage"] = self.answer.usage();
            self.ready.push_back(object.to_string());
        }
        self.ready.push_back("[DONE]".into());
        self.is_over = true;
    }
}

impl Head {
    fn object(&self, choice: Value, is_chunk: bool) -> Value {
        let (prefix, object) = match (self.kind, is_chunk) {
            (Kind::Chat, false) => ("chatcmpl", "chat.completion"),
            (Kind::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Kind::Completion, _) => ("cmpl", "text_completion"),
        };
        json!({
            "id": format!("{prefix}-{}-{}", self.created, self.id), "object": object,
            "created": self.created, "model": self.model, "choices": [choice],
        })
    }
}

impl Kind {
    /// The field with the prompt.
    pub(super) fn prompt(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion => "prompt",
        }
    }

    fn whole(self, text: &str, finish: Finish) -> Value {
        let mut choice = json!({ "index": 0, "logprobs": null, "finish_reason": reason(finish) });
        match self {
            Self::Chat => {
                choice["message"] = json!({ "role": "assistant", "content": text, "refusal": null });
            }
            Self::Completion => choice["text"] = text.into(),
        }
        choice
    }

    fn piece(self, text: &str) -> Value {
        match self {
            Self::Chat => json!({ "delta": { "content": text } }),
            Self::Completion => json!({ "text": text }),
        }
    }

    fn last_piece(self) -> Value {
        match self {
            Self::Chat => json!({ "delta": {} }),
            Self::Completion => self.piece(""),
        }
    }
}

/// As OpenAI's interface calls it.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        // Numbers that have left their range are an error (`Answer::next`).
        Finish::Stop | Finish::NoNumbers => "stop",
    }
}
