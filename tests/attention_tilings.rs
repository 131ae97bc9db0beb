//! Every tiling that the planner can make must give the same attention: random problems under random tilings, on the
//! simulator with all its checks, in an interleaving that differs from run to run of the loop but not of the test.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

#[path = "common/compare.rs"]
mod compare;

use fastattention::attention::{plan_with, Args, FlashAttention, Mask, Plan, Problem};
use fastattention::reference::{attention, same_precision, Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::tiling::Candidate;
use fastattention::{sim, DType, Soc};
use fastrand::Rng;
use half::f16;

const RUNS: u64 = 32;
/// f16 has 11 significant bits.
const UNIT: f64 = 1.0 / 2048.0;

fn problem(rng: &mut Rng) -> Problem {
    let num_heads_k = rng.u32(1..=2);
    let mask = match rng.u32(0..4) {
        0 => Mask::None,
        1 => Mask::Causal,
        2 => Mask::Window { left: Some(rng.u32(..200)), right: Some(rng.u32(..100)) },
        _ => Mask::Window { left: Some(rng.u32(..300)), right: None },
    };
    let q = [rng.u32(1..=2), rng.u32(1..300), num_heads_k * rng.u32(1..=2), 16 * rng.u32(1..=16)];
    Problem::new(DType::F16, q)
        .with_seqlen_k(rng.u32(..700))
        .with_num_heads_k(num_heads_k)
        .with_head_dim_v(16 * rng.u32(1..=16))
        .with_mask(mask)
        .with_lse()
}

/// A plan under a random tiling that fits.
fn plan(rng: &mut Rng, problem: &Problem, soc: &Soc) -> Plan {
    loop {
        let block_n = 64 << rng.u32(..5);
        let preload = rng.u32(1..=3);
        let candidate = Candidate {
            block_m: 16 << rng.u32(..5),
            block_n,
            chunk_n: (64 << rng.u32(..5)).min(block_n),
            num_stages: preload + rng.u32(1..=3),
            preload,
        };
        if let Ok(plan) = plan_with(problem, soc, candidate) {
            return plan;
        }
    }
}

fn values(rng: &mut Rng, bytes: u64) -> Vec<f16> {
    (0..bytes / 2).map(|_| f16::from_f32(4.0 * rng.f32() - 2.0)).collect()
}

fn params(problem: &Problem) -> Params {
    let shape = problem.shape();
    Params {
        batch: shape.batch as usize,
        num_heads: shape.num_heads as usize,
        num_heads_k: shape.num_heads_k as usize,
        head_dim: shape.head_dim as usize,
        head_dim_v: shape.head_dim_v as usize,
        seqlen_q: shape.seqlen_q as usize,
        seqlen_k: shape.seqlen_k as usize,
        softmax_scale: shape.softmax_scale.into(),
        mask: shape.mask,
    }
}

fn run(operator: &FlashAttention, plan: &Plan, [q, k, v]: [&[f16]; 3]) -> (Vec<f64>, Vec<f64>) {
    let alloc =
        |bytes: u64| Buffer::alloc(operator.device(), usize::try_from(bytes.max(1)).unwrap()).unwrap();
    let upload = |data: &[f16]| {
        let buffer = alloc(2 * data.len() as u64);
        buffer.copy_from_host(data).unwrap();
        buffer
    };
    let (q, k, v) = (upload(q), upload(k), upload(v));
    let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
    let (o, lse, workspace) = (alloc(o_bytes), alloc(lse_bytes), alloc(plan.workspace_bytes()));
    let args = Args {
        q: (&q).into(),
        k: (&k).into(),
        v: (&v).into(),
        o: (&o).into(),
        lse: Some((&lse).into()),
        workspace: (&workspace).into(),
    };
    let stream = Stream::new(operator.device()).unwrap();
    operator.launch(&stream, plan, args).unwrap();
    stream.synchronize().unwrap_or_else(|e| panic!("{e}\n{plan}"));
    let mut o_host = vec![f16::ZERO; o.len_bytes() / 2];
    let mut lse_host = vec![0.0f32; lse.len_bytes() / 4];
    o.copy_to_host(&mut o_host).unwrap();
    lse.copy_to_host(&mut lse_host).unwrap();
    (o_host.iter().map(|x| x.to_f64()).collect(), lse_host.iter().map(|&x| x.into()).collect())
}

#[test]
fn any_tiling_gives_the_reference() {
    let soc = Soc::by_name("Ascend910B3").unwrap();
    for seed in 0..RUNS {
        let rng = &mut Rng::with_seed(seed);
        let config = sim::Config { seed: (seed % 2 == 1).then_some(seed), ..sim::Config::new(soc) };
        let operator = FlashAttention::new(&Device::simulated(config).unwrap()).unwrap();
        let problem = problem(rng);
        let plan = plan(rng, &problem, soc);
        let [q, k, v] = [0, 1, 2].map(|i| values(rng, plan.shape().operand_bytes()[i]));
        let (o, lse) = run(&operator, &plan, [&q, &k, &v]);

        let p = params(&problem);
        let q = Tensor::dense(&q, p.seqlen_q, p.num_heads, p.head_dim);
        let k = Tensor::dense(&k, p.seqlen_k, p.num_heads_k, p.head_dim);
        let v = Tensor::dense(&v, p.seqlen_k, p.num_heads_k, p.head_dim_v);
        let (want, plain) = (attention(&p, q, k, v), same_precision(&p, q, k, v));
        let o_shape = [p.batch, p.seqlen_q, p.num_heads, p.head_dim_v];
        let outcome = compare::check_o(&o, &want.o, &plain.o, UNIT, o_shape);
        let lse_shape = [1, p.batch, p.num_heads, p.seqlen_q];
        let outcome = outcome.and_then(|()| compare::check_lse(&lse, &want.lse, lse_shape));
        outcome.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{plan}"));
    }
}
