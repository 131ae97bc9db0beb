//! xformers' kernels for a V100, from the machine code in its wheel.
//!
//! `xformers` 0.0.23.post1 is the last with sm_70. Its rule on a V100 (`fmha_cutlassF` of CUTLASS's example
//! 41): up to head_dim 64 a block has 64 rows and takes 64 keys a step, above 32 rows and 128 keys.

use anyhow::{ensure, Context, Result};
use fastattention::attention::Mask;
use fastattention_v100::{Kernel, Launch, Memory, Parameters};
use half::f16;

use super::blocks::Sampled;
use super::forward::{bytes, Case, Modelled};
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
    let [q, k, v] = [&head.q, &head.k, &head.v].map(|tensor| memory.upload(bytes(tensor)));
    let o = memory.upload(bytes(&vec![f16::NAN; head.q.len()]));
    let lse = memory.upload(&vec![0; 4 * case.seqlen.next_multiple_of(32) as usize]);
    let row_blocks = case.seqlen.div_ceil(rows);
    let launch = Launch {
        grid: [row_blocks, 1, 1],
        threads: [32, rows * keys / 1024],
        shared_bytes,
        params: params([q, k, v, o, lse], case),
    };
    let samples = case.samples(samples);
    let sampled = Sampled::run(kernel, &mut memory, &launch, row_blocks, samples, |row| [row, 0, 0])?;
    let grid = sampled.grid(kernel, case.heads as usize, true, parameters)?;
    let read = memory.read(o, 2 * head.q.len()).context("o is there")?;
    let o: Vec<f16> = bytemuck::pod_collect_to_vec(&read);
    let of_a_block = |&block: &usize| (block * rows as usize..(block + 1) * rows as usize).step_by(17);
    let run = sampled.rows_run().iter().flat_map(of_a_block).filter(|&row| row < case.seqlen as usize);
    let error = run.map(|row| head.error(&o, row, case.mask)).fold(0.0, f64::max);
    ensure!(error <= 4e-3, "{case}: o of xformers is wrong by {error:e}");
    Ok(Modelled {
        grid,
        blocks: f64::from(case.heads * row_blocks),
        kernel: name.to_owned(),
        registers: kernel.registers(),
        loop_bytes: kernel.main_loop_bytes(),
        places: sampled.places(),
        error,
    })
}
