//! xformers' kernels for a V100, from the machine code in its wheel.
//!
//! `xformers` 0.0.23.post1 is the last with sm_70. Its rule on a V100 (`fmha_cutlassF` of CUTLASS's example
//! 41): up to head_dim 64 a block has 64 rows and takes 64 keys a step, above 32 rows and 128 keys.

use anyhow::{Context, Result};
use fastattention::attention::Mask;
use fastattention_v100::{Kernel, Launch, Memory, Parameters};

use super::blocks::Sampled;
use super::forward::{Case, Modelled};
use super::oracle::Head;

/// Kernel, rows, keys a step, shared memory as far as a block touches it.
fn shape(head_dim: u32) -> (&'static str, u32, u32, u32) {
    if head_dim <= 64 {
        ("fmha_cutlassF_f16_aligned_64x64_rf_sm70", 64, 64, 17920)
    } else {
        ("fmha_cutlassF_f16_aligned_32x128_rf_sm70", 32, 128, 25600)
    }
}

pub(super) fn name(head_dim: u32) -> &'static str {
    shape(head_dim).0
}

/// The structure `AttentionKernel::Params` of one head.
fn params([q, k, v, o, lse]: [u64; 5], case: &Case) -> Vec<u8> {
    let (d, s) = (case.head_dim, case.seqlen);
    let mask = if case.mask == Mask::Causal { 2 } else { 0 };
    #[allow(clippy::cast_possible_truncation, reason = "a scale is an f32")]
    let scale = (1.0 / f64::from(d).sqrt()) as f32;
    let mut out = Vec::new();
    let addresses = |out: &mut Vec<u8>, words: &[u64]| out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    let words = |out: &mut Vec<u8>, words: &[u32]| out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    addresses(&mut out, &[q, k, v, 0, 0, 0, 0]); // bias, seqstart of q and k, seqlen of k
    words(&mut out, &[0, 0]);
    addresses(&mut out, &[o, 0, lse]);
    words(&mut out, &[0, scale.to_bits(), d, d, s, s, s, mask]);
    words(&mut out, &[d, d, d, 0, d, d * s, d * s, d * s]); // strides of rows, then of heads
    addresses(&mut out, &[0; 5]); // strides of batches and of the bias
    words(&mut out, &[1, 1, 0, 0]); // batches, heads; dropout
    addresses(&mut out, &[0]);
    words(&mut out, &[0, 0]);
    addresses(&mut out, &[0, 0]);
    words(&mut out, &[0, 0]);
    out
}

pub(super) fn run(kernel: &Kernel, case: &Case, samples: usize, parameters: &Parameters) -> Result<Modelled> {
    let (name, rows, keys, shared_bytes) = shape(case.head_dim);
    let head = Head::new(case.seqlen, case.head_dim);
    let mut memory = Memory::new();
    let at = head.place(&mut memory);
    let row_blocks = case.seqlen.div_ceil(rows);
    let launch = Launch {
        grid: [row_blocks, 1, 1],
        threads: [32, rows * keys / 1024],
        shared_bytes,
        params: params(at, case),
    };
    let samples = case.samples(samples);
    let sampled = Sampled::run(kernel, &mut memory, &launch, row_blocks, samples, |row| [row, 0, 0])?;
    let grid = sampled.grid(kernel, case.heads as usize, true, parameters)?;
    let [_, _, _, o, _] = at;
    let blocks = sampled.rows_run().iter().copied();
    let error = head.check(&memory, o, blocks, rows as usize, case.mask);
    Ok(Modelled {
        grid,
        blocks: f64::from(case.heads * row_blocks),
        kernel: name.to_owned(),
        registers: kernel.registers(),
        loop_bytes: kernel.main_loop_bytes(),
        places: sampled.places(),
        error: error.with_context(|| format!("{case}: xformers"))?,
    })
}
