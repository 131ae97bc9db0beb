//! What the planners hand to the kernels, byte for byte (`ascendc/include/fa/tiling_data.h`).
//! Offsets and sizes are bytes where the name says so, else elements.

use bytemuck::{Pod, Zeroable};

/// Tiling data of `softmax`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct SoftmaxTilingData {
    /// Matrices of scores: batch times heads.
    pub num_heads: u32,
    /// Rows of one matrix.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Elements between rows, of scores and of P.
    pub pitch: u32,
    /// Columns of a chunk, a multiple of 64.
    pub chunk: u32,
    /// Rows of a slice.
    pub slice_rows: u32,
    /// Vector cores launched.
    pub num_cores: u32,
    /// 1 when there is a mask.
    pub has_mask: u32,
    /// Factor of the scores.
    pub softmax_scale: f32,
    /// UB: two chunks of scores.
    pub ub_in_offset_bytes: u32,
    /// UB: two chunks of the mask, behind the scores.
    pub ub_mask_offset_bytes: u32,
    /// UB: two chunks of P, behind the mask.
    pub ub_out_offset_bytes: u32,
    /// UB: the slice in f32, chunk by chunk.
    pub ub_x_offset_bytes: u32,
    /// UB: one chunk in f32 of scratch.
    pub ub_tmp_offset_bytes: u32,
    /// UB: 32 bytes a row, a row's value repeated.
    pub ub_spread_offset_bytes: u32,
    /// UB: three arrays of 64 f32.
    pub ub_stats_offset_bytes: u32,
}

/// Tiling data of `add`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AddTilingData {
    /// Elements.
    pub n: u64,
    /// Elements of one core.
    pub core_elements: u64,
    /// Elements of one tile.
    pub tile: u32,
    /// Buffers of each operand: 1 or 2.
    pub buffers: u32,
    /// UB: buffers of x.
    pub x_offset_bytes: [u32; 2],
    /// UB: buffers of y.
    pub y_offset_bytes: [u32; 2],
    /// UB: buffers of z.
    pub z_offset_bytes: [u32; 2],
}

/// Tiling data of `read_ub` and `read_l1`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ReadTilingData {
    /// Elements between rows in GM.
    pub pitch: u64,
    /// Rows of the matrix.
    pub rows: u32,
    /// Columns of the matrix.
    pub cols: u32,
    /// Rows of a group, what one core reads when each has its own.
    pub core_rows: u32,
    /// Columns that are read `passes` times before the next are.
    pub slice_cols: u32,
    /// Rows of one copy.
    pub tile_rows: u32,
    /// Columns of one copy.
    pub tile_cols: u32,
    /// Times that each slice is read.
    pub passes: u32,
    /// [`ReadOrder`](super::ReadOrder) as a number.
    pub order: u32,
    /// Cores launched.
    pub num_cores: u32,
    /// Buffers on chip.
    pub buffers: u32,
    /// Bytes of a buffer.
    pub buffer_bytes: u32,
    /// 0; the structure is whole words of 8 bytes.
    pub reserved: u32,
}

/// Tiling data of `vector_stream`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct VectorStreamTilingData {
    /// [`VectorOp`](super::VectorOp) as a number.
    pub op: u32,
    /// Instructions.
    pub count: u32,
    /// Repeats of one instruction.
    pub repeat: u32,
    /// 1 for a barrier behind each instruction.
    pub barrier: u32,
    /// Scalar operand.
    pub scalar: f32,
    /// UB: destination.
    pub dst_offset_bytes: u32,
    /// UB: first source.
    pub src0_offset_bytes: u32,
    /// UB: second source.
    pub src1_offset_bytes: u32,
    /// Blocks of 32 bytes between the blocks of a repeat: destination, first and second source.
    pub block_stride: [u32; 3],
    /// Blocks of 32 bytes between repeats, likewise.
    pub repeat_stride: [u32; 3],
}
