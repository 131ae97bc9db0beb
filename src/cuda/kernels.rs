//! The kernels and the PTX made from them: one table for the choice, the launch and the loading.

/// One kernel, alone in its text of PTX.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) ptx: &'static str,
}

/// A kernel of attention and what its launches need. `docs/volta.md` has the figures.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) text: Text,
    /// The largest head_dim and head_dim_v.
    pub(super) head_dim: u32,
    /// Rows of q that a block takes.
    pub(super) rows: u32,
    /// Columns of o that a block makes.
    pub(super) columns: u32,
    /// Dynamic shared memory of a block.
    pub(super) shared_bytes: u32,
    /// Blocks that the registers of a multiprocessor hold.
    pub(super) blocks_per_multiprocessor: u32,
    /// Groups of warps that each take a part of the keys.
    pub(super) key_groups: u32,
    /// Blocks that together take what memory gives a multiprocessor, modelled on a V100. Of decode.
    pub(super) blocks_for_memory: u32,
}

impl Kernel {
    /// Blocks that share the columns of o: the kernel counts on all of them, whatever head_dim_v is.
    pub(super) fn column_blocks(&self) -> u32 {
        self.head_dim / self.columns
    }
}

/// Threads of a block of every kernel.
pub(super) const THREADS: u32 = 128;
/// Blocks along y and z that a grid can have.
pub(super) const MAX_GRID_YZ: u32 = 65535;
/// Largest head_dim and head_dim_v.
pub(super) const MAX_HEAD_DIM: u32 = 256;
/// Packed rows of a sequence that the decode kernels count exactly.
pub(super) const MAX_PACKED_ROWS: u64 = (1 << 20) - 1;

macro_rules! text {
    ($name:literal) => {
        Text { name: $name, ptx: include_str!(concat!("../../cuda/ptx/", $name, ".ptx")) }
    };
}

macro_rules! forward {
    ($name:literal, $head_dim:literal, $columns:literal, $shared_bytes:literal, $blocks:literal) => {
        forward!($name, $head_dim, $columns, $shared_bytes, $blocks, 1)
    };
    ($name:literal, $head_dim:literal, $columns:literal, $shared_bytes:literal, $blocks:literal, $groups:literal) => {
        Kernel {
            text: text!($name),
            head_dim: $head_dim,
            rows: 128 / $groups,
            columns: $columns,
            shared_bytes: $shared_bytes,
            blocks_per_multiprocessor: $blocks,
            key_groups: $groups,
            blocks_for_memory: 1,
        }
    };
}

macro_rules! decode {
    ($name:literal, $head_dim:literal, $rows:literal, $blocks:literal, $for_memory:literal) => {
        Kernel {
            text: text!($name),
            head_dim: $head_dim,
            rows: $rows,
            columns: $head_dim,
            // At the end four warps join their rows, with 4 words between rows, a maximum and a sum.
            shared_bytes: 4 * $rows * ($head_dim + 6) * 4,
            blocks_per_multiprocessor: $blocks,
            key_groups: 1,
            blocks_for_memory: $for_memory,
        }
    };
}

/// Of many rows, by head dim.
pub(super) static FORWARD: [Kernel; 6] = [
    forward!("flash_fwd_f16_d32", 32, 32, 16384, 3),
    forward!("flash_fwd_f16_d64", 64, 64, 32768, 2),
    forward!("flash_fwd_f16_d80", 80, 80, 40960, 2),
    forward!("flash_fwd_f16_d96", 96, 96, 49152, 2),
    forward!("flash_fwd_f16_d128", 128, 128, 49152, 2),
    forward!("flash_fwd_f16_d256", 256, 128, 83968, 1),
];

/// Of many rows of slots: rows, keys and pages of each come from device memory.
pub(super) static PAGED: [Kernel; 6] = [
    forward!("flash_fwd_f16_d32_paged", 32, 32, 16384, 3),
    forward!("flash_fwd_f16_d64_paged", 64, 64, 32768, 2),
    forward!("flash_fwd_f16_d80_paged", 80, 80, 40960, 2),
    forward!("flash_fwd_f16_d96_paged", 96, 96, 49152, 2),
    forward!("flash_fwd_f16_d128_paged", 128, 128, 49152, 2),
    forward!("flash_fwd_f16_d256_paged", 256, 128, 83968, 1),
];

/// Of many rows, with two groups of warps that take half of the keys each, for grids that do not fill a GPU.
/// Between them the head dims of [`FORWARD`] have better kernels.
pub(super) static GROUPED: [Kernel; 2] = [
    forward!("flash_fwd_f16_d64_g2", 64, 64, 24576, 2, 2),
    forward!("flash_fwd_f16_d128_g2", 128, 128, 34816, 2, 2),
];

/// Of few rows, by head dim and then by rows.
pub(super) static DECODE: [Kernel; 5] = [
    decode!("flash_decode_f16_d64_r8", 64, 8, 4, 2),
    decode!("flash_decode_f16_d64_r16", 64, 16, 3, 3),
    decode!("flash_decode_f16_d128_r8", 128, 8, 3, 1),
    decode!("flash_decode_f16_d128_r16", 128, 16, 2, 2),
    decode!("flash_decode_f16_d256_r8", 256, 8, 2, 1),
];

/// Joins the splits of a decode kernel: of q that is not packed, and of q that is.
pub(super) static COMBINE: [Text; 2] = [text!("flash_decode_combine"), text!("flash_decode_combine_packed")];
/// Columns of a row that a block of [`COMBINE`] joins.
pub(super) const COMBINE_COLUMNS: u32 = 64;
/// Shared memory of a block of it: two sums a thread, and two numbers a warp.
pub(super) const COMBINE_SHARED_BYTES: u32 = THREADS * 8 + THREADS / 32 * 8;

/// The kernel for many rows whose head dims hold these; `None` above [`MAX_HEAD_DIM`].
pub(super) fn forward(wider_dim: u32) -> Option<&'static Kernel> {
    FORWARD.iter().find(|kernel| wider_dim <= kernel.head_dim)
}

/// The same of [`PAGED`].
pub(super) fn paged(wider_dim: u32) -> Option<&'static Kernel> {
    PAGED.iter().find(|kernel| wider_dim <= kernel.head_dim)
}

/// The one of [`GROUPED`] with the head dims of a kernel of [`FORWARD`].
pub(super) fn grouped(forward: &Kernel) -> Option<&'static Kernel> {
    GROUPED.iter().find(|kernel| kernel.head_dim == forward.head_dim)
}

/// The kernel for few rows: of the least head dims that hold these, the first that takes all rows in one
/// block, or the last.
pub(super) fn decode(wider_dim: u32, packed_rows: u64) -> Option<&'static Kernel> {
    let head_dim = DECODE.iter().map(|kernel| kernel.head_dim).find(|&head_dim| wider_dim <= head_dim)?;
    let fitting = || DECODE.iter().filter(|kernel| kernel.head_dim == head_dim);
    fitting().find(|kernel| packed_rows <= u64::from(kernel.rows)).or_else(|| fitting().next_back())
}

/// All that a device can have to load.
pub(super) fn texts() -> impl Iterator<Item = &'static Text> {
    FORWARD.iter().chain(&PAGED).chain(&GROUPED).chain(&DECODE).map(|kernel| &kernel.text).chain(&COMBINE)
}
