//! Shifting keys by their mean: the pass before `flash_fwd` that `Problem::with_shifted_keys` asks for.

use super::traffic::{Rows, Traffic};
use super::{Shape, ShiftKeysTilingData};
use crate::spec::Reason;
use crate::Soc;

/// Rows behind the keys of a head that repeat what was subtracted: a fractal, which the Cube multiplies as if
/// they were keys.
pub(super) const MEAN_ROWS: u32 = 16;

/// Bytes of a tile: eight times as many (in and out twice, and two tiles of f32) fit UB.
const TILE_BYTES: u32 = 20 * 1024;

/// Most rows of a tile: repeats of one instruction are a `u8`.
const MAX_TILE_ROWS: u32 = 240;

/// Elements of the largest row, in f32 and in f16.
const MEAN_BYTES: u32 = 512;

impl Shape {
    /// The shape as `flash_fwd` reads it: shifted keys lie in the workspace, head by head.
    pub(super) fn as_read(&self) -> Self {
        if !self.shift_keys {
            return *self;
        }
        let head = self.shifted_head_elements();
        let k_stride = [head.saturating_mul(self.num_heads_k.into()), self.head_dim.into(), head];
        Self { k_stride, ..*self }
    }

    /// Does `flash_fwd` add to lse what the scores of shifted keys lack?
    pub(super) fn adds_mean(&self) -> bool {
        self.shift_keys && self.want_lse
    }

    fn heads_k(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.num_heads_k)
    }

    fn shifted_head_elements(&self) -> u64 {
        (u64::from(self.seqlen_k) + u64::from(MEAN_ROWS)) * u64::from(self.head_dim)
    }

    /// Bytes of the shifted keys; `u64::MAX` for more.
    fn shifted_bytes(&self) -> u64 {
        self.shifted_head_elements().saturating_mul(2).saturating_mul(self.heads_k())
    }

    /// Shifted keys that no device memory holds: k may repeat a head or a batch, the result does not.
    pub(super) fn too_many_shifted_keys(&self, soc: &Soc) -> Option<Reason> {
        let bytes = self.shifted_bytes();
        (self.shift_keys && bytes > soc.hbm_bytes).then(|| {
            let Self { batch, num_heads_k, seqlen_k, .. } = self;
            Reason::unsupported(format!(
                "shift_keys: {batch} * {num_heads_k} heads of {seqlen_k} shifted keys take {bytes} bytes, {} has {}",
                soc.name, soc.hbm_bytes
            ))
        })
    }
}

/// The launch that shifts the keys of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftPlan {
    /// What the kernel receives.
    pub tiling: ShiftKeysTilingData,
    /// Vector cores to launch.
    pub num_cores: u32,
    /// Bytes of its result in the workspace.
    pub bytes: u64,
    soc: Soc,
}

impl ShiftPlan {
    /// Of a shape that was found good; `None` where nothing is shifted.
    pub(super) fn new(shape: &Shape, soc: &Soc) -> Option<Self> {
        let heads = shape.heads_k();
        if !shape.shift_keys || heads == 0 || shape.seqlen_k == 0 {
            return None;
        }
        let row_bytes = shape.head_dim * 2;
        let tile_rows = (TILE_BYTES / row_bytes).min(MAX_TILE_ROWS);
        let tile_bytes = tile_rows * row_bytes;
        let head_tiles = shape.seqlen_k.div_ceil(tile_rows);
        let num_tiles = heads * u64::from(head_tiles);
        let core_tiles = num_tiles.div_ceil(soc.vector_cores.into());
        let out = 2 * tile_bytes;
        let wide = 2 * out;
        // Where the one ends the other begins, half a row of the bank groups further on (dav-c220.md 1.5).
        let sum = (wide + 2 * tile_bytes).next_multiple_of(512) + 256;
        let mean = (sum + 2 * tile_bytes).next_multiple_of(512);
        let tiling = ShiftKeysTilingData {
            num_heads_k: shape.num_heads_k,
            head_dim: shape.head_dim,
            seqlen_k: shape.seqlen_k,
            tile_rows,
            head_tiles,
            inverse_seqlen_k: 1.0 / shape.seqlen_k as f32,
            ub_in_offset_bytes: 0,
            ub_out_offset_bytes: out,
            ub_wide_offset_bytes: wide,
            ub_sum_offset_bytes: sum,
            ub_mean_offset_bytes: mean,
            ub_bits_offset_bytes: mean + MEAN_BYTES,
            core_tiles,
            num_tiles,
            k_stride: shape.k_stride,
            head_stride: shape.shifted_head_elements(),
        };
        // At most the number of vector cores.
        let num_cores = u32::try_from(num_tiles.div_ceil(core_tiles)).unwrap_or(soc.vector_cores);
        Some(Self { tiling, num_cores, bytes: shape.shifted_bytes(), soc: soc.clone() })
    }

    /// Predicted model time in microseconds, from the start of a core to its last result, operands in L2.
    pub fn predicted_us(&self) -> f64 {
        let (t, timing) = (&self.tiling, &self.soc.timing);
        let traffic = Traffic { soc: &self.soc, cores: self.num_cores.div_ceil(2), busy: 0.0 };
        let rows = Rows { rows: t.tile_rows, bytes: t.head_dim * 2, pitch: t.k_stride[1].saturating_mul(2) };
        let load = traffic.read(&timing.gm.to_ub, rows, 2);
        let store = traffic.write(&timing.gm.from_ub, Rows::dense(t.tile_rows, t.head_dim * 2), 2);
        // For the mean a cast and an addition, whose write meets the next repeat's read: three cycles.
        let repeats = f64::from(t.tile_rows) * f64::from(t.head_dim) / 64.0;
        let own = t.core_tiles.min(t.num_tiles) as f64 * load.max(store);
        let of_mean = f64::from(self.most_heads()) * f64::from(t.head_tiles) * load.max(3.0 * repeats);
        let control = &timing.control;
        let start = control.begin(false, size_of::<ShiftKeysTilingData>());
        (start + of_mean + own) / f64::from(self.soc.clock_mhz)
    }

    /// Most heads of which a core has tiles.
    fn most_heads(&self) -> u32 {
        let t = &self.tiling;
        let head_tiles = u64::from(t.head_tiles);
        let heads = |core: u32| {
            let first = u64::from(core) * t.core_tiles;
            let end = (first + t.core_tiles).min(t.num_tiles);
            (end.saturating_sub(1) / head_tiles).saturating_sub(first / head_tiles) + 1
        };
        let most = (0..self.num_cores).map(heads).max().unwrap_or(0);
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}
