//! A problem as launches of shipped kernels (`Launch` of `cuda/check.py`, in Rust).

use std::path::Path;
use std::sync::LazyLock;

use fastattention_sm70::{Counters, Error, Launch, Module, Params, Sums};

use super::compare::check;
use super::problem::{inputs, Decode, Inputs, Pages, Problem};
use super::tensors::{int, Tensors};

/// A line of `cuda/kernels.csv`: the largest head_dim and head_dim_v; columns of o and rows of q a block.
#[derive(Debug, Clone, serde::Deserialize)]
struct Shape {
    kernel: String,
    kind: String,
    head_dim: usize,
    columns: usize,
    rows: usize,
    shared_bytes: u32,
}

static TABLE: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cuda/kernels.csv");
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    reader.deserialize().map(|line| line.unwrap_or_else(|e| panic!("{}: {e}", path.display()))).collect()
});

const THREADS: [u32; 3] = [128, 1, 1];

/// PTX of a kernel.
pub(crate) fn ptx(kernel: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cuda/ptx");
    let path = folder.join(format!("{kernel}.ptx"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The kernel that serves a problem.
pub(crate) fn kernel_of(problem: &Problem) -> String {
    shape_of(problem).kernel.clone()
}

/// Of its kind those with the least head dims that suffice; of these, for few rows, the first that takes all
/// packed rows in a block, or the last.
fn shape_of(problem: &Problem) -> &'static Shape {
    let (kind, packed) = match &problem.decode {
        Some(Decode { splits: 0, .. }) => ("paged", 0),
        Some(_) => ("decode", problem.seqlen_q * problem.num_heads / problem.num_heads_k),
        None if problem.groups == 2 => ("grouped", 0),
        None => ("forward", 0),
    };
    let dims = problem.head_dim.max(problem.head_dim_v);
    let of_kind = || TABLE.iter().filter(|shape| shape.kind == kind && shape.head_dim >= dims);
    let least = of_kind().map(|shape| shape.head_dim).min().unwrap();
    let mut fitting = of_kind().filter(|shape| shape.head_dim == least);
    fitting.clone().find(|shape| packed <= shape.rows).or_else(|| fitting.next_back()).unwrap()
}

/// What joins parts: of q that is packed, or not.
fn combine_of(problem: &Problem) -> &'static Shape {
    let packed = problem.ragged.is_some();
    let mut kernels = TABLE.iter().filter(|shape| shape.kind == "combine");
    kernels.find(|shape| shape.kernel.ends_with("_packed") == packed).unwrap()
}

/// The magnitude of the scale, in powers of two; 1 in place of 0.
fn scale_log2(problem: &Problem) -> f32 {
    let scale = problem.scale_value();
    if scale == 0.0 {
        std::f32::consts::LOG2_E
    } else {
        scale.abs() * std::f32::consts::LOG2_E
    }
}

fn lengths_and_dims(problem: &Problem, params: Params, heads: &[usize]) -> Params {
    let values =
        [&[problem.seqlen_q, problem.seqlen_k], heads, &[problem.head_dim, problem.head_dim_v]].concat();
    let params = values.into_iter().fold(params, |params, value| params.u32(int(value)));
    params.i32(problem.window.0.unwrap_or(-1)).i32(problem.window.1.unwrap_or(-1))
}

/// Runs a problem with `text` in place of the kernel that serves it. The counters are those of this kernel.
pub(crate) fn run(
    problem: &Problem,
    inputs: &Inputs,
    text: &str,
    sums: Sums,
) -> Result<(Tensors, Counters), Error> {
    let mut tensors = Tensors::new(problem, inputs);
    let module = Module::parse(text)?;
    let shape @ Shape { rows, shared_bytes, .. } = shape_of(problem);
    let (rows, shared_bytes) = (*rows, *shared_bytes);
    let kernel = module.kernel(&shape.kernel)?;
    let counters = match &problem.decode {
        None | Some(Decode { splits: 0, .. }) => {
            let params = forward_params(problem, &mut tensors);
            let blocks = int(problem.seqlen_q.div_ceil(rows).max(1));
            let columns = int(shape.head_dim / shape.columns);
            let grid = [int(problem.num_heads), blocks, int(problem.batch) * columns];
            let launch = Launch { grid, block: THREADS, shared_bytes, params: &params, sums };
            kernel.launch(&mut tensors.memory, &launch)?
        }
        Some(decode) => {
            let params = decode_params(problem, decode, &mut tensors);
            let packed = problem.seqlen_q * problem.num_heads / problem.num_heads_k;
            let blocks = problem.num_heads_k * packed.div_ceil(rows);
            let grid = [int(blocks), int(decode.splits), int(problem.batch)];
            let launch = Launch { grid, block: THREADS, shared_bytes, params: &params, sums };
            let counters = kernel.launch(&mut tensors.memory, &launch)?;
            if decode.splits > 1 {
                // Plans have one warp a row where parts are few; here both are tried.
                let warps_of_row = if decode.splits % 2 == 1 { 4 } else { 1 };
                let params = params.u32(int(decode.splits)).u32(int(rows)).u32(warps_of_row);
                let Shape { kernel, columns, shared_bytes, .. } = combine_of(problem);
                let blocks = problem.seqlen_q * problem.head_dim_v.div_ceil(*columns);
                let heads = int(problem.num_heads).div_ceil(4 / warps_of_row);
                let grid = [heads, int(blocks), int(problem.batch)];
                let launch =
                    Launch { grid, block: THREADS, shared_bytes: *shared_bytes, params: &params, sums };
                Module::parse(&ptx(kernel))?.kernel(kernel)?.launch(&mut tensors.memory, &launch)?;
            }
            counters
        }
    };
    Ok((tensors, counters))
}

fn forward_params(problem: &Problem, tensors: &mut Tensors) -> Params {
    let cu_q = tensors.cu_seqlens("cu_seqlens_q", problem.ragged.as_ref().map(|ragged| &ragged.rows));
    let cu_k = tensors.cu_seqlens("cu_seqlens_k", ragged_keys(problem));
    let params = tensors.addresses().u64(cu_q).u64(cu_k).f32(scale_log2(problem));
    let params = lengths_and_dims(problem, params, &[problem.num_heads_k]);
    let params = tensors.strides(problem, params).u32(0);
    let Some(pages) = problem.pages() else { return params };
    let ([used, table], sizes) = paged(pages, tensors);
    let params = params.u64(used).u64(table);
    sizes.into_iter().fold(params, Params::u32).u32(0)
}

/// Keys of each batch, where they lie one behind the other.
fn ragged_keys(problem: &Problem) -> Option<&Vec<usize>> {
    problem.ragged.as_ref().filter(|_| problem.pages().is_none()).map(|ragged| &ragged.keys)
}

/// Lengths and table on the device; entries of a row of it, pages, powers of two in a page.
fn paged(pages: &Pages, tensors: &mut Tensors) -> ([u64; 2], [u32; 3]) {
    let used = tensors.integers("seqused_k", pages.told().into_iter());
    let table = tensors.integers("block_table", pages.table().into_iter().flatten());
    ([used, table], [int(pages.table()[0].len()), int(pages.count()), pages.keys.trailing_zeros()])
}

fn decode_params(problem: &Problem, decode: &Decode, tensors: &mut Tensors) -> Params {
    let parts = problem.batch * problem.num_heads * problem.seqlen_q * decode.splits;
    let [partial_o, partial_lse] =
        [("partial_o", problem.head_dim_v), ("partial_lse", 1)].map(|(name, words)| {
            if decode.splits > 1 {
                tensors.memory.allocate(name, 4 * parts * words)
            } else {
                0
            }
        });
    let cu_q = tensors.cu_seqlens("cu_seqlens_q", problem.ragged.as_ref().map(|ragged| &ragged.rows));
    let cu_k = tensors.cu_seqlens("cu_seqlens_k", ragged_keys(problem));
    let no_pages = ([0, 0], [0, 0, 31]);
    let ([used, table], sizes) = decode.pages.as_ref().map_or(no_pages, |pages| paged(pages, tensors));
    let addresses = [partial_o, partial_lse, cu_q, cu_k, used, table];
    let params = addresses.into_iter().fold(tensors.addresses(), Params::u64).f32(scale_log2(problem));
    let params = lengths_and_dims(problem, params, &[problem.num_heads, problem.num_heads_k]);
    let params = sizes.into_iter().fold(params, Params::u32);
    let per_split = problem.seqlen_k.div_ceil(decode.splits).max(1).next_multiple_of(8);
    tensors.strides(problem, params.u32(int(per_split))).u32(int(problem.seqlen_q))
}

/// Runs a problem as shipped, and checks it.
pub(crate) fn run_and_check(problem: &Problem, sums: Sums) -> Result<Counters, String> {
    let inputs = inputs(problem);
    let found = run(problem, &inputs, &ptx(&kernel_of(problem)), sums);
    let (tensors, counters) = found.map_err(|error| error.to_string())?;
    check(problem, &inputs, &tensors)?;
    Ok(counters)
}
