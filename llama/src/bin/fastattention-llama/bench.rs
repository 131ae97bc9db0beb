//! `bench`: whole models in model time.

use anyhow::Result;
use clap::Args;
use fastattention::Soc;
use fastattention_llama::bench::{
    largest_batch, AllReduce, Attention, Launches, Memory, Run, Shape, LAUNCH_HOST_US,
};

#[derive(Args)]
pub(crate) struct Options {
    /// llama-2-7b, llama-2-13b, llama-2-70b, qwen2-7b or 38b.
    #[arg(long)]
    model: String,
    /// SoC: Ascend910B1 to Ascend910B4. The maker's name may be left out: 910B2.
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
    /// Devices that share each layer.
    #[arg(long, default_value_t = 1)]
    tp: u32,
    /// Sequences.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 1024)]
    prompt: u32,
    /// Tokens generated for each; the first comes with the prompts' step.
    #[arg(long, default_value_t = 1024)]
    generate: u32,
    /// How attention is computed.
    #[arg(long, value_enum, default_value_t = Attention::Flash)]
    attention: Attention,
    /// How launches come to the device.
    #[arg(long, value_enum, default_value_t = Launches::Captured)]
    launches: Launches,
    /// Microseconds of the host for a launch: 6 for a bare one, 31 to 52 for an operator of an eager Python
    /// framework.
    #[arg(long, default_value_t = LAUNCH_HOST_US)]
    launch_host_us: f64,
    /// How products are added up over the devices.
    #[arg(long, value_enum, default_value_t = AllReduce::Tiling)]
    all_reduce: AllReduce,
    /// Lengths of the cache at which a decode step is timed.
    #[arg(long, default_value_t = 3)]
    decode_points: u32,
    /// Only tells what memory is needed, and the largest batch that fits.
    #[arg(long)]
    memory: bool,
    /// Writes every launch as JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    pub(crate) fn run(self) -> Result<()> {
        let soc = Soc::by_name(&self.soc).map_err(fastattention::Error::from)?;
        let mut run = Run::new(Shape::named(&self.model)?, soc, self.tp)
            .with_batch(self.batch)
            .with_prompt(self.prompt)
            .with_generate(self.generate)
            .with_attention(self.attention)
            .with_launches(self.launches, self.launch_host_us)
            .with_all_reduce(self.all_reduce);
        run.decode_points = self.decode_points;
        if self.memory {
            println!("{}", Memory::of(&run)?);
            println!("largest batch that fits: {}", largest_batch(&run)?);
            return Ok(());
        }
        let outcome = run.time()?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&outcome)?),
            false => print!("{outcome}"),
        }
        Ok(())
    }
}
