//! Servers of a small model, in this process, and what they are asked.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastattention::runtime::Device;
use fastattention_llama::engine::{self, Engine, Finish, Request};
use fastattention_llama::files::ModelFiles;
use fastattention_llama::serve::{serve, Options};
use serde_json::{json, Value};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::http;
use crate::model::{config, Tiny};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

/// The model with room for `context` tokens.
pub(crate) fn folder(tiny: &Tiny, context: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny.write_safetensors(folder.path());
    let mut config = config();
    config["max_position_embeddings"] = context.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), crate::model::TEMPLATE).unwrap();
    folder
}

pub(crate) fn engine(folder: &TempDir, device: &Device, options: engine::Options) -> Engine {
    let files = ModelFiles::open(folder.path()).unwrap();
    Engine::new(device, &files.model().unwrap(), options.batch_invariant()).unwrap()
}

/// An engine of 8 slots on the host's cores, with room for `context` tokens.
pub(crate) fn small_engine(context: u32) -> Engine {
    let options = engine::Options::default().with_tokens(context, 4 * context);
    engine(&folder(&Tiny::random(5), context), &Device::open("cpu:0").unwrap(), options)
}

/// What the engine says when it is asked directly.
pub(crate) fn directly(engine: &mut Engine, request: Request) -> (String, Option<Finish>) {
    engine.add(request).unwrap();
    let (mut text, mut finish) = (String::new(), None);
    while engine.has_work() {
        for output in engine.step().unwrap() {
            text.push_str(&output.text);
            finish = output.finish;
        }
    }
    (text, finish)
}

/// A server on a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(engine: Engine, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let thread = std::thread::spawn(move || serve(engine, "tiny", options, listener, until));
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> http::Reply {
        http::post(self.address, path, body)
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = http::get(self.address, "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("fastattention_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for(&self, name: &str, wanted: f64) {
        let started = Instant::now();
        while self.metric(name) != wanted {
            let now = self.metric(name);
            assert!(started.elapsed() < Duration::from_secs(30), "{name} = {now}, {wanted} wanted");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All sequences have ended, and given their pages back.
    pub(crate) fn wait_until_idle(&self) {
        self.wait_for("sequences_running", 0.0);
        self.wait_for("sequences_waiting", 0.0);
        self.wait_for("pages_free", self.metric("pages"));
    }

    /// Tells it to stop, without waiting for it.
    pub(crate) fn tell_to_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for its end.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(ended.is_none_or(|ended| ended.is_ok_and(|served| served.is_ok())));
        }
    }
}

/// A greedy completion of `tokens` tokens.
pub(crate) fn completion(prompt: &str, tokens: u32) -> Value {
    json!({ "model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true })
}

/// The same as a stream.
pub(crate) fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

/// The text of a stream of completions, how it ends, and what comes instead of `[DONE]`.
pub(crate) fn text_of(events: &[String]) -> (String, Option<String>, Option<Value>) {
    let (mut text, mut finish) = (String::new(), None);
    for event in events {
        if event == "[DONE]" {
            return (text, finish, None);
        }
        let event: Value = serde_json::from_str(event).unwrap();
        if !event["error"].is_null() {
            return (text, finish, Some(event));
        }
        let Some(choice) = event["choices"].get(0) else { continue };
        let piece = choice["text"].as_str().or(choice["delta"]["content"].as_str());
        text.push_str(piece.unwrap_or_default());
        finish = choice["finish_reason"].as_str().map(str::to_owned).or(finish);
    }
    panic!("the stream ends without an end: {events:?}");
}
