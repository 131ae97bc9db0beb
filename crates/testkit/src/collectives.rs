//! What collectives compute, written with other means than the simulator: i128 for integers, f64 with a
//! rounding of its own for half precision, the host's f32.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers, and the roundings of an oracle"
)]

use fastattention::runtime::{CommDType, ReduceOp};

/// Types of which sums and the like are taken.
pub const REDUCIBLE: [CommDType; 7] = [
    CommDType::I8,
    CommDType::I16,
    CommDType::I32,
    CommDType::I64,
    CommDType::F16,
    CommDType::Bf16,
    CommDType::F32,
];
/// All of them.
pub const OPS: [ReduceOp; 4] = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];

/// The lists of the HCCL API reference for Atlas A2.
pub fn is_supported(dtype: CommDType, op: ReduceOp) -> bool {
    op != ReduceOp::Prod || !matches!(dtype, CommDType::I16 | CommDType::Bf16)
}

/// `x` with `bits` significant bits and exponents from `min_exponent`, ties to even; beyond `max` infinity.
fn round_to(x: f64, bits: i32, min_exponent: i32, max: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(min_exponent);
    let unit = 2f64.powi(exponent - (bits - 1));
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() > max {
        f64::INFINITY.copysign(x)
    } else {
        rounded
    }
}

/// How the oracle rounds a value of the type.
fn round(dtype: CommDType, x: f64) -> f64 {
    match dtype {
        CommDType::F16 => round_to(x, 11, -14, 65504.0),
        CommDType::Bf16 => round_to(x, 8, -126, 3.389_531_389_251_535_5e38),
        CommDType::F32 => f64::from(x as f32),
        _ => unreachable!("a float"),
    }
}

fn decode_float(dtype: CommDType, bytes: &[u8]) -> f64 {
    match dtype {
        CommDType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
        CommDType::F16 => half::f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        CommDType::Bf16 => half::bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        _ => unreachable!("a float"),
    }
}

fn encode_float(dtype: CommDType, x: f64) -> Vec<u8> {
    // Exact: the value was rounded to the type before.
    match dtype {
        CommDType::F32 => (x as f32).to_le_bytes().to_vec(),
        CommDType::F16 => half::f16::from_f64(x).to_le_bytes().to_vec(),
        CommDType::Bf16 => half::bf16::from_f64(x).to_le_bytes().to_vec(),
        _ => unreachable!("a float"),
    }
}

/// `+` and `*` in the type itself.
fn step(dtype: CommDType, op: ReduceOp, a: f64, b: f64) -> f64 {
    let exact = if op == ReduceOp::Sum { a + b } else { a * b };
    match (dtype, op) {
        (CommDType::F32, ReduceOp::Sum) => f64::from(a as f32 + b as f32),
        (CommDType::F32, ReduceOp::Prod) => f64::from(a as f32 * b as f32),
        (_, ReduceOp::Sum | ReduceOp::Prod) => round(dtype, exact),
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        // Zeros of different signs: the bits decide.
        (_, ReduceOp::Max) => {
            if a.total_cmp(&b).is_ge() {
                a
            } else {
                b
            }
        }
        _ => {
            if a.total_cmp(&b).is_le() {
                a
            } else {
                b
            }
        }
    }
}

/// Reduction of one element of all ranks, in the order given, rounding at each step.
fn reduce_element(dtype: CommDType, op: ReduceOp, elements: &[&[u8]]) -> Vec<u8> {
    if matches!(dtype, CommDType::F16 | CommDType::Bf16 | CommDType::F32) {
        let values = elements.iter().map(|bytes| decode_float(dtype, bytes));
        let x = values.reduce(|a, b| step(dtype, op, a, b)).unwrap();
        return encode_float(dtype, if x.is_nan() { f64::NAN } else { x });
    }
    let size = dtype.size_bytes();
    let values = elements.iter().map(|bytes| {
        let mut wide = [if bytes[size - 1] & 0x80 == 0 { 0 } else { 0xff }; 16];
        wide[..size].copy_from_slice(bytes);
        i128::from_le_bytes(wide)
    });
    let x = match op {
        ReduceOp::Sum => values.reduce(i128::wrapping_add),
        ReduceOp::Prod => values.reduce(i128::wrapping_mul),
        ReduceOp::Max => values.reduce(i128::max),
        _ => values.reduce(i128::min),
    };
    x.unwrap().to_le_bytes()[..size].to_vec()
}

/// Reduction of arrays, in the order given.
///
/// What one rank has alone keeps its bits, NaN payloads included.
pub fn reduce(dtype: CommDType, op: ReduceOp, inputs: &[&[u8]]) -> Vec<u8> {
    if let [only] = inputs {
        return only.to_vec();
    }
    let size = dtype.size_bytes();
    (0..inputs[0].len() / size)
        .flat_map(|i| {
            let elements: Vec<&[u8]> = inputs.iter().map(|all| &all[i * size..(i + 1) * size]).collect();
            reduce_element(dtype, op, &elements)
        })
        .collect()
}

/// Values that meet in interesting ways: small numbers, any bits, and the special ones.
pub fn values(dtype: CommDType, count: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut out = Vec::with_capacity(count * dtype.size_bytes());
    for _ in 0..count {
        let is_float = matches!(dtype, CommDType::F16 | CommDType::Bf16 | CommDType::F32);
        match (rng.u8(0..8), is_float) {
            (0, _) => (0..dtype.size_bytes()).for_each(|_| out.push(rng.u8(..))),
            (1, true) => {
                let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 65504.0, -3e38];
                out.extend(encode_float(dtype, round(dtype, special[rng.usize(0..7)])));
            }
            (_, true) => out.extend(encode_float(dtype, round(dtype, rng.f64() * 4.0 - 2.0))),
            (_, false) => out.extend(&(rng.i64(-20..20)).to_le_bytes()[..dtype.size_bytes()]),
        }
    }
    out
}
