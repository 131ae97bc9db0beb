//! How a server ends, and what breaks it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastattention::cpu;
use fastattention::runtime::{Buffer, Device};
use fastattention_llama::engine::{self, Ends, Finish, Request};
use fastattention_llama::serve::Options;
use rustix::process::{kill_process, Pid, Signal};
use serde_json::json;

use crate::http;
use crate::model::{Tiny, DIM, HEADS, HIDDEN, INTERMEDIATE, LAYERS};
use crate::server::{
    completion, directly, engine, folder, small_engine, streamed, text_of, Server, COMPLETIONS,
};

/// `fastattention-llama serve`, killed where a test fails.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start(model: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastattention-llama"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--model"]).arg(model).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").and_then(|a| a.trim_end().parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("{line:?}")) }
    }

    pub(crate) fn stop(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: it has said nothing, and it has not failed.
    pub(crate) fn join(mut self) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() && said.is_empty(), "{status}: {said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}

/// Answers end within the grace; what takes longer ends with an error that says why.
#[test]
fn sigterm_lets_answers_end_or_cuts_them() {
    let mut direct = small_engine(8192);
    let tokens = direct.tokenizer().encode("short").unwrap();
    let (wanted, _) = directly(&mut direct, Request::new(tokens, 50).with_ends(Ends::Never));
    drop(direct);
    let model = folder(&Tiny::random(5), 8192);
    let arguments = ["--grace", "1", "--max-tokens", "8192", "--name", "tiny", "--batch-invariant"];
    for signal in [Signal::TERM, Signal::INT] {
        let server = Process::start(model.path(), &arguments);
        let ask =
            |prompt, tokens| http::post(server.address, COMPLETIONS, &streamed(completion(prompt, tokens)));
        let (mut short, mut long) = (ask("short", 50), ask("long", 8000));
        let mut events = vec![short.event().unwrap().unwrap()];
        long.event().unwrap();
        server.stop(signal);
        events.extend(short.events());
        assert_eq!(text_of(&events), (wanted.clone(), Some("length".into()), None));
        let (_, finish, problem) = text_of(&long.events());
        assert_eq!(finish, None);
        assert_eq!(problem.unwrap()["error"]["code"], "shutting_down");
        server.join();
    }
}

/// Connections that are open are told, new ones are refused.
#[test]
fn a_server_that_stops_takes_nothing_new() {
    let mut options = Options::default();
    options.grace = Duration::from_millis(500);
    let mut server = Server::start(small_engine(8192), options);
    let mut stream = server.post(COMPLETIONS, &streamed(completion("long", 8000)));
    let first = stream.event().unwrap();
    server.tell_to_stop();
    while std::net::TcpStream::connect(server.address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let events: Vec<String> = first.into_iter().chain(stream.events()).collect();
    assert_eq!(text_of(&events).2.unwrap()["error"]["code"], "shutting_down");
    server.join();
}

/// The device has no memory left when the engine asks for more.
#[test]
fn a_device_that_fails_is_told() {
    let mut config = cpu::Config::new(Device::open("cpu:0").unwrap().soc()).unwrap();
    config.memory_bytes = 64 << 20;
    let device = Device::host(config).unwrap();
    let options = engine::Options::default().with_tokens(64, 256);
    let engine = engine(&folder(&Tiny::random(5), 64), &device, options);
    let _taken = Buffer::alloc(&device, device.memory_info().unwrap().free_bytes).unwrap();
    let server = Server::start(engine, Options::default());
    for body in [completion("hi", 4), streamed(completion("hi", 4))] {
        let reply = server.post(COMPLETIONS, &body);
        assert_eq!(reply.status, 500);
        let error = reply.json()["error"].clone();
        assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("engine_failed")));
        assert!(error["message"].as_str().unwrap().starts_with("the engine has failed: "), "{error}");
    }
    let health = http::get(server.address, "/health");
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["error"]["code"], "engine_failed");
}

/// A model whose numbers leave their range behind `!`, which it never says: only that token has the first
/// element of the residual stream, whose weight in the first norm is as large as f16 allows.
fn fragile() -> Tiny {
    let (mut tiny, ill) = (Tiny::random(5), usize::from(b'!'));
    let mut change = |name: &str, change: &dyn Fn(&mut [f32])| {
        change(&mut tiny.tensors.get_mut(name).unwrap().1);
    };
    change("model.embed_tokens.weight", &|rows| {
        rows.chunks_exact_mut(HIDDEN).for_each(|row| row[0] = 0.0);
        rows[ill * HIDDEN] = 1000.0;
    });
    for layer in 0..LAYERS {
        for (name, width) in [("self_attn.o_proj", HEADS * DIM), ("mlp.down_proj", INTERMEDIATE)] {
            change(&format!("model.layers.{layer}.{name}.weight"), &|rows| rows[..width].fill(0.0));
        }
    }
    change("model.layers.0.input_layernorm.weight", &|weights| weights[0] = 60_000.0);
    change("lm_head.weight", &|rows| rows[ill * HIDDEN..][..HIDDEN].fill(0.0));
    tiny
}

/// One sequence whose numbers leave their range ends with an error. Those beside it, and those that get its
/// pages later, do not.
#[test]
fn numbers_that_leave_their_range_end_one_sequence() {
    let options = engine::Options::default().with_tokens(64, 64);
    let mut engine = engine(&folder(&fragile(), 64), &Device::open("cpu:0").unwrap(), options);
    let tokens = engine.tokenizer().encode("healthy").unwrap();
    let (wanted, finish) = directly(&mut engine, Request::new(tokens, 30).with_ends(Ends::Never));
    assert_eq!(finish, Some(Finish::Length));
    let server = Server::start(engine, Options::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let whole = server.post(COMPLETIONS, &completion("healthy", 30)).json();
                assert_eq!(whole["choices"][0]["text"], wanted);
            });
            scope.spawn(|| {
                let reply = server.post(COMPLETIONS, &completion("ill! and so on, for two pages", 30));
                let (status, error) = (reply.status, reply.json()["error"]["message"].clone());
                let text = "logits are no numbers: those of the model have left their range";
                assert_eq!((status, error), (500, text.into()));
            });
        }
    });
    server.wait_until_idle();
    assert_eq!(http::get(server.address, "/health").status, 200);
}
