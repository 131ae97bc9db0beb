//! Prefix sharing (cascade): sequences that begin with the same keys attend to them in one launch, each to
//! its own keys in a second one, and a merge joins the two.
//!
//! The shared keys are read once for all sequences, because the rows of all of them are rows of one. A window
//! composes with it. Query row i of a sequence sees keys by their distance from its own, which lies behind
//! the suffix: in the prefix the window reaches as many keys less far as the suffix has. There each sequence
//! stays one of its own, and all of them read the same k and v (batch stride 0).
//!
//! `cargo run --release --example prefix_sharing [sim | npu:N]`

#![allow(clippy::print_stdout, reason = "an example prints what it shows")]

mod check;

use anyhow::{Context, Result};
use clap::Parser;
use fastattention::attention::{plan, Args, FlashAttention, Mask, Problem};
use fastattention::merge::{self, Merge, Source};
use fastattention::reference::{Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::DType;
use half::f16;

const BATCH: u32 = 3;
/// Query rows of each sequence: its last ones.
const ROWS: u32 = 4;
const NUM_HEADS: u32 = 4;
const NUM_HEADS_K: u32 = 2;
const HEAD_DIM: u32 = 64;
const PREFIX: u32 = 200;
const SUFFIX: u32 = 48;
/// Keys to its left that a row sees, with a window; more than the suffix has.
const LEFT: u32 = 100;

#[derive(Parser)]
struct Options {
    /// sim, sim:N or npu:N.
    #[arg(default_value = "sim")]
    device: String,
}

/// Device, operators and operands.
struct Cascade {
    device: Device,
    stream: Stream,
    attention: FlashAttention,
    merge: Merge,
    q: Buffer,
    prefix: [Buffer; 2],
    suffix: [Buffer; 2],
}

fn main() -> Result<()> {
    let device = Device::open(&Options::parse().device)?;
    println!("device: {} ({})", device.name(), device.soc().name);
    let elements = |rows: u32, heads: u32| (rows * heads * HEAD_DIM) as usize;
    let q = check::normal::<f16>(elements(BATCH * ROWS, NUM_HEADS), 1);
    let [prefix_k, prefix_v] = [2, 3].map(|seed| check::normal::<f16>(elements(PREFIX, NUM_HEADS_K), seed));
    let [suffix_k, suffix_v] =
        [4, 5].map(|seed| check::normal::<f16>(elements(BATCH * SUFFIX, NUM_HEADS_K), seed));
    let upload = |data: &[f16]| Buffer::from_slice(&device, data);
    let cascade = Cascade {
        stream: Stream::new(&device)?,
        attention: FlashAttention::new(&device)?,
        merge: Merge::new(&device)?,
        q: upload(&q)?,
        prefix: [upload(&prefix_k)?, upload(&prefix_v)?],
        suffix: [upload(&suffix_k)?, upload(&suffix_v)?],
        device,
    };
    // The keys of each sequence, one after the other, for the reference.
    let whole = |prefix: &[f16], suffix: &[f16]| -> Vec<f16> {
        suffix.chunks(elements(SUFFIX, NUM_HEADS_K)).flat_map(|own| [prefix, own].concat()).collect()
    };
    let (k, v) = (whole(&prefix_k, &suffix_k), whole(&prefix_v, &suffix_v));

    let problem = |batch, rows| {
        Problem::new(DType::F16, [batch, rows, NUM_HEADS, HEAD_DIM]).with_num_heads_k(NUM_HEADS_K)
    };
    let (rows_of_all, own_rows) = (problem(1, BATCH * ROWS), problem(BATCH, ROWS));
    // lse of the rows of all sequences is [num_heads, batch * rows]: strides of part, batch, row, head.
    let (rows, all) = (u64::from(ROWS), u64::from(BATCH * ROWS));
    let packed = Source::new(1).with_lse_stride([0, rows, 1, all]);
    println!("causal: the prefix is read once for all {BATCH} sequences");
    let (o, lse) = cascade.run(rows_of_all, packed, own_rows.with_mask(Mask::Causal))?;
    check(Mask::Causal, [&q, &k, &v], &o, &lse)?;

    let window = |left, right| Mask::Window { left: Some(left), right };
    let mut prefix = own_rows.with_mask(window(LEFT - SUFFIX, None));
    let row = u64::from(NUM_HEADS_K * HEAD_DIM);
    (prefix.k_stride, prefix.v_stride) =
        (Some([0, row, u64::from(HEAD_DIM)]), Some([0, row, u64::from(HEAD_DIM)]));
    println!("window of {LEFT} keys to the left: {} of them in the prefix for the last row", LEFT - SUFFIX);
    let (o, lse) = cascade.run(prefix, Source::new(1), own_rows.with_mask(window(LEFT, Some(0))))?;
    check(window(LEFT, Some(0)), [&q, &k, &v], &o, &lse)
}

impl Cascade {
    /// Attention on the prefix and on the suffixes, and their merge: o and lse of all rows.
    fn run(&self, prefix: Problem, prefix_source: Source, suffix: Problem) -> Result<(Buffer, Buffer)> {
        let (prefix_o, prefix_lse) = self.attend(&prefix.with_seqlen_k(PREFIX).with_lse(), &self.prefix)?;
        let (suffix_o, suffix_lse) = self.attend(&suffix.with_seqlen_k(SUFFIX).with_lse(), &self.suffix)?;
        let problem = merge::Problem::new(DType::F16, 1, [BATCH, ROWS, NUM_HEADS, HEAD_DIM])
            .with_sources([prefix_source, Source::new(1)]);
        let plan = merge::plan(&problem, self.device.soc())?;
        let [o_bytes, lse_bytes] = problem.operand_bytes();
        let (o, lse) = (self.alloc(o_bytes)?, self.alloc(lse_bytes)?);
        let (o_parts, lse_parts) =
            ([&prefix_o, &suffix_o].map(Into::into), [&prefix_lse, &suffix_lse].map(Into::into));
        self.merge.launch(&self.stream, &plan, merge::Args::new(&o_parts, &lse_parts, &o, &lse))?;
        self.stream.synchronize()?;
        Ok((o, lse))
    }

    /// A partial result. In a server its buffers would be there already, and nothing would wait.
    fn attend(&self, problem: &Problem, [k, v]: &[Buffer; 2]) -> Result<(Buffer, Buffer)> {
        let plan = plan(problem, self.device.soc())?;
        let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
        let (o, lse, workspace) =
            (self.alloc(o_bytes)?, self.alloc(lse_bytes)?, self.alloc(plan.workspace_bytes())?);
        let args = Args::new(&self.q, k, v, &o, &workspace).with_lse(&lse);
        self.attention.launch(&self.stream, &plan, args)?;
        self.stream.synchronize()?;
        Ok((o, lse))
    }

    fn alloc(&self, bytes: u64) -> Result<Buffer> {
        Ok(Buffer::alloc(&self.device, usize::try_from(bytes).context("bytes of a buffer")?)?)
    }
}

/// Compares with attention on whole sequences in f64.
fn check(mask: Mask, [q, k, v]: [&[f16]; 3], o: &Buffer, lse: &Buffer) -> Result<()> {
    let [batch, rows, heads, heads_k, dim, keys] =
        [BATCH, ROWS, NUM_HEADS, NUM_HEADS_K, HEAD_DIM, PREFIX + SUFFIX].map(|n| n as usize);
    let params = Params {
        batch,
        num_heads: heads,
        num_heads_k: heads_k,
        head_dim: dim,
        head_dim_v: dim,
        seqlen_q: rows,
        seqlen_k: keys,
        softmax_scale: 1.0 / f64::from(HEAD_DIM).sqrt(),
        mask,
    };
    let of_k = |data| Tensor::dense(data, keys, heads_k, dim);
    check::results(&params, DType::F16, [Tensor::dense(q, rows, heads, dim), of_k(k), of_k(v)], [o, lse])
}
