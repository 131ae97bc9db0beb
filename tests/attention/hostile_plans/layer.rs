//! The layer kernels.

use fastattention::layer::activation::{self, Activation, Function};
use fastattention::layer::argmax::{self, Argmax};
use fastattention::layer::embedding::{self, Embedding, IdType};
use fastattention::layer::norm::{self, Norm};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{DType, Result, Soc};
use fastattention_testkit::device::device;
use proptest::prelude::*;

use super::{filled, launch_small, plan_or_refuse, size, stride, wild, ONE, SMALL, UNTOUCHED};

fn any_dtype() -> impl Strategy<Value = DType> + Clone {
    prop::sample::select(&[DType::F16, DType::Bf16, DType::F32][..])
}

/// Mostly one that makes sense.
fn rows_and_dim() -> impl Strategy<Value = [u32; 2]> {
    let dim = prop_oneof![6 => 1u32..300, 1 => 300u32..40_000, 1 => wild()];
    (size(0..=40), dim).prop_map(|(rows, dim)| [rows, dim])
}

/// Mostly dense, else wide enough for most rows, or of any kind.
fn row_stride() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => Just(None), 2 => (300u64..1000).prop_map(Some), 1 => stride().prop_map(Some)]
}

fn norms() -> impl Strategy<Value = norm::Problem> {
    let eps = prop_oneof![20 => 0f32..1.0, 1 => any::<f32>()];
    let strides = (row_stride(), row_stride(), row_stride(), row_stride());
    let types = prop_oneof![
        6 => any_dtype().prop_map(|dtype| [dtype, dtype, dtype]),
        6 => any_dtype().prop_map(|dtype| [dtype, DType::F32, DType::F32]),
        1 => prop::array::uniform3(any_dtype()),
    ];
    (rows_and_dim(), types, eps, strides, any::<[bool; 3]>()).prop_map(
        |(shape, [dtype, weights, residual], eps, strides, flags)| {
            let [is_layer, has_residual, has_bias] = flags;
            let base = if is_layer { norm::Problem::layer } else { norm::Problem::rms };
            let mut problem = base(dtype, shape, eps).with_weight_dtype(weights);
            (problem.x_stride, problem.y_stride) = (strides.0, strides.1);
            // Now and then strides without a residual.
            if has_residual || strides.0 == Some(400) {
                (problem.r_stride, problem.h_stride) = (strides.2, strides.3);
            }
            if has_residual {
                problem = problem.with_residual_dtype(residual);
            }
            if has_bias {
                problem = problem.with_bias();
            }
            problem
        },
    )
}

fn activations() -> impl Strategy<Value = activation::Problem> {
    let functions = [Function::Silu, Function::GeluTanh, Function::GeluErf];
    let strides = (row_stride(), row_stride(), row_stride());
    let spec = (prop::sample::select(functions.to_vec()), any_dtype(), any::<bool>());
    (rows_and_dim(), spec, strides).prop_map(|(shape, (function, dtype, is_gated), strides)| {
        let mut problem = activation::Problem::new(function, dtype, shape);
        problem.is_gated = is_gated;
        (problem.x_stride, problem.up_stride, problem.y_stride) = strides;
        problem
    })
}

fn embeddings() -> impl Strategy<Value = embedding::Problem> {
    let strides = (row_stride(), row_stride());
    (rows_and_dim(), size(1..=50), any_dtype(), strides, any::<[bool; 2]>()).prop_map(
        |([tokens, dim], num_ids, dtype, strides, [is_wide, is_checked])| {
            let mut problem = embedding::Problem::new(dtype, tokens, [num_ids, dim]);
            problem.id_type = if is_wide { IdType::I64 } else { IdType::I32 };
            problem.is_checked = is_checked;
            (problem.table_stride, problem.y_stride) = strides;
            problem
        },
    )
}

fn argmaxes() -> impl Strategy<Value = argmax::Problem> {
    (rows_and_dim(), any_dtype(), row_stride()).prop_map(|(shape, dtype, x_stride)| {
        let mut problem = argmax::Problem::new(dtype, shape);
        problem.x_stride = x_stride;
        problem
    })
}

/// What can be asked of every plan: nothing overflows.
fn check(text: &str, num_cores: u32, [predicted_us, bytes]: [f64; 2], soc: &Soc) {
    assert!(num_cores <= soc.vector_cores && !text.is_empty(), "{num_cores} cores: {text}");
    assert!(predicted_us.is_finite() && predicted_us >= 0.0, "{predicted_us} us: {text}");
    // Read and written are at most four tensors that the device holds.
    assert!(bytes <= 4.0 * soc.hbm_bytes as f64, "{bytes} bytes: {text}");
}

const NAMES: &[&str] = &[
    "rows",
    "dim",
    "dtype",
    "eps",
    "x_stride",
    "y_stride",
    "r_stride",
    "h_stride",
    "up_stride",
    "table_stride",
    "tokens",
    "num_ids",
    "operands (",
];

#[test]
fn every_norm_is_planned_or_refused_by_name() {
    plan_or_refuse(norms(), NAMES, norm::Problem::refusals, norm::plan, |plan, soc| {
        let data = plan.tiling_data();
        let stats = u64::from(data.ub_stats_offset_bytes) + 1024;
        assert!(stats <= soc.core.usable_ub_bytes().into(), "{plan}");
        let p = plan.problem();
        let _ = (p.operand_bytes(), p.residual_bytes(), p.weight_bytes());
        check(&plan.to_string(), data.num_cores, [plan.predicted_us(), plan.bytes() as f64], soc);
    });
}

#[test]
fn every_activation_is_planned_or_refused_by_name() {
    plan_or_refuse(activations(), NAMES, activation::Problem::refusals, activation::plan, |plan, soc| {
        let (data, p) = (plan.tiling_data(), plan.problem());
        let _ = (p.operand_bytes(), p.up_bytes());
        check(&plan.to_string(), data.num_cores, [plan.predicted_us(), plan.bytes() as f64], soc);
    });
}

#[test]
fn every_embedding_is_planned_or_refused_by_name() {
    plan_or_refuse(embeddings(), NAMES, embedding::Problem::refusals, embedding::plan, |plan, soc| {
        let data = plan.tiling_data();
        let status = u64::from(data.ub_status_offset_bytes) + 32;
        assert!(status <= soc.core.usable_ub_bytes().into(), "{plan}");
        let _ = (plan.problem().operand_bytes(), plan.problem().id_bytes(), plan.status_bytes());
        check(&plan.to_string(), data.num_cores, [plan.predicted_us(), plan.bytes() as f64], soc);
    });
}

#[test]
fn every_argmax_is_planned_or_refused_by_name() {
    plan_or_refuse(argmaxes(), NAMES, argmax::Problem::refusals, argmax::plan, |plan, soc| {
        let data = plan.tiling_data();
        assert!(data.ub_end_bytes <= soc.core.usable_ub_bytes(), "{plan}");
        let _ = (plan.problem().x_bytes(), plan.problem().index_bytes());
        check(&plan.to_string(), data.num_cores, [plan.predicted_us(), plan.bytes() as f64], soc);
    });
}

fn are_small(bytes: impl IntoIterator<Item = u64>) -> bool {
    bytes.into_iter().all(|bytes| bytes <= SMALL)
}

/// Operands of exactly the bytes that a plan needs; a launch that leaves them is a fault.
struct Run {
    device: Device,
    stream: Stream,
}

impl Run {
    fn new() -> Self {
        let device = device(|config| config.threads = 1);
        Self { stream: Stream::new(&device).unwrap(), device }
    }

    fn of<const N: usize>(&self, bytes: [u64; N]) -> [Buffer; N] {
        bytes.map(|bytes| filled(&self.device, bytes, ONE))
    }

    fn wait(&self, launched: Result<()>, plan: &str) {
        launched.and_then(|()| self.stream.synchronize()).unwrap_or_else(|e| panic!("{plan}: {e}"));
    }
}

#[test]
fn every_small_norm_and_activation_keeps_to_its_operands() {
    let is_small = |plan: &norm::Plan| {
        let p = plan.problem();
        are_small(p.operand_bytes().into_iter().chain(p.residual_bytes()).chain([p.weight_bytes()]))
    };
    launch_small(200, 60, (norms(), Just(())), norm::plan, is_small, |plan, ()| {
        let (run, p) = (Run::new(), plan.problem());
        let [x, y] = run.of(p.operand_bytes());
        let [r, h] = run.of(p.residual_bytes());
        let [weight, bias] = run.of([p.weight_bytes(); 2]);
        let mut args = norm::Args::new(&x, &weight, &y);
        (args.r, args.h) = (p.has_residual.then_some((&r).into()), p.has_residual.then_some((&h).into()));
        args.bias = p.has_bias.then_some((&bias).into());
        let launched = Norm::new(&run.device).unwrap().launch(&run.stream, plan, args);
        run.wait(launched, &plan.to_string());
    });
    let is_small = |plan: &activation::Plan| {
        let p = plan.problem();
        are_small(p.operand_bytes().into_iter().chain([p.up_bytes()]))
    };
    launch_small(200, 60, (activations(), Just(())), activation::plan, is_small, |plan, ()| {
        let (run, p) = (Run::new(), plan.problem());
        let ([x, y], [up]) = (run.of(p.operand_bytes()), run.of([p.up_bytes()]));
        let args = activation::Args::new(&x, &y);
        let args = if p.is_gated { args.with_up(&up) } else { args };
        let launched = Activation::new(&run.device).unwrap().launch(&run.stream, plan, args);
        run.wait(launched, &plan.to_string());
    });
}

/// Of equal elements the first one is the largest.
#[test]
fn every_small_argmax_keeps_to_its_operands() {
    let is_small = |plan: &argmax::Plan| are_small([plan.problem().x_bytes()]);
    launch_small(200, 60, (argmaxes(), Just(())), argmax::plan, is_small, |plan, ()| {
        let (run, p) = (Run::new(), plan.problem());
        let [x] = run.of([p.x_bytes()]);
        let index = filled(&run.device, p.index_bytes(), UNTOUCHED);
        let args = argmax::Args::new(&x, &index);
        let launched = Argmax::new(&run.device).unwrap().launch(&run.stream, plan, args);
        run.wait(launched, &plan.to_string());
        let found = index.to_vec::<u16>().unwrap();
        assert!(p.rows == 0 || found.iter().all(|half| *half == 0), "{plan}");
    });
}

/// Any numbers, mostly of small tables.
fn ids() -> impl Strategy<Value = Vec<i64>> {
    const EDGES: [i64; 8] = [-1, -2, i64::MIN, i64::MAX, 1 << 31, 1 << 32, -(1 << 32), (1 << 32) + 5];
    let id = prop_oneof![8 => 0i64..60, 2 => prop::sample::select(&EDGES[..]), 1 => any::<i64>()];
    prop::collection::vec(id, 40)
}

/// As many rows are copied as there are ids that the table has, and the others are counted.
#[test]
fn every_small_embedding_takes_any_ids() {
    let is_small = |plan: &embedding::Plan| {
        let p = plan.problem();
        are_small(p.operand_bytes().into_iter().chain([p.id_bytes(), plan.status_bytes()]))
    };
    launch_small(200, 60, (embeddings(), ids()), embedding::plan, is_small, |plan, ids| {
        let (run, p) = (Run::new(), plan.problem());
        let of_type = |id: i64| if p.id_type == IdType::I32 { i64::from(id as i32) } else { id };
        let ids: Vec<i64> = ids.iter().cycle().take(p.tokens as usize).map(|id| of_type(*id)).collect();
        let is_there = |id: &&i64| (0..i64::from(p.num_ids)).contains(*id);
        let [table_bytes, y_bytes] = p.operand_bytes();
        let [table] = run.of([table_bytes]);
        let [y, status] =
            [y_bytes, plan.status_bytes().max(32)].map(|bytes| filled(&run.device, bytes, UNTOUCHED));
        status.zero().unwrap();
        let narrow: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let list = match p.id_type {
            _ if ids.is_empty() => filled(&run.device, 8, 0),
            IdType::I64 => Buffer::from_slice(&run.device, &ids).unwrap(),
            _ => Buffer::from_slice(&run.device, &narrow).unwrap(),
        };
        let mut args = embedding::Args::new(&table, &list, &y);
        args.status = p.is_checked.then_some((&status).into());
        let launched = Embedding::new(&run.device).unwrap().launch(&run.stream, plan, args);
        run.wait(launched, &plan.to_string());
        let halves = p.dtype.size_bytes() / 2 * p.dim as usize;
        let copied = y.to_vec::<u16>().unwrap().iter().filter(|half| **half == ONE).count();
        assert_eq!(copied, ids.iter().filter(is_there).count() * halves, "{plan}");
        let wrong = ids.iter().filter(|id| !is_there(id) && **id != -1).count() as u64;
        let report = embedding::report(&status.to_vec::<i32>().unwrap()).unwrap();
        assert_eq!(report.num_wrong, if p.is_checked { wrong } else { 0 }, "{plan}");
    });
}
