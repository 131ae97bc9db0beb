//! Errors as OpenAI's clients know them.

use axum::http::header::RETRY_AFTER;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{json, Value};

/// Characters of a wrong value that its error repeats.
const SHOWN: usize = 60;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    message: String,
    /// The field of the request that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A field that is not as it should be.
    pub(super) fn field(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// A field whose value is none that is wanted.
    pub(super) fn value(param: &str, given: &Value, wanted: &str) -> Self {
        let given = given.to_string();
        let shown: String = given.chars().take(SHOWN).collect();
        let rest = if shown.len() < given.len() { ".." } else { "" };
        Self::field(param, format!("{param} = {shown}{rest}, {wanted} wanted"))
    }

    /// All places are taken.
    pub(super) fn busy(places: u32) -> Self {
        let message = format!("{places} requests are in work or wait, no more are let in: try again");
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("queue_full")
    }

    /// The server is about to end.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down").with_code("shutting_down")
    }

    /// The device or the engine has failed.
    pub(super) fn broken(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message).with_code("engine_failed")
    }

    /// The object that tells it.
    pub(super) fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        } })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = super::answer::json(self.status, &self.body());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        response
    }
}
