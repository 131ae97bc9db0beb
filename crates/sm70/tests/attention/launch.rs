//! A problem as a launch of a shipped kernel (`Launch` of `cuda/check.py`, in Rust), and the check of what
//! comes back.

use std::path::Path;

use fastattention_sm70::{Counters, Error, Launch, Memory, Module, Params, Sums};
use half::f16;

use super::oracle::{attention, Precision};
use super::problem::{inputs, Head, Inputs, Layout, Problem};

/// head_dim and head_dim_v of a kernel at most, its name's number, shared bytes, blocks of columns.
const KERNELS: [(usize, u32, u32); 6] =
    [(32, 16384, 1), (64, 32768, 1), (80, 40960, 1), (96, 49152, 1), (128, 49152, 1), (256, 81920, 2)];
/// Elements around o and lse that must stay as they were.
const GUARD: usize = 16384;
/// What an element of o or lse holds before.
const NOTHING: u16 = 0x7e77;
const NOTHING_LSE: u32 = 0x7fc0_beef;

/// PTX of the kernel for head dims up to `limit`.
pub(crate) fn ptx(limit: usize) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cuda/ptx");
    let path = folder.join(format!("flash_fwd_f16_d{limit}.ptx"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The limit of the kernel that serves a problem.
pub(crate) fn kernel_of(problem: &Problem) -> usize {
    let dims = problem.head_dim.max(problem.head_dim_v);
    KERNELS.iter().map(|row| row.0).find(|limit| dims <= *limit).unwrap()
}

/// Byte strides of a tensor.
#[derive(Debug, Clone, Copy)]
struct Strides {
    batch: u64,
    head: u64,
    row: u32,
}

/// Where a tensor's elements lie: strides, and the element count.
fn place(
    problem: &Problem,
    heads: usize,
    rows: usize,
    dim: usize,
    ragged: Option<&[usize]>,
) -> (Strides, usize) {
    let pad = if problem.layout == Layout::Padded { 16 } else { 0 };
    let row = dim + pad;
    let (batch, head, row, count) = match (ragged, problem.layout) {
        (Some(lengths), _) => (0, row, heads * row, lengths.iter().sum::<usize>() * heads * row),
        (None, Layout::Bhsd) => (heads * rows * dim, rows * dim, dim, problem.batch * heads * rows * dim),
        (None, _) => (rows * heads * row, row, heads * row, problem.batch * rows * heads * row),
    };
    let strides =
        Strides { batch: batch as u64 * 2, head: head as u64 * 2, row: u32::try_from(row * 2).unwrap() };
    (strides, count)
}

/// First element of a row: of a dense batch by the strides, of a ragged one behind the rows of the batches
/// before it.
fn offset(strides: Strides, batch: usize, head: usize, row: usize, ragged: Option<&[usize]>) -> usize {
    let before = ragged.map_or(0, |lengths| lengths[..batch].iter().sum::<usize>());
    let bytes = batch as u64 * strides.batch
        + head as u64 * strides.head
        + (before + row) as u64 * u64::from(strides.row);
    usize::try_from(bytes / 2).unwrap()
}

/// The halves of a tensor in device order; what is between rows is NaN.
fn placed(
    problem: &Problem,
    tensor: &[Vec<Head>],
    dim: usize,
    ragged: Option<&[usize]>,
) -> (Strides, Vec<u8>) {
    let (heads, rows) = (tensor[0].len(), tensor[0][0].len());
    let (strides, count) = place(problem, heads, rows, dim, ragged);
    let mut out = vec![f16::NAN; count];
    for (b, batch) in tensor.iter().enumerate() {
        for (h, head) in batch.iter().enumerate() {
            let rows = ragged.map_or(head.len(), |lengths| lengths[b]);
            for (r, row) in head.iter().enumerate().take(rows) {
                let at = offset(strides, b, h, r, ragged);
                out[at..at + dim].copy_from_slice(row);
            }
        }
    }
    (strides, out.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// What a run gave: o and lse with their guards.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counters: Counters,
    o: Vec<u16>,
    lse: Vec<u32>,
    o_strides: Strides,
}

impl Outcome {
    /// The halves from the first element of o on.
    pub(crate) fn o_bits(&self) -> &[u16] {
        &self.o[GUARD..]
    }
}

/// Runs a problem on the text of the kernel that serves it.
pub(crate) fn run(problem: &Problem, inputs: &Inputs, text: &str, sums: Sums) -> Result<Outcome, Error> {
    let p = problem;
    let limit = kernel_of(p);
    let (_, shared_bytes, columns) = KERNELS.into_iter().find(|row| row.0 == limit).unwrap();
    let lens_q = p.ragged.as_ref().map(|ragged| ragged.rows.as_slice());
    let lens_k = p.ragged.as_ref().map(|ragged| ragged.keys.as_slice());
    let mut memory = Memory::new();
    let mut upload = |name: &str, tensor: &[Vec<Head>], dim, ragged| {
        let (strides, bytes) = placed(p, tensor, dim, ragged);
        (memory.upload(name, &bytes), strides)
    };
    let (q, q_strides) = upload("q", &inputs.q, p.head_dim, lens_q);
    let (k, k_strides) = upload("k", &inputs.k, p.head_dim, lens_k);
    let (v, v_strides) = upload("v", &inputs.v, p.head_dim_v, lens_k);
    let (o_strides, o_count) = place(p, p.num_heads, p.seqlen_q, p.head_dim_v, lens_q);
    let rows = lens_q.map_or(p.batch * p.seqlen_q, |lengths| lengths.iter().sum());
    let words = |count: usize, word: &[u8]| word.repeat(count + 2 * GUARD);
    let o = memory.upload("o", &words(o_count, &NOTHING.to_le_bytes()));
    let lse = memory.upload("lse", &words(rows * p.num_heads, &NOTHING_LSE.to_le_bytes()));
    let mut cu_seqlens = |name: &str, lengths: Option<&[usize]>| {
        let Some(lengths) = lengths else { return 0 };
        let sums = (0..=lengths.len()).map(|n| lengths[..n].iter().sum::<usize>());
        let bytes: Vec<u8> = sums.flat_map(|sum| i32::try_from(sum).unwrap().to_le_bytes()).collect();
        memory.upload(name, &bytes)
    };
    let (cu_q, cu_k) = (cu_seqlens("cu_seqlens_q", lens_q), cu_seqlens("cu_seqlens_k", lens_k));
    let scale = p.scale_value();
    let magnitude = if scale == 0.0 { 1.0 } else { scale.abs() };
    let int = |value: usize| u32::try_from(value).unwrap();
    let lse_strides = if p.ragged.is_some() { (0, rows) } else { (p.num_heads * p.seqlen_q, p.seqlen_q) };
    let strides = [q_strides, k_strides, v_strides, o_strides];
    let mut params = Params::new()
        .u64(q)
        .u64(k)
        .u64(v)
        .u64(o + 2 * GUARD as u64)
        .u64(lse + 4 * GUARD as u64)
        .u64(cu_q)
        .u64(cu_k)
        .f32(magnitude * std::f32::consts::LOG2_E);
    for value in [p.seqlen_q, p.seqlen_k, p.num_heads_k, p.head_dim, p.head_dim_v].map(int) {
        params = params.u32(value);
    }
    params = params.i32(p.window.0.unwrap_or(-1)).i32(p.window.1.unwrap_or(-1));
    params = strides.iter().fold(params, |params, strides| params.u32(strides.row));
    params = strides.iter().fold(params, |params, strides| params.u64(strides.batch));
    params = strides.iter().fold(params, |params, strides| params.u64(strides.head));
    params = params.u64(lse_strides.0 as u64).u64(lse_strides.1 as u64);
    params = params.u32(if scale == 0.0 { 0 } else { u32::MAX });
    params = params.u32(if scale < 0.0 { 0x8000_8000 } else { 0 }).u32(0);
    let grid = [int(p.num_heads), int(p.seqlen_q.div_ceil(128).max(1)), int(p.batch) * columns];
    let launch = Launch { grid, block: [128, 1, 1], shared_bytes, params: &params, sums };
    let module = Module::parse(text)?;
    let counters = module.kernel(&format!("flash_fwd_f16_d{limit}"))?.launch(&mut memory, &launch)?;
    let halves = memory.read(o).unwrap().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    let words = memory.read(lse).unwrap().chunks_exact(4);
    let lse = words.map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    Ok(Outcome { counters, o: halves, lse, o_strides })
}

/// Compares with f64; the text says what is wrong first.
pub(crate) fn check(problem: &Problem, inputs: &Inputs, outcome: &Outcome) -> Result<(), String> {
    let p = problem;
    let lens_q = p.ragged.as_ref().map(|ragged| ragged.rows.as_slice());
    let mut expected_o = vec![None; outcome.o.len()];
    let (mut worst, mut plain_worst, mut worst_lse) = (0_f64, 0_f64, 0_f64);
    let mut seen_lse = 0;
    for b in 0..p.batch {
        let (rows, keys) = p.lengths_of(b);
        for h in 0..p.num_heads {
            let hk = h / (p.num_heads / p.num_heads_k);
            let (q, k, v) = (&inputs.q[b][h][..rows], &inputs.k[b][hk][..keys], &inputs.v[b][hk]);
            let want = attention(p, q, k, v, Precision::F64);
            let plain = attention(p, q, k, v, Precision::Half);
            for row in 0..rows {
                let at = offset(outcome.o_strides, b, h, row, lens_q) + GUARD;
                for n in 0..p.head_dim_v {
                    let got = f16::from_bits(outcome.o[at + n]).to_f64();
                    expected_o[at + n] = Some(());
                    let place = format!("o[batch {b}][head {h}][row {row}][{n}]");
                    if !got.is_finite() {
                        return Err(format!("{place} is {got}, wanted {}", want.o[row][n]));
                    }
                    if want.lse[row] == f64::NEG_INFINITY && got != 0.0 {
                        return Err(format!("{place} is {got}, wanted 0: the row sees no key"));
                    }
                    worst = worst.max((got - want.o[row][n]).abs());
                    plain_worst = plain_worst.max((plain.o[row][n] - want.o[row][n]).abs());
                }
                let at = match lens_q {
                    Some(lengths) => {
                        h * lengths.iter().sum::<usize>() + lengths[..b].iter().sum::<usize>() + row
                    }
                    None => (b * p.num_heads + h) * p.seqlen_q + row,
                };
                let (got, want) = (f64::from(f32::from_bits(outcome.lse[at + GUARD])), want.lse[row]);
                seen_lse += 1;
                if got != want && (got - want).is_nan() || got.is_infinite() != want.is_infinite() {
                    return Err(format!("lse[batch {b}][head {h}][row {row}] is {got}, wanted {want}"));
                }
                worst_lse = if got == want { worst_lse } else { worst_lse.max((got - want).abs()) };
            }
        }
    }
    let touched = expected_o.iter().zip(&outcome.o).position(|(wanted, o)| wanted.is_none() && *o != NOTHING);
    if let Some(at) = touched {
        return Err(format!("element {at} of o's buffer belongs to nobody and was written"));
    }
    if outcome.lse.iter().filter(|word| **word == NOTHING_LSE).count() != outcome.lse.len() - seen_lse {
        return Err("words of lse's buffer that belong to nobody were written".to_owned());
    }
    // The rule and the two numbers are those of cuda/check.py.
    if worst > 2.0 * plain_worst + 1e-6 || worst_lse > 2e-3 {
        return Err(format!(
            "error {worst:.2e}, that of half precision {plain_worst:.2e}; of lse {worst_lse:.2e}"
        ));
    }
    Ok(())
}

/// Runs a problem as shipped, and checks it.
pub(crate) fn run_and_check(problem: &Problem, sums: Sums) -> Result<Counters, String> {
    let inputs = inputs(problem);
    let outcome = run(problem, &inputs, &ptx(kernel_of(problem)), sums).map_err(|error| error.to_string())?;
    check(problem, &inputs, &outcome)?;
    Ok(outcome.counters)
}
