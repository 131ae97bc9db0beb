//! `generate`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::Args;
use fastattention::runtime::Device;
use fastattention_llama::engine::{self, Ends, Engine, Finish, Request};
use fastattention_llama::files::ModelFiles;
use fastattention_llama::sampling::Sampling;
use fastattention_llama::text::Message;

#[derive(Args)]
pub(crate) struct Options {
    /// A .gguf file, or a folder with config.json, tokenizer.json and *.safetensors.
    #[arg(long)]
    model: PathBuf,
    /// The text to continue; a message of the user with --chat.
    #[arg(long)]
    prompt: String,
    /// Names of special tokens in the prompt are text like any other; those of messages always are.
    #[arg(long, conflicts_with = "chat")]
    no_parse_special: bool,
    /// Asks the prompt as a message, by the model's chat template.
    #[arg(long)]
    chat: bool,
    /// A message of the system in front of it.
    #[arg(long, requires = "chat")]
    system: Option<String>,
    /// npu:N, sim:N or cpu:N.
    #[arg(long, default_value = "cpu:0")]
    device: String,
    /// Most tokens of the answer.
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// 0: always the most probable token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Tokens that may be drawn; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: u32,
    /// Sum of the probabilities of tokens that may be drawn.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Least probability, as a part of the largest.
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    /// Logits of tokens that are there already are made less by it.
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A string that ends the answer; may be given several times.
    #[arg(long)]
    stop: Vec<String>,
    /// Goes on where the model would end its answer.
    #[arg(long)]
    ignore_end: bool,
    /// Captures the launches of a decode step, and runs each later one as one graph.
    #[arg(long)]
    capture: bool,
    /// Prints how long prompt and answer took, measured on this machine, to the standard error.
    #[arg(long)]
    timing: bool,
}

impl Options {
    pub(crate) fn run(self) -> Result<()> {
        let device = Device::open(&self.device)?;
        let files = ModelFiles::open(&self.model)?;
        let options = engine::Options::default().with_slots(1);
        let options = if self.capture { options.captured() } else { options };
        let mut engine = Engine::new(&device, &files.model()?, options)
            .with_context(|| self.model.display().to_string())?;
        let prompt = self.tokens(&engine)?;
        let started = Instant::now();
        engine.add(self.request(prompt.clone()))?;
        let (mut out, mut first, mut tokens) = (io::stdout().lock(), None, 0u32);
        while engine.has_work() {
            for output in engine.step()? {
                first.get_or_insert_with(|| started.elapsed());
                tokens += 1;
                if output.finish == Some(Finish::NoNumbers) {
                    bail!("logits are no numbers: those of the model have left their range");
                }
                write!(out, "{}", output.text)?;
                out.flush()?;
            }
        }
        writeln!(out)?;
        if self.timing {
            let (first, all) = (first.unwrap_or_default(), started.elapsed());
            let rate = f64::from(tokens.saturating_sub(1)) / (all - first).as_secs_f64();
            eprintln!(
                "{}: prompt of {} tokens in {:.3} s, then {rate:.2} tokens/s (measured)",
                self.device,
                prompt.len(),
                first.as_secs_f64()
            );
        }
        Ok(())
    }

    fn tokens(&self, engine: &Engine) -> Result<Vec<u32>> {
        if !self.chat {
            let tokenizer = engine.tokenizer();
            let tokens = match self.no_parse_special {
                false => tokenizer.encode(&self.prompt)?,
                true => tokenizer.encode_plain(&self.prompt)?,
            };
            if tokens.is_empty() {
                bail!("--prompt {:?} has no tokens, one wanted", self.prompt);
            }
            return Ok(tokens);
        }
        let system = self.system.as_ref().map(|text| Message::new("system", text));
        let messages: Vec<_> = system.into_iter().chain([Message::new("user", &self.prompt)]).collect();
        Ok(engine.chat(&messages)?)
    }

    fn request(&self, prompt: Vec<u32>) -> Request {
        let mut sampling = Sampling::default();
        sampling.temperature = self.temperature;
        sampling.top_k = self.top_k;
        sampling.top_p = self.top_p;
        sampling.min_p = self.min_p;
        sampling.repetition_penalty = self.repetition_penalty;
        sampling.seed = self.seed;
        let ends = if self.ignore_end { Ends::Never } else { Ends::OfModel };
        let request = Request::new(prompt, self.max_new_tokens).with_sampling(sampling);
        request.with_stops(self.stop.clone()).with_ends(ends)
    }
}
