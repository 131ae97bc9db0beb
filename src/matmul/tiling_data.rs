//! What the planner hands to the kernel, byte for byte (`ascendc/include/fa/tiling_data.h`).

use bytemuck::{Pod, Zeroable};

/// Tiling data of `matmul`. Offsets and sizes are bytes where the name says so, else elements.
///
/// The order of blocks is described in `ascendc/kernels/matmul_tiles.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct MatmulTilingData {
    /// Rows of A and C.
    pub m: u32,
    /// Columns of B and C.
    pub n: u32,
    /// Columns of A, rows of B.
    pub k: u32,
    /// Extents of the three batch dimensions.
    pub batch: [u32; 3],
    /// 1 when B lies as `[n, k]`.
    pub b_is_nk: u32,
    /// Rows of a block, the unit that cores are dealt.
    pub block_m: u32,
    /// Columns of a block.
    pub block_n: u32,
    /// Rows of a tile, what stays in L0C while k runs; a multiple of 16.
    pub tile_m: u32,
    /// Columns of a tile; a multiple of 16.
    pub tile_n: u32,
    /// Depth of one Mmad; a multiple of 16.
    pub tile_k: u32,
    /// Steps of `tile_k` that one copy brings to L1, of A.
    pub step_k_a: u32,
    /// The same, of B.
    pub step_k_b: u32,
    /// Buffers of A and of B in L1: 1 or 2.
    pub l1_buffers: u32,
    /// Buffers in L0A and L0B: 1 or 2.
    pub l0_buffers: u32,
    /// Tiles in L0C: 1 or 2.
    pub l0c_buffers: u32,
    /// 1 when unitFlag orders M and FIX.
    pub unit_flag: u32,
    /// Blocks launched.
    pub num_cores: u32,
    /// Block rows, or columns, of a band.
    pub swizzle: u32,
    /// 1 when bands are made of block columns.
    pub swizzle_along_n: u32,
    /// L1: the buffers of A.
    pub l1_a_offset_bytes: [u32; 2],
    /// L1: the buffers of B.
    pub l1_b_offset_bytes: [u32; 2],
    /// 0; the next field is aligned to 8 bytes.
    pub reserved: u32,
    /// A: elements between rows.
    pub a_stride: u64,
    /// B as it lies: elements between rows.
    pub b_stride: u64,
    /// C: elements between rows.
    pub c_stride: u64,
    /// A: elements between batches.
    pub a_batch_stride: [u64; 3],
    /// B: elements between batches.
    pub b_batch_stride: [u64; 3],
    /// C: elements between batches.
    pub c_batch_stride: [u64; 3],
}

impl MatmulTilingData {
    /// The bytes that the kernel receives.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}
