//! The rule of tolerances ([`fastattention_tolerance`]), with the types of elements.

use fastattention::DType;

pub use fastattention_tolerance::{
    assert_all, assert_same, assert_same_text, check_lse, check_o, score_error, softmax_error, FACTOR,
};
use fastattention_tolerance::{UNIT_BF16, UNIT_F16, UNIT_F32};

/// Half a unit in the last place, relative: what rounding to a type may add.
pub fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => UNIT_F16,
        DType::Bf16 => UNIT_BF16,
        DType::F32 => UNIT_F32,
        other => panic!("{other} is not rounded to"),
    }
}

/// Absolute error allowed for a sum of `k` products that is `want`, their sizes adding up to `magnitude`:
/// each step of a sum in f32 is rounded, and the result once more to its type, in which small numbers have
/// fewer digits.
pub fn product_error(dtype: DType, k: u32, want: f64, magnitude: f64) -> f64 {
    unit(dtype) * want.abs() + f64::from(k) * unit(DType::F32) * magnitude + f64::exp2(-25.0)
}
