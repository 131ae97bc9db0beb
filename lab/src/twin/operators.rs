//! Cases of every other kernel: both sides of tiles, tails, masks, batches and strides of each.

use anyhow::Result;
use fastattention::append::{self, Append, Pairing, PlaceType, Rotary};
use fastattention::attention::{self, Mask, Problem};
use fastattention::baseline::{
    self, add_kernel_name, dense_causal_mask, score_pass_kernel_name, softmax_kernel_name, Add, AddTiling,
    MemoryCopy, Read, ReadFrom, ReadOrder, ReadTo, StandardArgs, StandardAttention, StandardPlan, VectorOp,
    VectorOperand, VectorStream, VectorStreamTiling,
};
use fastattention::kernels::operands::SelfTestOperands;
use fastattention::kernels::SelfTestTilingData;
use fastattention::matmul::{self, BLayout, Matmul, Strides};
use fastattention::merge::{self, Merge, Source};
use fastattention::parallel::{self, AttentionMatmul};
use fastattention::runtime::Buffer;
use fastattention::serving::{self, KvLayout, ServingAttention};
use fastattention::{DType, Soc};
use fastattention_testkit::data;
use fastrand::Rng;
use half::{bf16, f16};

use super::layer;
use super::side_by_side::Twins;

/// (bytes, blocks) of copies: less than a chunk, a chunk, ends inside a 32-byte block, more blocks than
/// chunks.
const COPIES: [(usize, u32); 5] = [(1, 1), (32 * 1024, 1), (65_537, 2), (300_001, 3), (100, 4)];

/// Element type of the operands, and of the result (matmul) or the scores (softmax).
const TYPES: [(DType, DType); 4] = [
    (DType::F16, DType::F16),
    (DType::Bf16, DType::Bf16),
    (DType::F16, DType::F32),
    (DType::Bf16, DType::F32),
];

/// Queries, keys and mask of unfused attention: a row, tails, rows without a key, several chunks of a row.
const SOFTMAXES: [(u32, u32, Mask); 5] = [
    (1, 1, Mask::None),
    (40, 70, Mask::Causal),
    (70, 40, Mask::Causal),
    (65, 128, Mask::None),
    (5, 2100, Mask::Causal),
];

pub(super) fn run(twins: &mut Twins) -> Result<()> {
    copies(twins)?;
    self_test(twins)?;
    sums(twins)?;
    reads(twins)?;
    vector_streams(twins)?;
    matmuls(twins)?;
    merges(twins)?;
    layer::run(twins)?;
    appends(twins)?;
    attention_matmuls(twins)?;
    decodes(twins)?;
    softmaxes(twins)
}

/// Device memory with normal numbers.
pub(super) fn normal(twins: &Twins, dtype: DType, bytes: u64) -> Result<Buffer> {
    let bytes = usize::try_from(bytes)?;
    let mut rng = Rng::with_seed(bytes as u64);
    let mut data = Vec::with_capacity(bytes);
    while data.len() < bytes {
        let x = data::normal(&mut rng);
        match dtype {
            DType::F16 => data.extend(f16::from_f32(x).to_le_bytes()),
            DType::Bf16 => data.extend(bf16::from_f32(x).to_le_bytes()),
            _ => data.extend(x.to_le_bytes()),
        }
    }
    Ok(Buffer::from_slice(&twins.device, &data)?)
}

pub(super) fn alloc(twins: &Twins, bytes: u64) -> Result<Buffer> {
    Ok(Buffer::alloc(&twins.device, usize::try_from(bytes)?)?)
}

fn copies(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(MemoryCopy::from_module)?;
    twins.cases("fa_copy", COPIES, |twins, &(bytes, blocks)| {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        let src = Buffer::from_slice(&twins.device, &data)?;
        let dst = Buffer::alloc(&twins.device, bytes)?;
        twins.side_by_side(&[&dst], |stream, side| {
            operators[side].launch(stream, blocks, bytes as u64, (&dst).into(), (&src).into())
        })
    })
}

/// Launched as `FlashAttention::self_test` and `AttentionMatmul::self_test` do, which compare the result and
/// keep it.
fn self_test(twins: &mut Twins) -> Result<()> {
    let kernels = twins.both(|module| module.kernel("fa_self_test"))?;
    let cores = twins.device.soc().cube_cores;
    twins.cases("fa_self_test", [(1, 0), (cores, 0), (cores, 1)], |twins, &(blocks, partner_distance)| {
        let [out, workspace] = [4, 2 + 4].map(|element| alloc(twins, u64::from(blocks) * 16 * 16 * element));
        let (out, workspace) = (out?, workspace?);
        let data = SelfTestTilingData { magic: 1.5, partner_distance };
        let operands = SelfTestOperands { out: (&out).into(), workspace: (&workspace).into(), tiling: &data };
        let args = operands.args()?;
        twins.side_by_side(&[&out, &workspace], |stream, side| kernels[side].launch(stream, blocks, &args))
    })
}

fn sums(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Add::from_module)?;
    let small = AddTiling { tile: 256, buffers: 2, num_cores: 5, y_gap_bytes: 0, past_l2: false };
    let cases = [
        (1, small),
        (5000, small),
        (5000, AddTiling { buffers: 1, ..small }),
        (5001, AddTiling { y_gap_bytes: 256, num_cores: 48, ..small }),
        (40_001, AddTiling { tile: 4096, num_cores: 3, ..small }),
    ];
    for dtype in [DType::F16, DType::F32] {
        twins.cases(add_kernel_name(dtype)?, cases, |twins, &(n, tiling)| {
            let bytes = n * dtype.size_bytes() as u64;
            let (x, y, z) =
                (normal(twins, dtype, bytes)?, normal(twins, dtype, bytes)?, alloc(twins, bytes)?);
            twins.side_by_side(&[&z], |stream, side| {
                operators[side].launch(stream, tiling, dtype, n, [&x, &y, &z].map(Into::into))
            })
        })?;
    }
    Ok(())
}

/// Nothing comes out of a read: its instructions are all that can be compared.
fn reads(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Read::from_module)?;
    let whole = ReadFrom::new([100, 130], [16, 64], 3);
    let cases = [
        whole,
        ReadFrom { pitch: 137, ..whole },
        ReadFrom { pitch: 70_000, shape: [6, 40], num_cores: 2, slice_cols: 40, ..whole },
        ReadFrom { slice_cols: 50, passes: 3, ..whole },
        ReadFrom { order: ReadOrder::AllRows, ..whole },
        ReadFrom { order: ReadOrder::Rotated, passes: 2, ..whole },
    ];
    for (kernel, to) in [("fa_read_ub", ReadTo::Ub), ("fa_read_l1", ReadTo::L1)] {
        twins.cases(kernel, cases, |twins, from| {
            let src = normal(twins, DType::F16, from.span_bytes())?;
            twins.side_by_side(&[], |stream, side| operators[side].launch(stream, from, to, (&src).into()))
        })?;
    }
    Ok(())
}

fn vector_streams(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(VectorStream::from_module)?;
    let dense = |op| VectorStreamTiling {
        op,
        count: 3,
        repeat: 4,
        barrier: true,
        scalar: 0.5,
        dst: VectorOperand::contiguous(0),
        src0: VectorOperand::contiguous(8192),
        src1: VectorOperand::contiguous(16_384),
    };
    let strided = |op| VectorStreamTiling {
        src0: VectorOperand { offset_bytes: 8192, block_stride: 2, repeat_stride: 17 },
        src1: VectorOperand { offset_bytes: 32_768, block_stride: 3, repeat_stride: 0 },
        ..dense(op)
    };
    for (kernel, dtype) in [("fa_vector_stream_f16", DType::F16), ("fa_vector_stream_f32", DType::F32)] {
        let cases = VectorOp::ALL.into_iter().flat_map(|op| [dense(op), strided(op)]);
        twins.cases(kernel, cases, |twins, tiling| {
            let out = alloc(twins, tiling.out_bytes())?;
            twins.side_by_side(&[&out], |stream, side| {
                operators[side].launch(stream, tiling, dtype, (&out).into())
            })
        })?;
    }
    Ok(())
}

fn matmuls(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Matmul::from_module)?;
    for (dtype, dtype_out) in TYPES {
        let problem = |mnk| matmul::Problem::new(dtype, mnk).with_dtype_out(dtype_out);
        let repeated = Strides { batch: [2 * 33 * 31, 33 * 31, 0], row: 31 };
        let cases = [
            problem([1, 1, 1]),
            problem([33, 48, 40]).with_b_layout(BLayout::Nk),
            problem([129, 257, 200]),
            problem([129, 257, 200]).with_b_layout(BLayout::Nk),
            problem([300, 40, 700]),
            matmul::Problem { b_strides: Some(repeated), ..problem([17, 31, 33]).with_batch([2, 2, 3]) },
            problem([3, 900, 700]).with_b_layout(BLayout::Nk),
            matmul::Problem { accumulates: dtype_out == DType::F32, ..problem([3, 900, 100]) },
        ];
        twins.cases(matmul::kernel_name(dtype, dtype_out)?, cases, |twins, problem| {
            let plan = matmul::plan(problem, twins.device.soc())?;
            let [a, b, c] = problem.operand_bytes();
            let (a, b, c) = (normal(twins, dtype, a)?, normal(twins, dtype, b)?, alloc(twins, c)?);
            let args = matmul::Args::new(&a, &b, &c);
            // Where it is added to C, that holds what results are filled with.
            twins.side_by_side(&[&c], |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// Columns of the result behind attention: of the first problem a part of what its cores could do, of the
/// second more than the attention's few cores do.
fn attention_matmuls(twins: &mut Twins) -> Result<()> {
    let operator = AttentionMatmul::new(&twins.device)?;
    let operators = twins.both(|module| operator.with_kernels_of(module))?;
    for (dtype, scores) in [(DType::F16, DType::F32), (DType::Bf16, DType::F32), (DType::F16, DType::F16)] {
        let problem = |shape| Problem::new(dtype, shape).with_score_dtype(scores).with_mask(Mask::Causal);
        let cases = [
            (problem([2, 133, 4, 32]).with_num_heads_k(2), 48, BLayout::Kn),
            (problem([1, 50, 2, 48]).with_seqlen_k(40), 1000, BLayout::Nk),
        ];
        twins.cases(parallel::kernel_name(dtype, scores)?, cases, |twins, (problem, columns, layout)| {
            let shape = problem.shape();
            let mnk = [shape.batch * shape.seqlen_q, *columns, shape.num_heads * shape.head_dim_v];
            let product = matmul::Problem::new(dtype, mnk).with_b_layout(*layout);
            let soc = twins.device.soc();
            let (attention, product) = (attention::plan(problem, soc)?, matmul::plan(&product, soc)?);
            let ([q, k, v, o, _], [_, b, c]) = (shape.operand_bytes(), product.problem().operand_bytes());
            let [q, k, v, b] = [q, k, v, b].map(|bytes| normal(twins, dtype, bytes));
            let (q, k, v, b) = (q?, k?, v?, b?);
            let (o, c) = (alloc(twins, o)?, alloc(twins, c)?);
            let workspace = alloc(twins, attention.workspace_bytes())?;
            let args = attention::Args::new(&q, &k, &v, &o, &workspace);
            let product_args = matmul::Args::new(&o, &b, &c);
            twins.side_by_side(&[&o, &c], |stream, side| {
                operators[side].launch(stream, (&attention, args), (&product, product_args))
            })
        })?;
    }
    Ok(())
}

/// One tile and several, tails of rows, one source and two, more parts than one repeat takes.
fn merges(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Merge::from_module)?;
    let wide = DType::F32;
    let types = [DType::F16, DType::Bf16, wide].map(|dtype| (dtype, dtype));
    for (dtype, dtype_out) in types.into_iter().chain([(wide, DType::F16), (wide, DType::Bf16)]) {
        let cases = [
            (vec![2], [1, 70, 2, 64]),
            (vec![1], [1, 1, 1, 16]),
            (vec![1, 3], [2, 1, 9, 128]),
            (vec![260], [1, 9, 1, 32]),
        ];
        twins.cases(merge::kernel_name(dtype, dtype_out)?, cases, |twins, (counts, shape)| {
            let sources: Vec<Source> = counts.iter().map(|&parts| Source::new(parts)).collect();
            let problem =
                merge::Problem::new(dtype, 1, *shape).with_dtype_out(dtype_out).with_sources(sources);
            let plan = merge::plan(&problem, twins.device.soc())?;
            let (mut o_parts, mut lse_parts) = (Vec::new(), Vec::new());
            for [o, lse] in problem.source_bytes() {
                o_parts.push(normal(twins, dtype, o)?);
                lse_parts.push(normal(twins, DType::F32, lse)?);
            }
            let [o, lse] = problem.operand_bytes();
            let (o, lse) = (alloc(twins, o)?, alloc(twins, lse)?);
            let o_parts: Vec<merge::Operand<'_>> = o_parts.iter().map(Into::into).collect();
            let lse_parts: Vec<merge::Operand<'_>> = lse_parts.iter().map(Into::into).collect();
            twins.side_by_side(&[&o, &lse], |stream, side| {
                operators[side].launch(stream, &plan, merge::Args::new(&o_parts, &lse_parts, &o, &lse))
            })
        })?;
    }
    Ok(())
}

/// Rows in one piece and by heads on both sides, several tiles of a core, places that are none and wrong
/// ones. Rotated: both pairings, parts of heads, q, a wrong position.
fn appends(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Append::from_module)?;
    for dtype in [DType::F16, DType::Bf16] {
        let cache = |shape, kv| serving::Problem::new(dtype, shape, 100, kv);
        let [copies, rotates] = append::kernel_names(dtype)?;
        let cases = [
            append::Problem::new(60, &cache([1, 1, 2, 64], KvLayout::paged(16, 9))).checked(),
            append::Problem::new(700, &cache([8, 1, 3, 20], KvLayout::padded().with_heads_first()))
                .with_place_type(PlaceType::I64),
            append::Problem::new(5, &cache([2, 1, 2, 80], KvLayout::padded()))
                .with_strides([80, 400], [400, 80]),
            append::Problem::new(70, &cache([1, 1, 2, 64], KvLayout::paged(16, 9).with_vllm())).checked(),
            append::Problem::new(70, &cache([1, 1, 2, 64], KvLayout::paged(16, 9).with_nz())),
        ];
        twins.cases(copies, cases, |twins, problem| append(twins, &operators, problem))?;
        let of_pages = |heads| cache([1, 1, heads, 128], KvLayout::paged(16, 9)).with_num_heads_k(2);
        let cases = [
            append::Problem::new(60, &of_pages(4))
                .with_rotary(Rotary::new(Pairing::Halves, 128, 70).with_q()),
            append::Problem::new(120, &of_pages(6))
                .with_rotary(
                    Rotary::new(Pairing::Adjacent, 48, 100).with_position_type(PlaceType::I64).with_q(),
                )
                .checked(),
            append::Problem::new(700, &cache([8, 1, 3, 80], KvLayout::padded().with_heads_first()))
                .with_rotary(Rotary::new(Pairing::Halves, 80, 700)),
            append::Problem::new(70, &cache([1, 1, 2, 64], KvLayout::paged(16, 9).with_nz()))
                .with_rotary(Rotary::new(Pairing::Halves, 64, 70)),
            append::Problem::new(70, &cache([1, 1, 4, 64], KvLayout::paged(16, 9).with_vllm()))
                .with_rotary(Rotary::new(Pairing::Adjacent, 32, 70).with_q()),
        ];
        twins.cases(rotates, cases, |twins, problem| append(twins, &operators, problem))?;
    }
    Ok(())
}

fn append(twins: &mut Twins, operators: &[Append; 2], problem: &append::Problem) -> Result<()> {
    let (dtype, plan) = (problem.cache.spec.dtype, append::plan(problem, twins.device.soc())?);
    let [k, v, k_cache, v_cache] = plan.operand_bytes();
    let (k, v) = (normal(twins, dtype, k)?, normal(twins, dtype, v)?);
    let (k_cache, v_cache) = (alloc(twins, k_cache)?, alloc(twins, v_cache)?);
    let ([q, q_out], table) = (plan.query_bytes(), normal(twins, DType::F32, plan.table_bytes())?);
    let (q, q_out) = (normal(twins, dtype, q)?, alloc(twins, q_out)?);
    let status = alloc(twins, plan.status_bytes())?;
    // -1 first, and one that the cache does not have last; the places between in another order.
    let last = i64::from(problem.tokens) - 1;
    let place = |token: i64| if token == last { 1 << 30 } else { (token - 1) ^ 1 };
    let places = (0..=last).map(|token| if token == 0 { -1 } else { place(token) }).collect();
    let places = integers(twins, problem.place_type, places)?;
    // The last is one more than the table has, if it is as long.
    let positions = (0..=last).map(|token| if token == last { 700 } else { token % 50 }).collect();
    let positions = integers(twins, problem.rotary.map_or(PlaceType::I32, |r| r.position_type), positions)?;
    let mut args = append::Args::new(&k, &v, &places, &k_cache, &v_cache);
    if problem.is_checked {
        args = args.with_status(&status);
    }
    if let Some(rotary) = problem.rotary {
        let operands = append::RotaryArgs::new(&positions, &table);
        args = args.with_rotary(if rotary.has_q { operands.with_q(&q, &q_out) } else { operands });
    }
    twins.side_by_side(&[&k_cache, &v_cache, &q_out, &status], |stream, side| {
        operators[side].launch(stream, &plan, args)
    })
}

/// As i32 or i64.
fn integers(twins: &Twins, integer: PlaceType, numbers: Vec<i64>) -> Result<Buffer> {
    if integer == PlaceType::I64 {
        return Ok(Buffer::from_slice(&twins.device, &numbers)?);
    }
    let narrow: Vec<i32> = numbers.into_iter().map(i32::try_from).collect::<Result<_, _>>()?;
    Ok(Buffer::from_slice(&twins.device, &narrow)?)
}

/// Steps over caches: split and whole tasks, tails, an empty slot, a page that there is not, both orders.
fn decodes(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(ServingAttention::from_module)?;
    for dtype in [DType::F16, DType::Bf16] {
        let problem = |shape, kv| {
            serving::Problem::new(dtype, shape, 700, kv)
                .with_num_heads_k(2)
                .with_mask(Mask::Causal)
                .with_lse()
        };
        let packed = |mask| {
            serving::Problem::packed(dtype, [300, 8, 64], [4, 250], 700, KvLayout::padded())
                .with_num_heads_k(2)
                .with_mask(mask)
                .with_lse()
        };
        let cases = [
            (problem([4, 1, 8, 64], KvLayout::paged(16, 120)).checked(), vec![700, 0, 33, 128], vec![]),
            (problem([2, 3, 4, 128], KvLayout::paged(128, 9).with_heads_first()), vec![256, 699], vec![]),
            (problem([1, 16, 8, 256], KvLayout::padded()), vec![530], vec![]),
            (problem([2, 2, 4, 64], KvLayout::paged(32, 50).with_nz()), vec![530, 33], vec![]),
            (problem([2, 1, 4, 64], KvLayout::paged(16, 80).with_vllm()), vec![530, 33], vec![]),
            (problem([1, 1, 4, 128], KvLayout::paged(64, 20).with_vllm()), vec![530], vec![]),
            (
                problem([3, 1, 8, 64], KvLayout::paged(32, 50).with_csr_table(44)).checked(),
                vec![700, 0, 200],
                vec![],
            ),
            (
                packed(Mask::Window { left: Some(90), right: Some(20) }).checked(),
                vec![700, 33, 90, 10],
                vec![0, 250, 250, 290, 270],
            ),
            (packed(Mask::Causal).batch_invariant(), vec![700, 1, 90, 300], vec![0, 200, 201, 201, 300]),
        ];
        twins.cases(serving::kernel_name(dtype)?, cases, |twins, (problem, lengths, row_starts)| {
            let plan = serving::plan(problem, twins.device.soc())?;
            let [q, k, v, o] = plan.operand_bytes();
            let (q, k, v) = (normal(twins, dtype, q)?, normal(twins, dtype, k)?, normal(twins, dtype, v)?);
            let (o, lse) = (alloc(twins, o)?, alloc(twins, plan.lse_bytes())?);
            let workspace = alloc(twins, plan.workspace_bytes())?;
            let status = alloc(twins, 4 * (serving::STATUS_WORDS * lengths.len()) as u64)?;
            let lengths = Buffer::from_slice(&twins.device, lengths)?;
            // Pages one after the other; those behind the last one are not there.
            let table: Vec<i32> = (0..).take(usize::try_from(plan.table_bytes() / 4)?).collect();
            let args = serving::Args::new(&q, &k, &v, &lengths, &o, &workspace).with_lse(&lse);
            let table =
                if table.is_empty() { None } else { Some(Buffer::from_slice(&twins.device, &table)?) };
            let args = table.iter().fold(args, serving::Args::with_block_table);
            let args = if problem.is_checked { args.with_status(&status) } else { args };
            // Of a list: the last slot has fewer than its keys need.
            let page_starts = if plan.page_starts_bytes() > 0 {
                Some(Buffer::from_slice(&twins.device, &[0, 30, 30, 33])?)
            } else {
                None
            };
            let args = page_starts.iter().fold(args, serving::Args::with_page_starts);
            let row_starts = if row_starts.is_empty() {
                None
            } else {
                Some(Buffer::from_slice(&twins.device, row_starts)?)
            };
            let args = row_starts.iter().fold(args, serving::Args::with_row_starts);
            twins.side_by_side(&[&o, &lse], |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// Softmax as unfused attention launches it between two products, and the passes that stand for it.
fn softmaxes(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(StandardAttention::from_module)?;
    for (dtype, scores) in TYPES {
        twins.cases(softmax_kernel_name(dtype, scores)?, SOFTMAXES, |twins, case| {
            unfused(twins, &operators, dtype, *case, |problem, soc| baseline::plan(problem, scores, soc))
        })?;
    }
    for dtype in [DType::F16, DType::Bf16] {
        let pass = |from, to| score_pass_kernel_name(from, to);
        let passes = [pass(dtype, dtype)?, pass(dtype, DType::F32)?, pass(DType::F32, dtype)?];
        let softmax =
            (dtype == DType::F16).then(|| softmax_kernel_name(DType::F32, DType::F32)).transpose()?;
        // Each case launches them all.
        for kernel in passes.into_iter().chain(softmax) {
            twins.cases(kernel, SOFTMAXES, |twins, case| {
                unfused(twins, &operators, dtype, *case, baseline::plan_in_passes)
            })?;
        }
    }
    Ok(())
}

/// A case of unfused attention.
fn unfused(
    twins: &mut Twins,
    operators: &[StandardAttention; 2],
    dtype: DType,
    (seqlen_q, seqlen_k, mask): (u32, u32, Mask),
    plan: impl Fn(&Problem, &Soc) -> fastattention::Result<StandardPlan>,
) -> Result<()> {
    let problem = Problem::new(dtype, [1, seqlen_q, 2, 32]).with_num_heads_k(1);
    let plan = plan(&problem.with_seqlen_k(seqlen_k).with_mask(mask), twins.device.soc())?;
    let [q, k, v, o, _] = plan.problem().shape().operand_bytes();
    let (q, k, v) = (normal(twins, dtype, q)?, normal(twins, dtype, k)?, normal(twins, dtype, v)?);
    let (o, workspace) = (alloc(twins, o)?, alloc(twins, plan.workspace_bytes())?);
    let hidden = if dtype == DType::F16 { f16::NEG_INFINITY.to_bits() } else { bf16::NEG_INFINITY.to_bits() };
    let dense = Buffer::from_slice(&twins.device, &dense_causal_mask([seqlen_q, seqlen_k], &0, &hidden))?;
    let args = StandardArgs::new(&q, &k, &v, &o, &workspace);
    let args = if mask == Mask::Causal { args.with_mask(&dense) } else { args };
    twins.side_by_side(&[&o, &workspace], |stream, side| operators[side].launch(stream, &plan, args))
}
