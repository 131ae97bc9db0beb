//! The operators: attention, products, sums and their sharded layers, against f64 and against themselves; and
//! what the planner promises.
//!
//! Results are those of the simulator, or of the NPU that `FA_DEVICE=npu:0` names.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails; its tensors are small"
)]

mod append;
mod baseline;
mod bundles;
mod cover;
mod cpu;
mod determinism;
mod few_rows;
mod framework;
mod graph;
mod hostile_plans;
mod large_strides;
mod launch;
mod layer;
mod matmul;
mod merge;
mod parallel;
mod parts;
mod predictions;
mod reference_data;
mod scores_f16;
mod serving;
mod shift_keys;
mod special;
mod standard;
mod support;
mod sweep;
mod tiling_order;
mod tiling_props;
mod tilings;
mod tuning;

use std::sync::LazyLock;

use fastattention::Soc;
use fastattention_testkit::device::device;

/// The SoC of the devices that results are computed on, for which they are planned.
fn soc_of_devices() -> &'static Soc {
    static OF_DEVICES: LazyLock<Soc> = LazyLock::new(|| device(|_| ()).soc().clone());
    &OF_DEVICES
}
