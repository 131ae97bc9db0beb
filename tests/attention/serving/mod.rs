//! The serving operator over padded and paged K and V.

mod device_data;
mod hostile_lists;
mod invariant;
mod model_time;
pub(crate) mod orders;
mod packed;
mod pairwise;
mod results;
mod scenario;

use fastattention::serving::{KvLayout, Mask, ServingAttention};
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::device::device;
use fastattention_testkit::serving::ServingCase;

/// The operator on a device of its own.
fn serving(configure: impl Fn(&mut fastattention::sim::Config)) -> ServingAttention {
    ServingAttention::new(&device(configure)).unwrap()
}

/// f16, one query row, 8 heads of 64 on 2 heads of K and V, normal values.
pub(crate) fn case(lengths: &[u32], kv: KvLayout) -> ServingCase {
    let base = Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch: 1,
        num_heads: 8,
        num_heads_k: 2,
        head_dim: 64,
        head_dim_v: 64,
        seqlen_q: 1,
        seqlen_k: lengths.iter().copied().max().unwrap_or(0),
        mask: Mask::None,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: 1,
    };
    ServingCase { base, rows: None, lengths: lengths.to_vec(), kv, is_batch_invariant: false }
}
