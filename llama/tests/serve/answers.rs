//! What is answered: streams, whole answers and the engine say the same, whoever else asks.

use std::io::Write;
use std::thread;

use fastattention_llama::engine::{Ends, Finish, Request};
use fastattention_llama::serve::Options;
use fastattention_llama::text::Message;
use serde_json::{json, Value};

use crate::http;
use crate::server::{completion, directly, small_engine, streamed, text_of, Server, CHAT, COMPLETIONS};

#[test]
fn a_chat_is_what_the_engine_says() {
    let mut engine = small_engine(64);
    let messages = [Message::new("system", "be"), Message::new("user", "hello there")];
    let prompt = engine.chat(&messages).unwrap();
    let request = Request::new(prompt.clone(), 20).with_ends(Ends::Never);
    let (wanted, finish) = directly(&mut engine, request);
    assert_eq!(finish, Some(Finish::Length));
    let server = Server::start(engine, Options::default());
    let body = json!({ "model": "tiny", "messages": messages, "max_completion_tokens": 20, "temperature": 0,
                       "ignore_eos": true });
    let usage = json!({ "prompt_tokens": prompt.len(), "completion_tokens": 20,
                        "total_tokens": prompt.len() + 20 });
    let whole = server.post(CHAT, &body);
    assert_eq!(whole.status, 200);
    let whole = whole.json();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["content"], wanted);
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!((&whole["usage"], &whole["model"]), (&usage, &json!("tiny")));

    let mut body = streamed(body);
    body["stream_options"] = json!({ "include_usage": true });
    let stream = server.post(CHAT, &body);
    assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
    let events = stream.events();
    assert_eq!(text_of(&events), (wanted, Some("length".into()), None));
    assert_eq!(events.last().unwrap(), "[DONE]");
    let objects: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, rest) = objects.split_last().unwrap();
    assert_eq!((&last["usage"], &last["choices"]), (&usage, &json!([])));
    assert_eq!(rest[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(rest.iter().all(|object| object["usage"].is_null() && object["choices"][0]["index"] == 0));
    assert!(objects.iter().all(|object| object["id"] == objects[0]["id"]));
    server.wait_until_idle();
}

/// Messages in parts, and messages with the name of a token that ends texts: one token in a prompt, text in a
/// message.
#[test]
fn messages_are_text_whatever_they_name_and_however_they_are_cut() {
    let server = Server::start(small_engine(64), Options::default());
    let chat = |content: Value| {
        let messages = json!([{ "role": "user", "content": content }]);
        let body = json!({ "messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": true });
        let answer = server.post(CHAT, &body).json();
        (answer["usage"]["prompt_tokens"].clone(), answer["choices"][0]["message"]["content"].clone())
    };
    let part = |text: &str| json!({ "type": "text", "text": text });
    // A begin, then one token a byte.
    let joined = chat(json!([part("ab"), part(""), part("<end>")]));
    assert_eq!((joined.0.clone(), joined), (json!(1 + 9), chat(json!("ab\n\n<end>"))));
    assert_eq!(chat(json!([part("<en"), part("d>")])).0, 1 + 6);
    let mut body = completion("ab<end>", 1);
    assert_eq!(server.post(COMPLETIONS, &body).json()["usage"]["prompt_tokens"], 3);
    body["prompt"] = "ab<end".into();
    assert_eq!(server.post(COMPLETIONS, &body).json()["usage"]["prompt_tokens"], 6);
    server.wait_until_idle();
}

#[test]
fn completions_seeds_and_stop_strings_are_what_the_engine_says() {
    let mut engine = small_engine(128);
    let tokens = engine.tokenizer().encode("once upon").unwrap();
    let request = Request::new(tokens.clone(), 40).with_ends(Ends::Never);
    let (wanted, _) = directly(&mut engine, request.clone());
    let stop: String = wanted.chars().skip(9).take(2).collect();
    let short = directly(&mut engine, request.with_stops(vec![stop.clone()]));
    assert_eq!(short.1, Some(Finish::Stop));
    let server = Server::start(engine, Options::default());
    let ask = |body: &Value| {
        let whole = server.post(COMPLETIONS, body).json();
        let events = server.post(COMPLETIONS, &streamed(body.clone())).events();
        let (text, finish, problem) = text_of(&events);
        assert_eq!(
            (&json!(text), &json!(finish), problem),
            (&whole["choices"][0]["text"], &whole["choices"][0]["finish_reason"], None),
            "{whole}"
        );
        (text, finish.unwrap())
    };
    let body = completion("once upon", 40);
    assert_eq!(ask(&body), (wanted.clone(), "length".into()));
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    assert_eq!(ask(&with("prompt", json!(tokens))).0, wanted);
    assert_eq!(ask(&with("prompt", json!([tokens]))).0, wanted);
    assert_eq!(ask(&with("stop", json!(stop))), (short.0.clone(), "stop".into()));
    assert_eq!(ask(&with("stop", json!(["never there", stop]))), (short.0, "stop".into()));
    // 16 tokens where nothing else is said.
    let usage = server.post(COMPLETIONS, &with("max_tokens", Value::Null)).json()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 16);
    // A seed repeats its draws; others draw other tokens.
    let mut drawn = body.clone();
    (drawn["temperature"], drawn["seed"]) = (1.into(), 7.into());
    let first = ask(&drawn);
    drawn["seed"] = (-7).into();
    assert_ne!(ask(&drawn), first);
    assert_ne!(first.0, wanted);
}

/// 64 clients at once, half of them streaming, beside others that leave in the middle.
#[test]
fn each_of_64_clients_gets_its_own_answer() {
    let mut engine = small_engine(128);
    let prompts: Vec<String> = (0..64).map(|i| format!("{} client {i}", "ab".repeat(i % 7))).collect();
    let wanted: Vec<String> = prompts
        .iter()
        .map(|prompt| {
            let tokens = engine.tokenizer().encode(prompt).unwrap();
            directly(&mut engine, Request::new(tokens, 24).with_ends(Ends::Never)).0
        })
        .collect();
    let mut options = Options::default();
    options.requests = 96;
    let server = Server::start(engine, options);
    thread::scope(|scope| {
        for (at, (prompt, wanted)) in prompts.iter().zip(&wanted).enumerate() {
            let server = &server;
            scope.spawn(move || {
                let body = completion(prompt, 24);
                let text = match at % 2 {
                    0 => {
                        server.post(COMPLETIONS, &body).json()["choices"][0]["text"].as_str().unwrap().into()
                    }
                    _ => text_of(&server.post(COMPLETIONS, &streamed(body)).events()).0,
                };
                assert_eq!(&text, wanted, "client {at}");
            });
        }
        for at in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let body = completion(&format!("I leave {at}"), 100);
                if at % 2 == 0 {
                    let mut stream = server.post(COMPLETIONS, &streamed(body));
                    stream.event().unwrap();
                } else {
                    let mut connection = http::connect(server.address);
                    let request = http::post_text(COMPLETIONS, &body.to_string());
                    connection.write_all(request.as_bytes()).unwrap();
                }
            });
        }
    });
    server.wait_until_idle();
    server.wait_for("connections", 1.0);
    assert!(server.metric("cancelled_total") > 0.0);
    let text = http::get(server.address, "/metrics").text();
    let line = r#"fastattention_requests_total{path="/v1/completions",status="200"} "#;
    let answered = text.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    assert!((64..=80).contains(&answered.parse::<u32>().unwrap()), "{answered}");
}

#[test]
fn the_model_and_the_health_are_told() {
    let server = Server::start(small_engine(64), Options::default());
    let models = http::get(server.address, "/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("tiny")));
    let health = http::get(server.address, "/health");
    assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));
    assert_eq!(server.metric("pages"), 16.0);
}
