//! The operator's calls on the simulator: what they refuse, and that one small problem comes out right. The
//! values of all shapes and masks are compared elsewhere.

use fastattention::attention::{host, plan, Args, Buffers, FlashAttention, Mask, Plan, Problem};
use fastattention::reference::{self, Params, Tensor};
use fastattention::runtime::{Device, Stream};
use fastattention::{DType, ErrorKind, Soc};
use fastattention_testkit::compare::{assert_all, assert_same};
use half::{bf16, f16};

fn operator() -> FlashAttention {
    FlashAttention::new(&Device::open("sim").unwrap()).unwrap()
}

fn problem() -> Problem {
    Problem::new(DType::F16, [1, 20, 4, 32]).with_seqlen_k(40).with_num_heads_k(2).with_mask(Mask::Causal)
}

/// Numbers in -1..1 that differ along the slice.
fn ramp(len: usize, step: f32) -> Vec<f16> {
    let mut at = 0.0f32;
    let mut next = || {
        at += step;
        at -= if at > 1.0 { 2.0 } else { 0.0 };
        f16::from_f32(at)
    };
    (0..len).map(|_| next()).collect()
}

/// Buffers of zeros.
fn zeros(device: &Device, plan: &Plan) -> Buffers {
    let buffers = Buffers::alloc(device, plan).unwrap();
    for buffer in [&buffers.q, &buffers.k, &buffers.v, &buffers.o, &buffers.workspace] {
        buffer.zero().unwrap();
    }
    buffers
}

#[test]
fn one_call_gives_the_reference() {
    let (q, k, v) = (ramp(20 * 4 * 32, 0.37), ramp(40 * 2 * 32, 0.53), ramp(40 * 2 * 32, 0.71));
    let out = host::attention(&problem(), &q, &k, &v).unwrap();
    let params = Params {
        batch: 1,
        num_heads: 4,
        num_heads_k: 2,
        head_dim: 32,
        head_dim_v: 32,
        seqlen_q: 20,
        seqlen_k: 40,
        softmax_scale: f64::from(1.0 / 32f32.sqrt()),
        mask: Mask::Causal,
    };
    let want = reference::attention(
        &params,
        Tensor::dense(&q, 20, 4, 32),
        Tensor::dense(&k, 40, 2, 32),
        Tensor::dense(&v, 40, 2, 32),
    );
    // P and o are rounded to f16: 2^-11 each, on values below 1.
    for (i, (got, want)) in out.o.iter().zip(&want.o).enumerate() {
        assert!((got.to_f64() - want).abs() < 1e-3, "o[{i}] = {got}, want {want}");
    }
    for (i, (got, want)) in out.lse.iter().zip(&want.lse).enumerate() {
        assert!((f64::from(*got) - want).abs() < 1e-5, "lse[{i}] = {got}, want {want}");
    }
}

#[test]
fn a_plan_is_launched_again_and_again() {
    let operator = operator();
    let plan = plan(&problem(), operator.device().soc()).unwrap();
    let buffers = zeros(operator.device(), &plan);
    let stream = Stream::new(operator.device()).unwrap();
    for value in [1.0f32, 2.0] {
        buffers.v.copy_from_host(&[f16::from_f32(value); 40 * 2 * 32]).unwrap();
        operator.launch(&stream, &plan, buffers.args()).unwrap();
        operator.launch(&stream, &plan, buffers.args()).unwrap();
        stream.synchronize().unwrap();
        let mut o = [f16::ZERO; 20 * 4 * 32];
        buffers.o.copy_to_host(&mut o).unwrap();
        assert_all(&o, &f16::from_f32(value), "o");
    }
}

#[test]
fn rows_without_keys_are_written() {
    let none = host::attention(&problem().with_seqlen_k(0), &ramp(20 * 4 * 32, 0.3), &[], &[]).unwrap();
    assert_same(&none.o, &[f16::ZERO; 20 * 4 * 32], "o");
    assert_same(&none.lse, &[f32::NEG_INFINITY; 80], "lse");
}

/// The stride of a dimension of 1 is never followed, so any number is right: 0 as of a broadcast, or what a
/// view had.
#[test]
fn strides_of_single_rows_say_nothing() {
    for stride in [0, 7, 65_536, u64::MAX] {
        let one = Some([stride, stride, 32]);
        let mut problem = Problem::new(DType::F16, [1, 1, 2, 32]).with_num_heads_k(2);
        problem.q_stride = one;
        problem.k_stride = one;
        problem.v_stride = one;
        problem.o_stride = one;
        let v = ramp(64, 0.71);
        let out = host::attention(&problem, &ramp(64, 0.37), &ramp(64, 0.53), &v).unwrap();
        assert_eq!(out.o, v, "stride {stride}: one key has all the weight");
    }
}

#[test]
fn empty_problems_launch_nothing() {
    let empty = Problem::new(DType::F16, [0, 20, 4, 32]);
    let out = host::attention::<f16>(&empty, &[], &[], &[]).unwrap();
    assert!(out.o.is_empty() && out.lse.is_empty());
}

#[test]
fn slices_are_checked() {
    let (q, k) = (ramp(20 * 4 * 32, 0.1), ramp(40 * 2 * 32, 0.1));
    let short = host::attention(&problem(), &q, &k, &k[1..]).unwrap_err();
    assert_eq!(short.to_string(), "attention: v has 2559 elements, its shape and strides need 2560");
    assert_eq!(short.kind(), ErrorKind::InvalidArgument);
    let other = [bf16::ZERO; 4];
    let mixed = host::attention(&problem(), &other, &other, &other).unwrap_err();
    assert_eq!(
        mixed.to_string(),
        "attention: dtype = f16 given with slices q, k and v of bf16, dtype = bf16 wanted"
    );
}

#[test]
fn a_plan_for_another_soc_is_refused() {
    let operator = operator();
    let other = Soc::all().iter().find(|s| *s != operator.device().soc()).unwrap();
    let plan = plan(&problem(), other).unwrap();
    let buffers = zeros(operator.device(), &plan);
    let stream = Stream::new(operator.device()).unwrap();
    let error = operator.launch(&stream, &plan, buffers.args()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = format!(
        "attention launch: a plan for {} with {} Cube cores given, one for device sim:0 wanted, which is ",
        other.name, other.cube_cores
    );
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[test]
fn small_and_foreign_buffers_are_refused() {
    let operator = operator();
    let plan = plan(&problem(), operator.device().soc()).unwrap();
    let buffers = zeros(operator.device(), &plan);
    let stream = Stream::new(operator.device()).unwrap();
    let small = Args { o: (&buffers.workspace).into(), workspace: (&buffers.o).into(), ..buffers.args() };
    let error = operator.launch(&stream, &plan, small).unwrap_err();
    let text =
        format!("attention launch: workspace has 5120 bytes, the plan needs {}", plan.workspace_bytes());
    assert_eq!(error.to_string(), text);

    let device = Device::simulated(fastattention::sim::Config::new(operator.device().soc())).unwrap();
    let foreign = zeros(&device, &plan);
    let mixed = Args { k: (&foreign.k).into(), ..buffers.args() };
    assert_eq!(operator.launch(&stream, &plan, mixed).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let elsewhere = Stream::new(&device).unwrap();
    assert_eq!(
        operator.launch(&elsewhere, &plan, buffers.args()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}
