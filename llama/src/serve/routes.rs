//! Which path does what.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{to_bytes, Bytes, HttpBody};
use axum::extract::{Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::Router;
use http_body_util::LengthLimitError;
use serde_json::json;
use tokio::sync::mpsc;

use super::answer::{self, Answer, Head, Kind};
use super::problem::Problem;
use super::request::Asked;
use super::worker::{Job, Reader};
use super::{now, Options, State};

pub(super) fn router(state: Arc<State>) -> Router {
    let answered = |kind| {
        move |Shared(state): Shared<Arc<State>>, request: Request| async move {
            let path = match kind {
                Kind::Chat => "/v1/chat/completions",
                Kind::Completion => "/v1/completions",
            };
            let response = answer(&state, kind, request).await.unwrap_or_else(IntoResponse::into_response);
            state.metrics.answered(path, response.status());
            response
        }
    };
    Router::new()
        .route("/v1/chat/completions", post(answered(Kind::Chat)))
        .route("/v1/completions", post(answered(Kind::Completion)))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(|uri: Uri| async move {
            Problem::new(StatusCode::NOT_FOUND, format!("{}: there is no such path", uri.path()))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let message = format!("{}: {method} is not what it takes", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .with_state(state)
}

async fn models(Shared(state): Shared<Arc<State>>) -> Response {
    let model = json!({
        "id": state.name, "object": "model", "created": state.created, "owned_by": "fastattention",
    });
    answer::json(StatusCode::OK, &json!({ "object": "list", "data": [model] }))
}

async fn health(Shared(state): Shared<Arc<State>>) -> Response {
    match state.phases.problem() {
        None => answer::json(StatusCode::OK, &json!({ "status": "ok" })),
        Some(problem) => problem.with_status(StatusCode::SERVICE_UNAVAILABLE).into_response(),
    }
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.text()).into_response()
}

async fn answer(state: &Arc<State>, kind: Kind, request: Request) -> Result<Response, Problem> {
    let since = Instant::now();
    if let Some(problem) = state.phases.problem() {
        return Err(problem);
    }
    let busy = || Problem::busy(state.options.requests);
    let place = Arc::new(state.places.clone().try_acquire_owned().map_err(|_| busy())?);
    let body = body(request, &state.options).await?;
    let asked = {
        let (state, place) = (state.clone(), place.clone());
        tokio::task::spawn_blocking(move || {
            // Work on what nobody waits for any more takes a place, too.
            let _place = place;
            Asked::read(kind, &body, &state)
        })
    };
    let asked = asked.await.map_err(|_| Problem::broken("the prompt could not be read"))??;
    let (events, receiver) = mpsc::channel(asked.request.max_new_tokens + 1);
    let head = Head {
        kind,
        id: state.next_id.fetch_add(1, Ordering::Relaxed),
        created: now(),
        model: state.name.clone(),
        prompt_tokens: asked.request.prompt.len(),
    };
    let reader = Reader { events, since, is_begun: false, _place: place.clone() };
    let ended = || state.phases.problem().unwrap_or_else(|| Problem::broken("the engine has ended"));
    state.jobs.send(Job { request: asked.request, reader }).map_err(|_| ended())?;
    let phases = state.phases.clone();
    let answer = Answer { head, events: receiver, phases, tokens: 0, _place: place };
    match asked.stream {
        None => answer.whole().await,
        Some(streamed) => answer.stream(streamed.with_usage).await,
    }
}

/// The body of a request: JSON that says so. (A page of another site can make a browser send other types
/// unasked.)
async fn body(request: Request, options: &Options) -> Result<Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.to_ascii_lowercase().starts_with(b"application/json") {
        let given = String::from_utf8_lossy(&kind[..kind.len().min(60)]).into_owned();
        let message = format!("content-type = {given:?}, \"application/json\" wanted");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let most = options.body_bytes;
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("body: at most {most} bytes wanted"));
    let body = request.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(options.read_timeout, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) => match e.into_inner().is::<LengthLimitError>() {
            true => Err(too_large()),
            false => Err(Problem::new(StatusCode::BAD_REQUEST, "body: it ends early")),
        },
        Err(_) => {
            let seconds = options.read_timeout.as_secs_f32();
            let message = format!("body: it took longer than {seconds} s");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}
