//! Reading device memory and nothing else: how fast a core's MTE2 can fill UB or L1.

use super::ReadTilingData;
use crate::attention::Operand;
use crate::kernels;
use crate::kernels::operands::{ReadL1Operands, ReadUbOperands};
use crate::runtime::{refuse, Device, Kernel, Module, Named, Stream};
use crate::tiling::{MAX_BURSTS, MAX_GM_GAP_BYTES};
use crate::{Error, ErrorKind, Result, Soc};

/// Most rows or columns: the kernel adds a tile to a position in 32 bits.
const MAX_EXTENT: u32 = (1 << 31) - 1;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTo {
    /// UB of the vector cores, rows as they are.
    Ub,
    /// L1 of the Cube cores, as Nz.
    L1,
}

/// Which core reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOrder {
    /// A core reads a part of the rows.
    OwnRows,
    /// Every core reads all rows, all from the first: they meet in the same lines.
    AllRows,
    /// Every core reads all rows, each from a part of its own.
    Rotated,
}

/// What is read: a matrix of 16-bit elements in tiles, one copy each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// Rows and columns.
    pub shape: [u32; 2],
    /// Elements between rows.
    pub pitch: u64,
    /// Rows and columns of one copy; those at the end are smaller.
    pub tile: [u32; 2],
    /// Columns that are read `passes` times before the next are.
    pub slice_cols: u32,
    /// Times that each slice is read.
    pub passes: u32,
    /// Which core reads what.
    pub order: ReadOrder,
    /// Cores; the rows are cut into as many parts.
    pub num_cores: u32,
    /// L2 is left out.
    pub past_l2: bool,
}

impl ReadFrom {
    /// Reads a dense matrix once, each core its part.
    pub fn new(shape: [u32; 2], tile: [u32; 2], num_cores: u32) -> Self {
        let pitch = u64::from(shape[1]);
        Self {
            shape,
            pitch,
            tile,
            slice_cols: shape[1],
            passes: 1,
            order: ReadOrder::OwnRows,
            num_cores,
            past_l2: false,
        }
    }

    /// Tiling data, with as many buffers as fit.
    ///
    /// # Errors
    /// `InvalidArgument` for numbers that make no tiling, `Unsupported` for a tile that does not fit or that
    /// one copy instruction cannot describe.
    pub fn tiling_data(&self, to: ReadTo, soc: &Soc) -> Result<ReadTilingData> {
        let [rows, cols] = self.shape;
        self.require_sizes()?;
        for (name, value) in [("rows", rows), ("columns", cols), ("slice_cols", self.slice_cols)] {
            if value > MAX_EXTENT {
                let text = format!("read: {name} = {value} is more than {MAX_EXTENT}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        let (cores, usable) = match to {
            ReadTo::Ub => (soc.vector_cores, soc.core.usable_ub_bytes()),
            ReadTo::L1 => (soc.cube_cores, soc.core.usable_l1_bytes()),
        };
        if self.num_cores > cores {
            return Err(Error::invalid(format!(
                "read: num_cores = {} given, at most {cores} wanted, as {} has",
                self.num_cores, soc.name
            )));
        }
        let buffer_bytes = self.buffer_bytes(to, usable)?;
        self.require_copies(to)?;
        Ok(ReadTilingData {
            pitch: self.pitch,
            rows,
            cols,
            core_rows: rows.div_ceil(self.num_cores),
            slice_cols: self.slice_cols,
            tile_rows: self.tile[0],
            tile_cols: self.tile[1],
            passes: self.passes,
            order: match self.order {
                ReadOrder::OwnRows => 0,
                ReadOrder::AllRows => 1,
                ReadOrder::Rotated => 2,
            },
            num_cores: self.num_cores,
            buffers: usable / buffer_bytes,
            buffer_bytes,
            past_l2: u32::from(self.past_l2),
        })
    }

    /// Bytes of a tile where it lies, of so many.
    fn buffer_bytes(&self, to: ReadTo, usable: u32) -> Result<u32> {
        // The product of two sizes in bytes has 65 bits.
        let [tile_rows, tile_cols] = self.tile.map(u128::from);
        let (rows_in_buffer, row_bytes) = match to {
            ReadTo::Ub => (tile_rows, (tile_cols * 2).next_multiple_of(32)),
            ReadTo::L1 => (tile_rows.next_multiple_of(16), (tile_cols * 2).next_multiple_of(32)),
        };
        let buffer_bytes = rows_in_buffer * row_bytes;
        if buffer_bytes > u128::from(usable) || tile_rows > u128::from(MAX_BURSTS) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "read: tile = {:?} given, of {tile_rows} rows and {buffer_bytes} bytes; at most {MAX_BURSTS} rows and {usable} bytes wanted",
                    self.tile
                ),
            ));
        }
        Ok(u32::try_from(buffer_bytes).unwrap_or(usable))
    }

    /// Refuses rows that one copy cannot describe, or no address reaches.
    fn require_copies(&self, to: ReadTo) -> Result<()> {
        let [rows, _] = self.shape;
        let largest = self.narrowest_tile() + MAX_GM_GAP_BYTES / 2;
        if to == ReadTo::Ub && self.tile[0].min(rows) > 1 && self.pitch > largest {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "read: pitch = {} leaves more than {MAX_GM_GAP_BYTES} bytes between two rows of a copy to UB; nearest \
                     supported: {largest}",
                    self.pitch
                ),
            ));
        }
        if self.span() > u128::from(u64::MAX) {
            return Err(Error::invalid(format!(
                "read: rows = {rows} with pitch = {} given, which take {} bytes; at most {} wanted",
                self.pitch,
                self.span(),
                u64::MAX
            )));
        }
        Ok(())
    }

    fn require_sizes(&self) -> Result<()> {
        let [rows, cols] = self.shape;
        for (name, value) in [
            ("rows", rows),
            ("columns", cols),
            ("tile rows", self.tile[0]),
            ("tile columns", self.tile[1]),
            ("slice_cols", self.slice_cols),
            ("passes", self.passes),
            ("num_cores", self.num_cores),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!("read: {name} = 0 given, at least 1 wanted")));
            }
        }
        if self.pitch < u64::from(cols) {
            return Err(Error::invalid(format!(
                "read: pitch = {} given, at least the {cols} columns of a row wanted",
                self.pitch
            )));
        }
        Ok(())
    }

    /// Columns of the copies with the fewest: those at the end of a slice, of the last one or another.
    fn narrowest_tile(&self) -> u64 {
        let last = |all: u32, part: u32| match all % part {
            0 => part.min(all),
            rest => rest,
        };
        let slices = [self.slice_cols.min(self.shape[1]), last(self.shape[1], self.slice_cols)];
        u64::from(slices.map(|slice| last(slice, self.tile[1])).into_iter().fold(u32::MAX, u32::min))
    }

    /// Bytes from the first element to one past the last; `u64::MAX` for more, which [`Self::tiling_data`]
    /// refuses.
    pub fn span_bytes(&self) -> u64 {
        u64::try_from(self.span()).unwrap_or(u64::MAX)
    }

    fn span(&self) -> u128 {
        let rows = u128::from(self.shape[0].saturating_sub(1));
        2 * (rows * u128::from(self.pitch) + u128::from(self.shape[1]))
    }
}

/// Reads a matrix (`ascendc/kernels/read_ub.cpp`, `read_l1.cpp`).
#[derive(Clone, Debug)]
pub struct Read {
    device: Device,
    ub: Kernel,
    l1: Kernel,
}

impl Read {
    /// Loads the kernels.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(&kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel.
    pub fn from_module(module: &Module) -> Result<Self> {
        Ok(Self {
            device: module.device().clone(),
            ub: module.kernel("fa_read_ub")?,
            l1: module.kernel("fa_read_l1")?,
        })
    }

    /// Queues the reads.
    ///
    /// # Errors
    /// As [`ReadFrom::tiling_data`]; `InvalidArgument` for an operand that is misaligned, too small or of
    /// another device.
    pub fn launch(&self, stream: &Stream, from: &ReadFrom, to: ReadTo, src: Operand<'_>) -> Result<()> {
        let data = from.tiling_data(to, self.device.soc())?;
        refuse("read launch", &[Named::read("src", src, from.span_bytes(), 2)])?;
        let (kernel, args) = match to {
            ReadTo::Ub => (&self.ub, ReadUbOperands { src, tiling: &data }.args()?),
            ReadTo::L1 => (&self.l1, ReadL1Operands { src, tiling: &data }.args()?),
        };
        kernel.launch(stream, from.num_cores, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(from: &ReadFrom, to: ReadTo) -> String {
        from.tiling_data(to, Soc::by_name("Ascend910B2").unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn sizes_that_the_kernel_cannot_count_are_refused() {
        let good = ReadFrom::new([100, 64], [16, 64], 1);
        let many = ReadFrom { shape: [1 << 31, 64], ..good };
        assert_eq!(refusal(&many, ReadTo::L1), "read: rows = 2147483648 is more than 2147483647");
        let long = ReadFrom { slice_cols: u32::MAX, ..good };
        assert_eq!(refusal(&long, ReadTo::Ub), "read: slice_cols = 4294967295 is more than 2147483647");
        let large = ReadFrom { tile: [u32::MAX; 2], ..good };
        assert_eq!(
            refusal(&large, ReadTo::Ub),
            "read: tile = [4294967295, 4294967295] given, of 4294967295 rows and 36893488138829168640 bytes; at most 4095 rows \
             and 188160 bytes wanted"
        );
        // Copies of 64 columns, and of the 36 that are left of 100.
        let far = ReadFrom { pitch: u64::MAX, ..ReadFrom::new([100, 100], [16, 64], 1) };
        assert_eq!(
            refusal(&far, ReadTo::Ub),
            "read: pitch = 18446744073709551615 leaves more than 2147483647 bytes between two rows of a copy to UB; nearest \
             supported: 1073741859"
        );
        let far = ReadFrom { slice_cols: 30, tile: [16, 20], ..far };
        assert!(refusal(&far, ReadTo::Ub).ends_with("nearest supported: 1073741833"));
    }
}
