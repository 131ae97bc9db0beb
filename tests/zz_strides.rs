#![allow(clippy::all, dead_code, missing_docs)]
mod common;
use common::compare::{check_lse, check_o};
use common::run::Bench;
use fastattention::attention::{host, FlashAttention, Problem};
use fastattention::reference::{self, Params, Tensor};
use fastattention::tiling::Mask;
use fastattention::{sim, DType, Soc};
use fastrand::Rng;
use half::f16;
use std::time::{Duration, Instant};

fn stride(r: &mut Rng, [b, s, h, d]: [u64; 4], out: bool) -> [u64; 3] {
    // random order of dims with random gaps; sometimes broadcast, sometimes junk on extents of 1
    let mut order = [0usize, 1, 2];
    r.shuffle(&mut order);
    let ext = [b, s, h];
    let mut st = [0u64; 3];
    let mut inner = d;
    for &i in &order {
        let gap = match r.u32(0..6) {
            0 => r.u64(0..3),
            1 => r.u64(0..70000),
            2 => 65535u64.saturating_sub(inner),
            3 => 65536u64.saturating_sub(inner),
            _ => 0,
        };
        let mut x = inner + gap;
        if !out && i != 1 && r.u32(0..6) == 0 {
            x = 0
        }
        if ext[i] <= 1 {
            match r.u32(0..4) {
                0 => x = 0,
                1 => x = r.u64(..),
                2 => x = r.u64(0..10),
                _ => {}
            }
        }
        st[i] = x;
        if ext[i] > 1 && x > 0 {
            inner = x * (ext[i] - 1) + inner;
        }
    }
    st
}
fn span([b, s, h, d]: [u64; 4], st: [u64; 3]) -> usize {
    if b * s * h == 0 {
        return 0;
    }
    (0..3).map(|i| ([b, s, h][i] - 1).saturating_mul(st[i])).fold(d, u64::saturating_add) as usize
}
#[test]
fn strides() {
    let secs: u64 = std::env::var("SECS").unwrap_or("60".into()).parse().unwrap();
    let start: u64 = std::env::var("START").unwrap_or("0".into()).parse().unwrap();
    let end = Instant::now() + Duration::from_secs(secs);
    let mut i = start;
    let (mut refused, mut bad, mut skip) = (0, 0, 0);
    while Instant::now() < end {
        let r = &mut Rng::with_seed(i);
        i += 1;
        let hk = r.u64(1..4);
        let h = hk * r.u64(1..4);
        let b = r.u64(0..4);
        let sq = if r.bool() { r.u64(0..4) } else { r.u64(1..60) };
        let sk = if r.bool() { r.u64(0..4) } else { r.u64(1..200) };
        let (d, dv) = (16 * r.u64(1..=6), 16 * r.u64(1..=6));
        let shapes = [[b, sq, h, d], [b, sk, hk, d], [b, sk, hk, dv], [b, sq, h, dv]];
        let st: Vec<[u64; 3]> = (0..4).map(|t| stride(r, shapes[t], t == 3)).collect();
        let lens: Vec<usize> = (0..4).map(|t| span(shapes[t], st[t])).collect();
        if lens.iter().any(|&l| l > 40_000_000) {
            skip += 1;
            continue;
        }
        let mut p = Problem::new(DType::F16, [b as u32, sq as u32, h as u32, d as u32])
            .with_seqlen_k(sk as u32)
            .with_num_heads_k(hk as u32)
            .with_head_dim_v(dv as u32);
        p = p.with_mask(match r.u32(0..3) {
            0 => Mask::None,
            1 => Mask::Causal,
            _ => Mask::Window { left: Some(r.u32(0..50)), right: Some(r.u32(0..50)) },
        });
        p.q_stride = Some(st[0]);
        p.k_stride = Some(st[1]);
        p.v_stride = Some(st[2]);
        p.o_stride = Some(st[3]);
        let data: Vec<Vec<f16>> =
            (0..3).map(|t| (0..lens[t]).map(|_| f16::from_f32(r.f32() * 4.0 - 2.0)).collect()).collect();
        let dev = Soc::by_name("Ascend910B4").unwrap();
        let seed = if r.bool() { None } else { Some(r.u64(..)) };
        let bench = Bench {
            operator: FlashAttention::new(
                &fastattention::runtime::Device::simulated(sim::Config { seed, ..sim::Config::new(dev) })
                    .unwrap(),
            )
            .unwrap(),
        };
        let out = match host::attention_on(&bench.operator, &p, &data[0], &data[1], &data[2]) {
            Ok(o) => o,
            Err(e) if e.to_string().contains("attention on") => {
                refused += 1;
                println!("#{i} {shapes:?} {st:?} {e}");
                continue;
            }
            Err(e) => {
                bad += 1;
                println!("#{i} FAIL {shapes:?} {st:?} {:?} {e}", p.mask);
                continue;
            }
        };
        let params = Params {
            batch: b as usize,
            num_heads: h as usize,
            num_heads_k: hk as usize,
            head_dim: d as usize,
            head_dim_v: dv as usize,
            seqlen_q: sq as usize,
            seqlen_k: sk as usize,
            softmax_scale: p.shape().softmax_scale.into(),
            mask: p.mask,
        };
        let us = |s: [u64; 3]| s.map(|x| x as usize);
        // ones with junk strides on extents of 1: index 0 only
        let fix = |s: [u64; 3], sh: [u64; 4]| {
            let mut s = us(s);
            for k in 0..3 {
                if sh[k] <= 1 {
                    s[k] = 0
                }
            }
            s
        };
        let t = |k: usize| Tensor { data: &data[k][..], stride: fix(st[k], shapes[k]) };
        let want = reference::attention(&params, t(0), t(1), t(2));
        let plain = reference::same_precision(&params, t(0), t(1), t(2));
        let os = fix(st[3], shapes[3]);
        let mut o = vec![];
        let mut mask = vec![false; out.o.len()];
        for bb in 0..b as usize {
            for s in 0..sq as usize {
                for hh in 0..h as usize {
                    let at = bb * os[0] + s * os[1] + hh * os[2];
                    for x in at..at + dv as usize {
                        o.push(out.o[x].to_f64());
                        mask[x] = true;
                    }
                }
            }
        }
        if out.o.iter().zip(&mask).any(|(x, m)| !m && x.to_bits() != 0) {
            bad += 1;
            println!("#{i} GAP written {shapes:?} {st:?}");
        }
        let lse: Vec<f64> = out.lse.iter().map(|&x| x.into()).collect();
        let sh = [params.batch, params.seqlen_q, params.num_heads, params.head_dim_v];
        let e = check_o(&o, &want.o, &plain.o, 1.0 / 2048.0, sh).and_then(|()| {
            check_lse(
                &lse,
                &want.lse,
                &vec![1e-5; lse.len()],
                [1, params.batch, params.num_heads, params.seqlen_q],
            )
        });
        if let Err(e) = e {
            bad += 1;
            println!("#{i} WRONG {shapes:?} {st:?} {:?} {e}", p.mask);
        }
    }
    println!("ran {} refused {refused} skip {skip} bad {bad}", i - start);
}
