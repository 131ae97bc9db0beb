#![allow(clippy::all, dead_code, missing_docs)]
mod common;
use common::cases::{Case, Layout, Values};
use common::data::operands;
use common::run::{run_typed, Bench};
use fastattention::tiling::{Candidate, Mask};
use fastattention::{sim, DType, Soc};
use fastrand::Rng;
use half::{bf16, f16};
use std::time::{Duration, Instant};

fn len(r: &mut Rng) -> u32 {
    match r.u32(0..8) {
        0 => 1,
        1 => r.u32(0..4),
        2 => 16 * r.u32(1..20),
        3 => r.u32(1..40),
        4 => 128 * r.u32(1..5) + r.u32(0..3) - 1,
        5 => r.u32(1..1500),
        6 => r.u32(1..300),
        _ => r.u32(1..700),
    }
}
fn case(r: &mut Rng) -> Case {
    let (mut sq, mut sk) = (len(r), len(r));
    match r.u32(0..30) {
        0 => {
            sk = r.u32(5000..20000);
            sq = r.u32(1..20)
        }
        1 => {
            sq = r.u32(3000..8000);
            sk = r.u32(0..20)
        }
        _ => {}
    }
    let hk = [1u32, 1, 2, 3][r.usize(0..4)];
    let mut h = hk * [1u32, 1, 2, 3, 4, 8][r.usize(0..6)];
    let mut batch = [1u32, 1, 2, 3, 0][r.usize(0..5)];
    if r.u32(0..40) == 0 {
        h = hk * 64;
        sq = sq.min(20);
        sk = sk.min(40);
        batch = 1;
    }
    while u64::from(batch.max(1) * h) * u64::from(sq) * u64::from(sk) > 6_000_000 {
        if h > hk {
            h = hk
        } else if batch > 1 {
            batch = 1
        } else {
            sq = sq / 2 + 1;
            sk = sk / 2;
        }
    }
    let w = |r: &mut Rng| -> Option<u32> {
        match r.u32(0..7) {
            0 => None,
            1 => Some(0),
            2 => Some(r.u32(0..3)),
            3 => Some(r.u32(0..70)),
            4 => Some(r.u32(0..2000)),
            5 => Some(u32::MAX - r.u32(0..2)),
            _ => Some(r.u32(0..300)),
        }
    };
    let mask = match r.u32(0..4) {
        0 => Mask::None,
        1 => Mask::Causal,
        _ => Mask::Window { left: w(r), right: w(r) },
    };
    Case {
        dtype: if r.bool() { DType::F16 } else { DType::Bf16 },
        batch,
        num_heads: h,
        num_heads_k: hk,
        head_dim: 16 * r.u32(1..=16),
        head_dim_v: 16 * r.u32(1..=16),
        seqlen_q: sq,
        seqlen_k: sk,
        mask,
        softmax_scale: match r.u32(0..8) {
            0 => Some(0.0),
            1 => Some(-0.3),
            2 => Some(5.0),
            3 => Some(1e-30),
            _ => None,
        },
        values: [
            Values::Normal,
            Values::LargeLogits,
            Values::EqualScores,
            Values::NegativeZero,
            Values::Growing,
        ][r.usize(0..5)],
        layout: [Layout::Bsnd, Layout::Bnsd, Layout::Gaps][r.usize(0..3)],
        seed: r.u64(..),
    }
}
fn cand(r: &mut Rng) -> Candidate {
    let block_n = 64 << r.u32(0..5);
    let preload = r.u32(1..=3);
    Candidate {
        block_m: 16 << r.u32(0..5),
        block_n,
        chunk_n: (64 << r.u32(0..5)).min(block_n),
        num_stages: r.u32(preload + 1..=8),
        preload,
    }
}
#[test]
fn fuzz() {
    let secs: u64 = std::env::var("SECS").unwrap_or("60".into()).parse().unwrap();
    let start: u64 = std::env::var("START").unwrap_or("0".into()).parse().unwrap();
    let end = Instant::now() + Duration::from_secs(secs);
    let mut i = start;
    let (mut refused, mut bad) = (0, 0);
    while Instant::now() < end {
        let r = &mut Rng::with_seed(i);
        let c = case(r);
        let soc = &["Ascend910B1", "Ascend910B2", "Ascend910B3", "Ascend910B4"][r.usize(0..4)];
        let seed = if r.u32(0..3) == 0 { None } else { Some(r.u64(..)) };
        let t = if r.bool() { Some(cand(r)) } else { None };
        let device_soc = Soc::by_name(soc).unwrap();
        let b = Bench {
            operator: fastattention::attention::FlashAttention::new(
                &fastattention::runtime::Device::simulated(sim::Config {
                    seed,
                    ..sim::Config::new(device_soc)
                })
                .unwrap(),
            )
            .unwrap(),
        };
        let res = match c.dtype {
            DType::F16 => run_typed::<f16>(&b, &c, &operands(&c), t, f64::from(f16::EPSILON) / 2.0),
            _ => run_typed::<bf16>(&b, &c, &operands(&c), t, f64::from(bf16::EPSILON) / 2.0),
        };
        match res {
            Err(e) if e.contains("attention on") => refused += 1,
            Err(e) => {
                bad += 1;
                println!("#{i} FAIL {c:?} {t:?} {soc} {seed:?}\n   {e}");
            }
            Ok(x) => {
                if let Err(e) = x.check() {
                    bad += 1;
                    println!("#{i} WRONG {c:?} {t:?} {soc} {seed:?}\n   {e}");
                }
            }
        }
        i += 1;
    }
    println!("ran {} refused {refused} bad {bad}", i - start);
}
