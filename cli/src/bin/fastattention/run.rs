//! `fastattention run`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::gpu;
use crate::tensors::{Operands, Results};
use anyhow::{Context, Result};
use fastattention::attention::{self, Buffers, FlashAttention, Layout, Mask, Problem};
use fastattention::runtime::{Device, Stream};
use fastattention::DType;
use fastattention_cli::output::Output;
use fastattention_cli::print;
use fastattention_cli::progress::Progress;
use fastattention_cli::shape::{parse_layout, parse_scale, parse_score_dtype};
use safetensors::SafeTensors;

/// Files and options.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// Safetensors file with q, k and v: [seqlen, heads, dim] or [batch, seqlen, heads, dim], f16 or bf16;
    /// other orders by --layout.
    #[arg(long, short)]
    input: PathBuf,
    /// Safetensors file for o (as q) and lse (f32, [heads, seqlen_q] or [batch, heads, seqlen_q]).
    #[arg(long, short)]
    output: PathBuf,
    /// Order of the dimensions of q, k, v and o: bsnd ([batch, seqlen, heads, dim]) or bnsd ([batch, heads,
    /// seqlen, dim]).
    #[arg(long, default_value = "bsnd", value_parser = parse_layout)]
    layout: Layout,
    /// Type in which scores go from the Cube to the vector cores: f32 or f16.
    #[arg(long, default_value = "f32", value_parser = parse_score_dtype)]
    score_dtype: DType,
    /// Subtract the mean of the keys from each before the scores are made: f16 then holds the scores of
    /// inputs with a large bias. For --score-dtype f16.
    #[arg(long)]
    shift_keys: bool,
    /// Mask: none, causal or window:L,R. L and R are the keys that a query sees to its left and right, * is
    /// no limit.
    #[arg(long, default_value = "none", value_parser = fastattention_cli::mask::parse_mask)]
    mask: Mask,
    /// Factor of the scores [default: 1/sqrt(head_dim)].
    #[arg(long, allow_hyphen_values = true, value_parser = parse_scale)]
    softmax_scale: Option<f32>,
    /// Device: sim:N, cpu:N, npu:N, or cuda:N if built with feature cuda.
    #[arg(long, default_value = "sim")]
    device: String,
}

/// What a run computed: little-endian elements.
pub(crate) struct Computed {
    pub(crate) o: Vec<u8>,
    pub(crate) lse: Vec<u8>,
}

impl Run {
    pub(crate) fn execute(self) -> Result<()> {
        let output = Output::check(&self.output, Some(&self.input))?;
        let input = || format!("input {}", self.input.display());
        let bytes = fs::read(&self.input).with_context(input)?;
        let file = SafeTensors::deserialize(&bytes)
            .with_context(|| format!("{} is not a safetensors file", input()))?;
        let operands = Operands::find(&file, self.layout).with_context(input)?;
        let mut problem = operands.problem().with_mask(self.mask).with_score_dtype(self.score_dtype);
        problem.spec.softmax_scale = self.softmax_scale;
        problem.shift_keys = self.shift_keys;

        let (Computed { o, lse }, summary) = match gpu::ordinal(&self.device) {
            Some(ordinal) => gpu::attention(ordinal?, &problem, &operands, self.layout)?,
            None => self.attention(&problem, &operands)?,
        };

        let [batch, seqlen_q, num_heads, _] = operands.q.shape;
        let shape = [batch, seqlen_q, num_heads, problem.spec.head_dim_v];
        let (dtype, layout, is_unbatched) = (problem.spec.dtype, self.layout, operands.q.is_unbatched);
        let results = Results { dtype, shape, layout, is_unbatched, o: &o, lse: &lse };
        output.write_bytes(&results.file()?)?;
        print(summary)
    }

    /// On an NPU or the simulator, and a summary.
    fn attention(&self, problem: &Problem, operands: &Operands<'_>) -> Result<(Computed, String)> {
        let device = Device::open(&self.device)?;
        let plan = attention::plan(problem, device.soc())?;
        let progress = Progress::new(format!("attention on {}", device.name()));
        let computed = compute(&device, &plan, operands);
        progress.finish();
        let (computed, host_time) = computed?;
        Ok((computed, summary(&device, &plan, self.layout, host_time)))
    }
}

/// The results, and how long they took from launch to result.
fn compute(device: &Device, plan: &attention::Plan, operands: &Operands<'_>) -> Result<(Computed, Duration)> {
    let operator = FlashAttention::new(device)?;
    let stream = Stream::new(device)?;
    let inputs = [&operands.q, &operands.k, &operands.v].map(|x| x.bytes);
    let buffers = Buffers::from_slices(device, plan, inputs)?;
    let start = Instant::now();
    operator.launch(&stream, plan, buffers.args())?;
    stream.synchronize()?;
    let host_time = start.elapsed();
    let lse = buffers.lse.as_ref().context("the plan writes no lse")?;
    Ok((Computed { o: buffers.o.to_vec()?, lse: lse.to_vec()? }, host_time))
}

fn summary(device: &Device, plan: &attention::Plan, layout: Layout, host_time: Duration) -> String {
    let s = plan.shape();
    let time = if device.has_model_time() {
        "host time of the simulation, not of a device"
    } else {
        "host time from launch to result"
    };
    format!(
        "{} ({}): {} as {layout}, batch {}, seqlen_q {}, seqlen_k {}, num_heads {}, num_heads_k {}, head_dim \
         {}, head_dim_v {}, mask {}, softmax_scale {}, scores {}{}; {}; {} items on {} cores; {:.3} s {time}",
        device.name(),
        device.soc().name,
        s.dtype,
        s.batch,
        s.seqlen_q,
        s.seqlen_k,
        s.num_heads,
        s.num_heads_k,
        s.head_dim,
        s.head_dim_v,
        s.mask,
        s.softmax_scale,
        s.score_dtype,
        if s.shift_keys { " of shifted keys" } else { "" },
        plan.chosen(),
        plan.num_items(),
        plan.num_cores(),
        host_time.as_secs_f64(),
    )
}
