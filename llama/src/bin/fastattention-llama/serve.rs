//! `serve`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use fastattention::runtime::Device;
use fastattention_llama::engine::{self, Engine};
use fastattention_llama::files::ModelFiles;
use fastattention_llama::serve;

#[derive(Args)]
pub(crate) struct Options {
    /// A .gguf file, or a folder with config.json, tokenizer.json and *.safetensors.
    #[arg(long)]
    model: PathBuf,
    /// What requests call the model [default: the name of the file without its ending]
    #[arg(long)]
    name: Option<String>,
    /// npu:N, sim:N or cpu:N.
    #[arg(long, default_value = "cpu:0")]
    device: String,
    /// Address and port. Nobody is asked who he is: others than loopback are for networks that are trusted.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Sequences that run side by side.
    #[arg(long, default_value_t = 8)]
    slots: u32,
    /// New tokens of a step, over all sequences.
    #[arg(long, default_value_t = 256)]
    step_rows: u32,
    /// Tokens of prompt and answer; 0: as many as the model was made for, at most 4096.
    #[arg(long, default_value_t = 0)]
    max_tokens: u32,
    /// Tokens of the whole cache; 0: those of two sequences of full length.
    #[arg(long, default_value_t = 0)]
    cache_tokens: u32,
    /// The numbers of a sequence depend on nothing but its own tokens.
    #[arg(long)]
    batch_invariant: bool,
    /// Most tokens of an answer; 0: as many as there is room for.
    #[arg(long, default_value_t = 0)]
    answer_tokens: usize,
    /// Requests that are in work or wait; more are refused with status 429.
    #[arg(long, default_value_t = 64)]
    requests: u32,
    /// Open connections.
    #[arg(long, default_value_t = 256)]
    connections: u32,
    /// Bytes of the body of a request.
    #[arg(long, default_value_t = 1 << 20)]
    body_bytes: usize,
    /// Seconds for the head of a request, and for its body.
    #[arg(long, default_value_t = 30.0)]
    read_timeout: f64,
    /// Seconds in which a client may take nothing of its answer.
    #[arg(long, default_value_t = 30.0)]
    write_timeout: f64,
    /// Seconds in which answers may end after SIGTERM or SIGINT.
    #[arg(long, default_value_t = 10.0)]
    grace: f64,
}

impl Options {
    pub(crate) fn run(self) -> Result<()> {
        let limits = self.limits()?;
        let named = || self.model.display().to_string();
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.model.file_stem().map_or_else(named, |stem| stem.to_string_lossy().into_owned()),
        };
        // Before the model is read: that a port is taken is known at once.
        let listener = TcpListener::bind(self.listen).with_context(|| format!("--listen {}", self.listen))?;
        let device = Device::open(&self.device)?;
        let files = ModelFiles::open(&self.model)?;
        let mut options = engine::Options::default()
            .with_slots(self.slots)
            .with_step_rows(self.step_rows)
            .with_tokens(self.max_tokens, self.cache_tokens);
        options.is_batch_invariant = self.batch_invariant;
        let engine = Engine::new(&device, &files.model()?, options).with_context(named)?;
        println!("listening on http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        Ok(serve::serve(engine, &name, limits, listener, serve::stop_signal())?)
    }

    fn limits(&self) -> Result<serve::Options> {
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).with_context(|| format!("--{name} {seconds}"))
        };
        let mut limits = serve::Options::default();
        limits.requests = self.requests;
        limits.connections = self.connections;
        limits.body_bytes = self.body_bytes;
        limits.answer_tokens = self.answer_tokens;
        limits.read_timeout = seconds("read-timeout", self.read_timeout)?;
        limits.write_timeout = seconds("write-timeout", self.write_timeout)?;
        limits.grace = seconds("grace", self.grace)?;
        Ok(limits)
    }
}
