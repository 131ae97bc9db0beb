//! The kernels and the PTX made from them: one table for the choice, the launch and the loading. It is
//! `cuda/kernels.csv`, from which the PTX is made, too.

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
    pub(super) blocks: u32,
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

// By kind of kernel, each by head dim: FORWARD of many rows; PAGED of many rows of slots, whose rows,
// keys and pages come from device memory; GROUPED of many rows with two groups of warps that take half of
// the keys each, for grids that do not fill a GPU (between them the head dims of FORWARD have better
// kernels); DECODE of few rows, by head dim and then by rows; COMBINE, which joins the splits of a decode
// kernel, of q that is not packed and of q that is.
include!(concat!(env!("OUT_DIR"), "/cuda_kernels.rs"));

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
    FORWARD.iter().chain(&PAGED).chain(&GROUPED).chain(&DECODE).chain(&COMBINE).map(|kernel| &kernel.text)
}
