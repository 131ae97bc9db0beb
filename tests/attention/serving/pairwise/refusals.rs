//! What the operator does not have, in every combination: refused with its reason.

use fastattention::serving::{plan, KvLayout, Problem};
use fastattention::{DType, Soc};
use fastattention_testkit::device::SOC;

use super::shard;

/// What makes a problem unsupported or wrong: the field, the reason, and the change, which is false where the
/// problem stays right.
struct Unsupported {
    field: &'static str,
    reason: &'static str,
    spoil: fn(&mut Problem) -> bool,
}

const fn unsupported(
    field: &'static str,
    reason: &'static str,
    spoil: fn(&mut Problem) -> bool,
) -> Unsupported {
    Unsupported { field, reason, spoil }
}

const UNSUPPORTED: &[Unsupported] = &[
    unsupported("dtype", "dtype = f32 has no kernel; supported: f16, bf16", |p| {
        p.spec.dtype = DType::F32;
        true
    }),
    unsupported("score_dtype", "score_dtype = f16 has no kernel; supported: f32", |p| {
        p.spec.score_dtype = DType::F16;
        true
    }),
    unsupported("head_dim", "head_dim = 24 is not a multiple of 16 from 16 to 256", |p| {
        p.spec.head_dim = 24;
        true
    }),
    unsupported("head_dim_v", "head_dim_v = 272 is not a multiple of 16 from 16 to 256", |p| {
        p.spec.head_dim_v = 272;
        true
    }),
    unsupported("heads", "is not a multiple of num_heads_k = 9", |p| {
        p.spec.num_heads_k = 9;
        true
    }),
    unsupported("scale", "softmax_scale = NaN is not finite", |p| {
        p.spec.softmax_scale = Some(f32::NAN);
        true
    }),
    unsupported("slots", "slots = 2147483648 is more than 2147483647", |p| {
        p.slots = 1 << 31;
        true
    }),
    unsupported("max_keys", "max_keys = 4294967295 is more than 2147483647", |p| {
        p.max_keys = u32::MAX;
        true
    }),
    unsupported("rows", "rows = 0, wanted at least 1 query row of a slot", |p| {
        p.rows = 0;
        p.total_rows.is_none()
    }),
    unsupported("kv", "page_size = 0, wanted at least 1", |p| {
        p.kv = KvLayout::paged(0, 1);
        true
    }),
    unsupported("kv", "num_pages = 0 with max_keys = ", |p| {
        p.kv = KvLayout::paged(16, 0);
        p.max_keys > 0
    }),
    unsupported("kv", "table_width = 0 with page_size = 16 is room for 0 keys", |p| {
        p.kv = KvLayout::paged(16, 9).with_table_width(0);
        p.max_keys > 0
    }),
    unsupported("kv", "table entries = 0 with page_size = 16 is room for 0 keys", |p| {
        p.kv = KvLayout::paged(16, 9).with_csr_table(0);
        p.max_keys > 0
    }),
    unsupported("kv", "table entries = 2147483648 is more than 2147483647", |p| {
        p.kv = KvLayout::paged(16, 9).with_csr_table(1 << 31);
        true
    }),
];

#[test]
fn what_is_not_supported_is_refused_in_every_combination() {
    let soc = Soc::by_name(SOC).unwrap();
    let mut count = 0;
    for combination in shard(0) {
        let mut problem = combination.problem();
        assert!(plan(&problem, soc).is_ok());
        // Strides that were given fit the problem as it was.
        (problem.q_stride, problem.o_stride) = (None, None);
        (problem.k_stride, problem.v_stride) = (None, None);
        for first in UNSUPPORTED {
            for second in UNSUPPORTED {
                let mut wrong = problem;
                let is_wrong = (first.spoil)(&mut wrong);
                if !is_wrong || first.field == second.field {
                    continue;
                }
                let refused = |problem: &Problem, reason: &str| {
                    let error = plan(problem, soc).unwrap_err().to_string();
                    assert!(error.contains(reason), "{reason:?} is not in {error:?}");
                };
                refused(&wrong, first.reason);
                if (second.spoil)(&mut wrong) {
                    refused(&wrong, first.reason);
                    refused(&wrong, second.reason);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 5000, "{count}");
}
