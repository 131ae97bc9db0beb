//! Requests that are refused, each by name and with what is wanted.

use std::io::Write;
use std::time::Duration;

use fastattention_llama::serve::Options;
use serde_json::{json, Value};

use crate::http::{self, Reply};
use crate::server::{completion, small_engine, Server, CHAT, COMPLETIONS};

/// Status, field and message.
fn refusal(reply: Reply) -> (u16, Value, String) {
    let (status, body) = (reply.status, reply.json());
    let error = &body["error"];
    assert!(error["type"].is_string(), "{body}");
    (status, error["param"].clone(), error["message"].as_str().unwrap().to_owned())
}

#[test]
fn wrong_fields_are_named() {
    let server = Server::start(small_engine(64), Options::default());
    let check = |path: &str, changes: Value, status: u16, param: &str, message: &str| {
        let mut body = match path {
            CHAT => json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hi" }] }),
            _ => completion("hi", 4),
        };
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(refusal(server.post(path, &body)), (status, json!(param), message.into()), "{body}");
    };
    let message = |message: Value| json!({ "messages": [message] });
    for (changes, param, text) in [
        (json!({ "n": 2 }), "n", "n = 2, 1 wanted"),
        (json!({ "presence_penalty": 0.5 }), "presence_penalty", "presence_penalty = 0.5, 0 wanted"),
        (json!({ "temperature": 2.5 }), "temperature", "temperature = 2.5, 0 to 2 wanted"),
        (json!({ "temperature": "hot" }), "temperature", r#"temperature = "hot", 0 to 2 wanted"#),
        (json!({ "top_p": 0 }), "top_p", "top_p = 0, more than 0, at most 1 wanted"),
        (json!({ "seed": 0.5 }), "seed", "seed = 0.5, a whole number of 64 bits wanted"),
        (json!({ "stream": 1 }), "stream", "stream = 1, true or false wanted"),
        (json!({ "stop": "" }), "stop", r#"stop = "", a string of 1 to 1024 bytes wanted"#),
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop", "stop: 5 strings, at most 4 wanted"),
        (json!({ "min_tokens": 4 }), "min_tokens", "min_tokens: there is no such field, none wanted"),
        (json!({ "max_tokens": 0 }), "max_tokens", "max_tokens = 0, 1 to 63 wanted"),
        (json!({ "max_tokens": 64 }), "max_tokens", "max_tokens = 64, 1 to 63 wanted"),
        (
            json!({ "stream_options": {} }),
            "stream_options",
            "stream_options = {}, none without stream wanted",
        ),
        (
            json!({ "stream": true, "stream_options": { "x": 1 } }),
            "stream_options.x",
            "stream_options.x: there is no such field, none wanted",
        ),
    ] {
        check(COMPLETIONS, changes.clone(), 400, param, text);
        check(CHAT, changes, 400, param, text);
    }
    check(COMPLETIONS, json!({ "model": "gpt" }), 404, "model", r#"model = "gpt", "tiny" wanted"#);
    let text = r#"prompt = ["a","b"], one text, or one array of tokens wanted"#;
    check(COMPLETIONS, json!({ "prompt": ["a", "b"] }), 400, "prompt", text);
    check(
        COMPLETIONS,
        json!({ "prompt": [[["a"]]] }),
        400,
        "prompt",
        r#"prompt = [["a"]], one text, or one array of tokens wanted"#,
    );
    check(COMPLETIONS, json!({ "prompt": [300] }), 400, "prompt", "request: token 300, one below 258 wanted");
    check(COMPLETIONS, json!({ "prompt": "" }), 400, "prompt", "prompt: 0 tokens, 1 to 63 wanted");
    check(COMPLETIONS, json!({ "prompt": null }), 400, "prompt", "it is missing");
    let text = "prompt: 64 tokens, 1 to 63 wanted";
    check(COMPLETIONS, json!({ "prompt": "x".repeat(64) }), 400, "prompt", text);
    check(
        COMPLETIONS,
        json!({ "prompt": "x".repeat(50), "max_tokens": 30 }),
        400,
        "max_tokens",
        "max_tokens = 30, 1 to 14 beside a prompt of 50 tokens wanted",
    );
    check(
        COMPLETIONS,
        json!({ "max_completion_tokens": 4 }),
        400,
        "max_completion_tokens",
        "max_completion_tokens: there is no such field, none wanted",
    );
    check(
        CHAT,
        json!({ "max_tokens": 4, "max_completion_tokens": 5 }),
        400,
        "max_tokens",
        "max_tokens = 4, as many as max_completion_tokens = 5 wanted",
    );
    check(
        CHAT,
        json!({ "messages": "hi" }),
        400,
        "messages",
        r#"messages = "hi", an array of messages wanted"#,
    );
    check(
        CHAT,
        message(json!({ "role": "tool", "content": "x" })),
        400,
        "messages[0].role",
        r#"messages[0].role = "tool", "system", "user" or "assistant" wanted"#,
    );
    check(
        CHAT,
        message(json!({ "role": "user", "content": "x", "name": "n" })),
        400,
        "messages[0].name",
        "messages[0].name: there is no such field, none wanted",
    );
    check(
        CHAT,
        message(json!({ "role": "user", "content": [{ "type": "image_url" }] })),
        400,
        "messages[0].content[0].type",
        r#"messages[0].content[0].type = "image_url", "text" wanted"#,
    );
    check(
        CHAT,
        message(json!({ "role": "user", "content": [] })),
        400,
        "messages[0].content",
        "messages[0].content = [], a text, or parts of type text wanted",
    );
    // None of them has left anything behind.
    assert_eq!(server.metric("generated_tokens_total"), 0.0);
    server.wait_until_idle();
}

#[test]
fn what_is_no_request_is_refused() {
    let mut options = Options::default();
    (options.body_bytes, options.read_timeout) = (4096, Duration::from_millis(300));
    let server = Server::start(small_engine(64), options);
    let send = |text: &str| refusal(http::send(server.address, text));
    for broken in
        ["", "{", "[]", "\"x\"", "{\"prompt\": \"\\ud800\"}", &"[".repeat(4000), "nul", "{\"a\":1}x"]
    {
        let (status, _, message) = send(&http::post_text(COMPLETIONS, broken));
        assert_eq!(status, 400, "{broken:?}");
        assert!(message.starts_with("body"), "{message}");
    }
    let large = http::post_text(COMPLETIONS, &" ".repeat(4097));
    assert_eq!(send(&large), (413, Value::Null, "body: at most 4096 bytes wanted".into()));
    // The same in chunks, with no length in front.
    let head = format!("POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n1388\r\n{}\r\n0\r\n\r\n", " ".repeat(5000));
    assert_eq!(send(&chunks).0, 413);
    // Bodies and heads that do not come.
    let slow = format!("{head}content-length: 100\r\n\r\n{{");
    assert_eq!(send(&slow), (408, Value::Null, "body: it took longer than 0.3 s".into()));
    let mut half = http::connect(server.address);
    half.write_all(head.as_bytes()).unwrap();
    assert_eq!(std::io::copy(&mut half, &mut std::io::sink()).map_err(|e| e.kind()).unwrap_or_default(), 0);
    let form = http::post_text(COMPLETIONS, "{}").replace("application/json", "text/plain");
    let (status, _, message) = send(&form);
    assert_eq!((status, &message[..]), (415, r#"content-type = "text/plain", "application/json" wanted"#));
    assert_eq!(refusal(http::get(server.address, "/v1/nothing")).0, 404);
    assert_eq!(refusal(http::get(server.address, CHAT)).0, 405);
    server.wait_for("connections", 1.0);
    assert_eq!(server.post(COMPLETIONS, &completion("hi", 4)).status, 200);
}

#[test]
fn a_full_server_refuses_for_now() {
    let mut options = Options::default();
    options.requests = 2;
    let server = Server::start(small_engine(4096), options);
    let long = crate::server::streamed(completion("long", 4000));
    let mut streams: Vec<Reply> = (0..2).map(|_| server.post(COMPLETIONS, &long)).collect();
    let refused = server.post(COMPLETIONS, &completion("hi", 4));
    assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
    let text = "2 requests are in work or wait, no more are let in: try again";
    assert_eq!(refusal(refused), (429, Value::Null, text.into()));
    // Those that are in go on.
    assert!(streams.iter_mut().all(|stream| stream.event().unwrap().is_some()));
    drop(streams);
    server.wait_until_idle();
    server.wait_for("cancelled_total", 2.0);
    assert_eq!(server.post(COMPLETIONS, &completion("hi", 4)).status, 200);
}
