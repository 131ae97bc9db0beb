//! Speed of the simulator on the host, function only: attention forward B=1, H=8, S=1024, D=128, f16, full
//! mask.
//!
//! `cargo bench --bench simulator_speed`. Reports attention arithmetic (4*B*H*Sq*Sk*D) per second of **host
//! time**, which says nothing about the speed of an NPU. Race checking on and off are measured in turn in one
//! run; the result is checked first.
#![allow(clippy::print_stdout, reason = "the report")]

use std::time::Instant;

use anyhow::{ensure, Result};
use fastattention::attention::{plan, Buffers, FlashAttention, Problem};
use fastattention::reference::{self, Params, Tensor};
use fastattention::runtime::{Device, Stream};
use fastattention::{sim, DType, Soc};
use half::f16;

const BATCH: u32 = 1;
const SEQLEN: u32 = 1024;
const HEADS: u32 = 8;
const HEAD_DIM: u32 = 128;
const ROUNDS: usize = 7;

struct Attention {
    stream: Stream,
    operator: FlashAttention,
    buffers: Buffers,
    plan: fastattention::attention::Plan,
}

impl Attention {
    fn new(check_races: bool, data: [&[f16]; 3]) -> Result<Self> {
        let mut config = sim::Config::new(Soc::by_name("Ascend910B2")?);
        config.check_races = check_races;
        let device = Device::simulated(config)?;
        let plan = plan(&Problem::new(DType::F16, [BATCH, SEQLEN, HEADS, HEAD_DIM]), device.soc())?;
        let buffers = Buffers::from_slices(&device, &plan, data)?;
        let operator = FlashAttention::new(&device)?;
        Ok(Self { stream: Stream::new(&device)?, operator, buffers, plan })
    }

    fn run(&self) -> Result<f64> {
        let start = Instant::now();
        self.operator.launch(&self.stream, &self.plan, self.buffers.args())?;
        self.stream.synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn main() -> Result<()> {
    let elements = (BATCH * SEQLEN * HEADS * HEAD_DIM) as usize;
    let mut rng = fastrand::Rng::with_seed(1);
    let data: [Vec<f16>; 3] =
        std::array::from_fn(|_| (0..elements).map(|_| f16::from_f32(2.0 * rng.f32() - 1.0)).collect());
    let data = [data[0].as_slice(), &data[1], &data[2]];
    let attentions = [Attention::new(false, data)?, Attention::new(true, data)?];
    check(&attentions[0], data)?;

    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (attention, seconds) in attentions.iter().zip(&mut seconds) {
            let elapsed = attention.run()?;
            if round > 0 {
                seconds.push(elapsed);
            }
        }
    }
    let flop = 4.0 * f64::from(BATCH * HEADS) * f64::from(SEQLEN).powi(2) * f64::from(HEAD_DIM);
    let mut ratios: Vec<f64> =
        seconds[1].iter().zip(&seconds[0]).map(|(with, without)| with / without).collect();
    println!("flash_fwd f16 B={BATCH} H={HEADS} S={SEQLEN} D={HEAD_DIM}, {ROUNDS} rounds, host time of the simulation");
    for (name, seconds) in ["races unchecked", "races checked"].iter().zip(&mut seconds) {
        seconds.sort_by(f64::total_cmp);
        let median = seconds[ROUNDS / 2];
        println!(
            "{name:16} median {:6.1} ms (min {:6.1}, max {:6.1}) = {:5.1} GFLOP/s",
            median * 1e3,
            seconds[0] * 1e3,
            seconds[ROUNDS - 1] * 1e3,
            flop / median / 1e9
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("race checking costs a factor of {:.2} (median of pairs)", ratios[ROUNDS / 2]);
    Ok(())
}

/// The first rows of head 0 against f64.
fn check(attention: &Attention, data: [&[f16]; 3]) -> Result<()> {
    attention.run()?;
    let o: Vec<f16> = attention.buffers.o.to_vec()?;
    let rows = 4;
    let params = Params {
        batch: 1,
        num_heads: HEADS as usize,
        num_heads_k: HEADS as usize,
        head_dim: HEAD_DIM as usize,
        head_dim_v: HEAD_DIM as usize,
        seqlen_q: rows,
        seqlen_k: SEQLEN as usize,
        softmax_scale: 1.0 / f64::from(HEAD_DIM).sqrt(),
        mask: fastattention::attention::Mask::None,
    };
    let [q, k, v] = data.map(|d| Tensor::dense(d, SEQLEN as usize, HEADS as usize, HEAD_DIM as usize));
    let want = reference::attention(&params, q, k, v);
    let error = o.iter().zip(&want.o).map(|(o, w)| (f64::from(*o) - w).abs()).fold(0.0, f64::max);
    ensure!(error < 1e-3, "the result is wrong: error {error:e} against f64");
    Ok(())
}
