//! Cases of the layer kernels.

use anyhow::Result;
use fastattention::layer::activation::{self, Activation, Function};
use fastattention::layer::argmax::{self, Argmax};
use fastattention::layer::embedding::{self, Embedding, IdType};
use fastattention::layer::norm::{self, Norm};
use fastattention::runtime::Buffer;
use fastattention::DType;
use half::{bf16, f16};

use super::operators::{alloc, normal};
use super::side_by_side::Twins;

const TYPES: [DType; 3] = [DType::F16, DType::Bf16, DType::F32];

pub(super) fn run(twins: &mut Twins) -> Result<()> {
    norms(twins)?;
    activations(twins)?;
    embeddings(twins)?;
    argmaxes(twins)
}

/// Slices of several rows and tails of them, rows in chunks, with and without what a norm may have.
fn norms(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Norm::from_module)?;
    let mut types: Vec<[DType; 3]> = TYPES.map(|dtype| [dtype; 3]).into();
    for d in [DType::F16, DType::Bf16] {
        types.extend([[d, DType::F32, d], [d, d, DType::F32], [d, DType::F32, DType::F32]]);
    }
    for [dtype, weights, residual] in types {
        let rms = |shape| norm::Problem::rms(dtype, shape, 1e-5).with_weight_dtype(weights);
        let layer = |shape| norm::Problem::layer(dtype, shape, 1e-5).with_weight_dtype(weights);
        let all = [
            rms([300, 200]).with_residual_dtype(residual),
            layer([2, 5000]).with_bias().with_residual_dtype(residual),
            layer([2, 5000]).with_bias(),
            rms([1, 64]),
        ];
        // Without a residual its type is that of x.
        let cases: Vec<_> = all.into_iter().filter(|p| p.residual_dtype == residual).collect();
        twins.cases(norm::kernel_name(dtype, weights, residual)?, cases, |twins, problem| {
            let plan = norm::plan(problem, twins.device.soc())?;
            let [x_bytes, y_bytes] = problem.operand_bytes();
            let [r_bytes, h_bytes] = problem.residual_bytes();
            let (x, y) = (normal(twins, dtype, x_bytes)?, alloc(twins, y_bytes)?);
            let (r, h) = (normal(twins, residual, r_bytes.max(4))?, alloc(twins, h_bytes.max(4))?);
            let weight = normal(twins, weights, problem.weight_bytes())?;
            let mut args = norm::Args::new(&x, &weight, &y);
            if problem.has_residual {
                args = args.with_residual(&r, &h);
            }
            if problem.has_bias {
                args = args.with_bias(&weight);
            }
            let results = [&y, &h];
            let results = if problem.has_residual { &results[..] } else { &results[..1] };
            twins.side_by_side(results, |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// Every function, dense rows and halves of rows, tails.
fn activations(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Activation::from_module)?;
    for dtype in TYPES {
        let of = |function, shape| activation::Problem::new(function, dtype, shape);
        let cases = [
            of(Function::Silu, [70, 300]).gated().with_halves(),
            of(Function::GeluTanh, [3, 4099]).gated(),
            of(Function::GeluErf, [1, 11_008]),
        ];
        twins.cases(activation::kernel_name(dtype), cases, |twins, problem| {
            let plan = activation::plan(problem, twins.device.soc())?;
            let [x_bytes, y_bytes] = problem.operand_bytes();
            let (x, y) = (normal(twins, dtype, x_bytes)?, alloc(twins, y_bytes)?);
            let up = normal(twins, dtype, problem.up_bytes().max(4))?;
            let args = activation::Args::new(&x, &y);
            let args = if problem.is_gated { args.with_up(&up) } else { args };
            twins.side_by_side(&[&y], |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// Short rows and long ones, several tiles of a core, ids that the table does not have.
fn embeddings(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Embedding::from_module)?;
    for dtype in TYPES {
        let of = |tokens, dim| embedding::Problem::new(dtype, tokens, [20, dim]);
        let cases = [of(3000, 70).checked(), of(5, 18_944).with_id_type(IdType::I64)];
        twins.cases(embedding::kernel_name(dtype), cases, |twins, problem| {
            let plan = embedding::plan(problem, twins.device.soc())?;
            let [table_bytes, y_bytes] = problem.operand_bytes();
            let (table, y) = (normal(twins, dtype, table_bytes)?, alloc(twins, y_bytes)?);
            let status = alloc(twins, plan.status_bytes())?;
            let ids: Vec<i32> = (0..problem.tokens).map(|i| (i * 7 % 23).cast_signed() - 1).collect();
            let wide: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            let ids = match problem.id_type {
                IdType::I64 => Buffer::from_slice(&twins.device, &wide)?,
                _ => Buffer::from_slice(&twins.device, &ids)?,
            };
            let args = embedding::Args::new(&table, &ids, &y);
            let args = if problem.is_checked { args.with_status(&status) } else { args };
            let results = [&y, &status];
            let results = if problem.is_checked { &results[..] } else { &results[..1] };
            twins.side_by_side(results, |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// Rows in one chunk and in several, with tails. The scalar unit reads UB, where the twin sees memory of its
/// own: what the kernel has set there when it starts. Rows whose first element is 0 and the largest have just
/// that.
fn argmaxes(twins: &mut Twins) -> Result<()> {
    let operators = twins.both(Argmax::from_module)?;
    for dtype in TYPES {
        let cases = [[1, 5], [60, 1000], [3, 20_000]].map(|shape| argmax::Problem::new(dtype, shape));
        twins.cases(argmax::kernel_name(dtype), cases, |twins, problem| {
            let plan = argmax::plan(problem, twins.device.soc())?;
            let (x, index) = (first_is_largest(twins, problem)?, alloc(twins, problem.index_bytes())?);
            let args = argmax::Args::new(&x, &index);
            twins.side_by_side(&[&index], |stream, side| operators[side].launch(stream, &plan, args))
        })?;
    }
    Ok(())
}

/// -1 in all places but the first of each row, which has 0.
fn first_is_largest(twins: &Twins, problem: &argmax::Problem) -> Result<Buffer> {
    let less: &[u8] = match problem.dtype {
        DType::F16 => &f16::NEG_ONE.to_le_bytes(),
        DType::Bf16 => &bf16::NEG_ONE.to_le_bytes(),
        _ => &(-1f32).to_le_bytes(),
    };
    let mut row = less.repeat(usize::try_from(problem.dim)?);
    row[..less.len()].fill(0);
    Ok(Buffer::from_slice(&twins.device, &row.repeat(usize::try_from(problem.rows)?))?)
}
