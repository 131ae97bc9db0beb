//! Whole models in model time: every launch of a layer on the simulator's clock, without results, times the
//! number of layers. Never run on an NPU, and never mixed with measured time.
//!
//! What is counted, and how: `docs/models.md`.
//!
//! ```
//! use fastattention::Soc;
//! use fastattention_llama::bench::{Run, Shape};
//!
//! let (model, soc) = (Shape::named("llama-2-7b")?, Soc::by_name("Ascend910B2")?);
//! let run = Run::new(model, soc, 1).with_prompt(32).with_generate(2);
//! let outcome = run.time()?;
//! // Its 13 GB take longer than 8 ms from any HBM of 1.6 TB/s.
//! assert!(outcome.decode[0].us > 8000.0);
//! println!("{outcome}");
//! # Ok::<(), fastattention::Error>(())
//! ```

mod clock;
mod models;
mod outcome;
mod parts;
mod plans;
mod rank;
mod step;
#[cfg(test)]
mod tests;

pub use models::{Experts, Shape, MODELS};
pub use outcome::{Launch, Outcome, PartTime, StepTime};
pub use rank::{largest_batch, Memory};

use std::fmt;

use clap::ValueEnum;
use fastattention::{Error, Result, Soc};
use serde::Serialize;

use rank::{Rank, MAX_BATCH, MAX_TOKENS};
use step::StepShape;

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Attention {
    /// The operators of this crate: `flash_fwd` for prompts, `serving` for decode.
    Flash,
    /// Unfused in three launches: scores, softmax with scale and mask, output. Scores in device memory.
    Standard,
    /// Unfused in the passes of an eager framework: scores, scale, mask, cast to f32, softmax, cast back,
    /// output. Each moves all scores through device memory.
    Framework,
}

/// How launches come to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Launches {
    /// One by one, each after the host has spent its time on it.
    Eager,
    /// A step was captured, and is one launch of the host.
    Captured,
}

/// How tensor-parallel products are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AllReduce {
    /// Tiling-AllReduce: in blocks, behind the computation.
    Tiling,
    /// Behind the product.
    Serial,
}

macro_rules! display_by_value_name {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
            }
        }
    )*};
}
display_by_value_name!(Attention, Launches, AllReduce);

/// Host time of an eager launch, in microseconds: a bare launch on a 910B2 \[launch-001\]. An operator of an
/// eager Python framework takes 31 to 52 \[launch-002\].
pub const LAUNCH_HOST_US: f64 = 6.0;

/// What is timed: a batch of prompts of one length, and as many tokens generated for each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The model.
    pub model: &'static Shape,
    /// The device.
    pub soc: &'static Soc,
    /// Devices that share each layer.
    pub tp: u32,
    /// Sequences.
    pub batch: u32,
    /// Tokens of each prompt.
    pub prompt: u32,
    /// Tokens that are generated for each; the first comes with the prompt's step.
    pub generate: u32,
    /// How attention is computed.
    pub attention: Attention,
    /// How launches come to the device.
    pub launches: Launches,
    /// Host time of an eager launch, and of a captured step.
    pub launch_host_us: f64,
    /// How products are added up where `tp` is more than 1.
    pub all_reduce: AllReduce,
    /// Lengths of the cache at which a decode step is timed; steps between them are interpolated.
    pub decode_points: u32,
}

impl Run {
    /// A batch of 1 with a prompt of 1024 and 1024 tokens generated; flash, captured, tiling-AllReduce.
    pub fn new(model: &'static Shape, soc: &'static Soc, tp: u32) -> Self {
        Self {
            model,
            soc,
            tp,
            batch: 1,
            prompt: 1024,
            generate: 1024,
            attention: Attention::Flash,
            launches: Launches::Captured,
            launch_host_us: LAUNCH_HOST_US,
            all_reduce: AllReduce::Tiling,
            decode_points: 3,
        }
    }

    /// Sets the sequences.
    #[must_use]
    pub fn with_batch(self, batch: u32) -> Self {
        Self { batch, ..self }
    }

    /// Sets the tokens of each prompt.
    #[must_use]
    pub fn with_prompt(self, prompt: u32) -> Self {
        Self { prompt, ..self }
    }

    /// Sets the tokens generated for each.
    #[must_use]
    pub fn with_generate(self, generate: u32) -> Self {
        Self { generate, ..self }
    }

    /// Sets how attention is computed.
    #[must_use]
    pub fn with_attention(self, attention: Attention) -> Self {
        Self { attention, ..self }
    }

    /// Sets how launches come to the device, and the host's time for one.
    #[must_use]
    pub fn with_launches(self, launches: Launches, launch_host_us: f64) -> Self {
        Self { launches, launch_host_us, ..self }
    }

    /// Sets how products are added up.
    #[must_use]
    pub fn with_all_reduce(self, all_reduce: AllReduce) -> Self {
        Self { all_reduce, ..self }
    }

    /// Times the prompts' step, and decode steps at a few lengths.
    ///
    /// # Errors
    /// `InvalidArgument` for sizes out of bounds and ranks that cannot share; `Unsupported` for what does not
    /// fit the device, and for what an operator refuses.
    pub fn time(&self) -> Result<Outcome> {
        self.check()?;
        let rank = Rank::of(self.model, self.tp, self.soc)?;
        let memory = Memory::of(self)?;
        memory.check(self)?;
        let time = |shape: StepShape| step::time(self, &rank, shape);
        let prefill = time(StepShape { rows: self.prompt, keys: self.prompt })?;
        let lengths = self.decode_lengths();
        let decode =
            lengths.into_iter().map(|keys| time(StepShape { rows: 1, keys })).collect::<Result<_>>()?;
        Ok(Outcome::new(self, memory, prefill, decode))
    }

    fn check(&self) -> Result<()> {
        let tokens = ("prompt", self.prompt, MAX_TOKENS);
        for (name, value, most) in [
            ("batch", self.batch, MAX_BATCH),
            tokens,
            ("generate", self.generate, MAX_TOKENS),
            ("decode_points", self.decode_points, MAX_TOKENS),
        ] {
            if value == 0 || value > most {
                return Err(Error::invalid(format!("bench: {name} = {value}, 1 to {most} wanted")));
            }
        }
        if !(self.launch_host_us.is_finite() && self.launch_host_us >= 0.0) {
            let given = self.launch_host_us;
            return Err(Error::invalid(format!("bench: launch_host_us = {given}, a time from 0 on wanted")));
        }
        Ok(())
    }

    /// Keys of the first and the last decode step, and evenly between them; none where the prompts' step
    /// gives all tokens.
    fn decode_lengths(&self) -> Vec<u32> {
        let steps = u64::from(self.generate - 1);
        if steps == 0 {
            return Vec::new();
        }
        let points = u64::from(self.decode_points).clamp(2, steps.max(2)).min(steps);
        let length = |point: u64| {
            let step = if points == 1 { 0 } else { point * (steps - 1) / (points - 1) };
            // Bounded by `MAX_TOKENS`, twice.
            u32::try_from(u64::from(self.prompt) + 1 + step).unwrap_or(u32::MAX)
        };
        (0..points).map(length).collect()
    }
}
