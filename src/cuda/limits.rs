//! What the kernels can do: every reason why a shape is refused.

use super::choice::Choice;
use super::kernels::{Kernel, FORWARD, MAX_GRID_YZ, MAX_HEAD_DIM};
use super::request::Request;
use super::DeviceFacts;
use crate::spec::{Reason, Shape, Tensor};
use crate::DType;

/// Kernels read and write 16 bytes at a time.
pub(super) const ALIGNMENT_BYTES: u64 = 16;

/// Kernels count `seqlen_q + 2 seqlen_k` in 32 bits.
const MAX_SEQLEN_K: u32 = 1 << 29;
/// The kernels for many rows find places in k and v by a number of 16-byte units, in 32 bits. The last number
/// stands for a page that is not there.
const MAX_KV_BYTES: u128 = (16 << 32) - 16;

/// Every reason why no plan of a request on this device is possible, with the kernel that would take it;
/// empty when there is none.
pub(super) fn reasons(request: &Request, facts: &DeviceFacts, choice: Option<Choice>) -> Vec<Reason> {
    let (mut found, shape) = (Vec::new(), &request.shape);
    for (name, dtype, has_kernel) in
        [("dtype", shape.dtype, DType::F16), ("score_dtype", shape.score_dtype, DType::F32)]
    {
        if dtype != has_kernel {
            found.push(Reason::unsupported(format!(
                "{name} = {dtype} has no kernel; supported: {has_kernel}"
            )));
        }
    }
    if shape.shift_keys {
        found.push(Reason::unsupported(
            "shift_keys has no kernel; scores are f32, whose range needs no shift",
        ));
    }
    found.extend(shape.wrong_heads());
    for (name, dim) in [("head_dim", shape.head_dim), ("head_dim_v", shape.head_dim_v)] {
        found.extend(Reason::of_head_dim(name, dim, 8, MAX_HEAD_DIM));
    }
    found.extend(shape.wrong_scale());
    found.extend(large_scale(shape.softmax_scale));
    let [batch, seqlen_q, seqlen_k] = request.names();
    found.extend(more_than(seqlen_k, shape.seqlen_k, MAX_SEQLEN_K));
    found.extend(more_than("num_heads", shape.num_heads, i32::MAX.unsigned_abs()));
    for tensor in &request.tensors {
        found.extend(tensor.wrong_strides(strides));
    }
    if let Some(choice) = choice {
        // The blocks of a grid along y and z.
        found.extend(
            choice.many.and_then(|kernel| more_than(seqlen_q, shape.seqlen_q, MAX_GRID_YZ * kernel.rows)),
        );
        let columns = choice.kernels().map(Kernel::column_blocks).max().unwrap_or(1);
        found.extend(more_than(batch, shape.batch, MAX_GRID_YZ / columns));
        found.extend(choice.kernels().find_map(|kernel| shared(kernel, shape, facts)));
    }
    if found.is_empty() {
        found.extend(Reason::of_operands(
            Shape::OPERANDS,
            request.footprints(),
            &facts.name,
            facts.memory_bytes,
        ));
    }
    found
}

/// Kernels get the scale times log2(e), as f32.
fn large_scale(scale: f32) -> Option<Reason> {
    let largest = f32::MAX / std::f32::consts::LOG2_E;
    (scale.is_finite() && scale.abs() > largest).then(|| {
        let nearest = largest.copysign(scale);
        Reason::unsupported(format!(
            "softmax_scale = {scale:e} times log2(e) leaves the range of f32; nearest supported: {nearest:e}"
        ))
    })
}

fn more_than(name: &str, value: u32, largest: u32) -> Option<Reason> {
    (value > largest).then(|| {
        Reason::unsupported(format!("{name} = {value} is more than {largest}; nearest supported: {largest}"))
    })
}

/// What the kernels add to what is wrong with the strides of a tensor.
fn strides(tensor: &Tensor) -> Vec<Reason> {
    let mut found = tensor.unaligned_strides(ALIGNMENT_BYTES);
    found.extend(long_row(tensor));
    let span = tensor.footprint().span;
    if matches!(tensor.name, "k" | "v") && span > MAX_KV_BYTES {
        found.push(Reason::unsupported(format!(
            "{} spans {span} bytes from its first to its last, more than {MAX_KV_BYTES}",
            tensor.name
        )));
    }
    found
}

/// Kernels have the bytes between rows in 32 bits.
fn long_row(tensor: &Tensor) -> Option<Reason> {
    let Tensor { name, extent, size, stride, .. } = *tensor;
    let largest = (u64::from(u32::MAX) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES / size;
    (extent[1] > 1 && stride[1] > largest).then(|| {
        Reason::unsupported(format!(
            "{name}_stride: row stride = {} is more than {largest} elements; nearest supported: {largest}",
            stride[1]
        ))
    })
}

/// Multiprocessors with less shared memory than a V100's exist.
fn shared(kernel: &Kernel, shape: &Shape, facts: &DeviceFacts) -> Option<Reason> {
    let has = facts.shared_bytes_per_block;
    let nearest = FORWARD.iter().filter(|kernel| kernel.shared_bytes <= has).map(|k| k.head_dim).max();
    (kernel.shared_bytes > has).then(|| {
        Reason::unsupported(format!(
            "head_dim = {} with head_dim_v = {} takes {} bytes of shared memory a block, {} has {has}; nearest \
             supported: {}",
            shape.head_dim,
            shape.head_dim_v,
            kernel.shared_bytes,
            facts.name,
            nearest.map_or("none".into(), |nearest| format!("both at most {nearest}")),
        ))
    })
}
