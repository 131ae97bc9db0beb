//! Sums of vectors: how fast a vector kernel can stream.

use super::AddTilingData;
use crate::attention::Operand;
use crate::kernels;
use crate::kernels::operands::AddOperands;
use crate::runtime::{refuse, Device, Kernel, Module, Named, Stream};
use crate::{DType, Error, ErrorKind, Result, Soc};

/// Name of the kernel for elements of type `dtype`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn add_kernel_name(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F16 => Ok("fa_add_f16"),
        DType::F32 => Ok("fa_add_f32"),
        DType::Bf16 => Err(Error::new(
            ErrorKind::Unsupported,
            "add: dtype = bf16 has no kernel, as the vector unit does not add it; supported: f16, f32",
        )),
    }
}

/// How a sum is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddTiling {
    /// Elements of one tile, whole blocks of 32 bytes.
    pub tile: u32,
    /// Buffers of each operand: 1, or 2 to load and store while the vector unit adds.
    pub buffers: u32,
    /// Vector cores; each takes one contiguous part of the vectors.
    pub num_cores: u32,
    /// Bytes left free in front of each buffer of y. 256 keeps x and y of equal offsets in different bank
    /// groups of UB (dav-c220.md §1.5).
    pub y_gap_bytes: u32,
    /// x and y are read past L2, which pays for what is not in L2 and is read once.
    pub past_l2: bool,
}

impl AddTiling {
    /// Tiling data for `n` elements.
    ///
    /// # Errors
    /// `InvalidArgument` for numbers that make no tiling, `Unsupported` for one that does not fit UB.
    pub fn tiling_data(&self, dtype: DType, n: u64, soc: &Soc) -> Result<AddTilingData> {
        let bytes = self.tile_bytes(dtype, soc)?;
        let second = if self.buffers == 2 { 3 * bytes + self.y_gap_bytes } else { 0 };
        let y = bytes + self.y_gap_bytes;
        let block = 32 / dtype.size_bytes() as u64;
        // Parts of whole tiles' blocks, so that no two cores share a block of 32 bytes.
        let core_elements = n.div_ceil(u64::from(self.num_cores)).checked_next_multiple_of(block);
        let Some(core_elements) = core_elements.filter(|_| n <= soc.hbm_bytes) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "add: n = {n} given, at most as many elements wanted as the {} bytes of {} have",
                    soc.hbm_bytes, soc.name
                ),
            ));
        };
        Ok(AddTilingData {
            n,
            core_elements,
            tile: self.tile,
            buffers: self.buffers,
            x_offset_bytes: [0, second],
            y_offset_bytes: [y, second + y],
            z_offset_bytes: [y + bytes, second + y + bytes],
            past_l2: u32::from(self.past_l2),
            reserved: 0,
        })
    }

    /// Bytes of a tile of one operand, of a tiling that this chip can run.
    fn tile_bytes(&self, dtype: DType, soc: &Soc) -> Result<u32> {
        let bytes = u64::from(self.tile) * dtype.size_bytes() as u64;
        let wrong = |name: &str, value: u32, wanted: &str| {
            Err(Error::invalid(format!("add: {name} = {value} given, {wanted} wanted")))
        };
        let block = 32 / dtype.size_bytes() as u64;
        if bytes == 0 || !bytes.is_multiple_of(32) {
            return wrong("tile", self.tile, &format!("a multiple of {block} above 0"));
        }
        if !self.y_gap_bytes.is_multiple_of(32) {
            return wrong("y_gap_bytes", self.y_gap_bytes, "a multiple of 32");
        }
        if !(1..=2).contains(&self.buffers) {
            return wrong("buffers", self.buffers, "1 or 2");
        }
        if !(1..=soc.vector_cores).contains(&self.num_cores) {
            return wrong("num_cores", self.num_cores, &format!("1 to {}", soc.vector_cores));
        }
        let usable = u64::from(soc.core.usable_ub_bytes());
        let needed = u64::from(self.buffers) * (3 * bytes + u64::from(self.y_gap_bytes));
        if needed > usable {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "add: tile, buffers and y_gap_bytes take {needed} bytes of UB, at most {usable} wanted"
                ),
            ));
        }
        // Bounded by UB, see above.
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

/// `z = x + y` on one device (`ascendc/kernels/add.cpp`), f16 or f32.
#[derive(Clone, Debug)]
pub struct Add {
    device: Device,
    f16: Kernel,
    f32: Kernel,
}

impl Add {
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
        let kernel = |dtype| module.kernel(add_kernel_name(dtype)?);
        Ok(Self { device: module.device().clone(), f16: kernel(DType::F16)?, f32: kernel(DType::F32)? })
    }

    /// Queues the sum of `n` elements of x and y. z overlaps with neither.
    ///
    /// # Errors
    /// `Unsupported` for other types, as [`AddTiling::tiling_data`]; `InvalidArgument` for operands that are
    /// misaligned, too small, of another device, or written while another one lies there.
    pub fn launch(
        &self,
        stream: &Stream,
        tiling: AddTiling,
        dtype: DType,
        n: u64,
        [x, y, z]: [Operand<'_>; 3],
    ) -> Result<()> {
        add_kernel_name(dtype)?;
        let data = tiling.tiling_data(dtype, n, self.device.soc())?;
        let size = dtype.size_bytes() as u64;
        // Bounded by the device's memory, see `tiling_data`.
        let bytes = n * size;
        let operands = [
            Named::read("x", x, bytes, size),
            Named::read("y", y, bytes, size),
            Named::written("z", z, bytes, size),
        ];
        refuse("add launch", &operands)?;
        if n == 0 {
            return Ok(());
        }
        let kernel = if dtype == DType::F32 { &self.f32 } else { &self.f16 };
        kernel.launch(stream, tiling.num_cores, &AddOperands { x, y, z, tiling: &data }.args()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_elements_than_any_memory_holds_are_refused() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let tiling = AddTiling { tile: 1024, buffers: 2, num_cores: 1, y_gap_bytes: 0, past_l2: false };
        assert!(tiling.tiling_data(DType::F16, 1 << 30, soc).is_ok());
        for n in [soc.hbm_bytes + 1, u64::MAX] {
            let error = tiling.tiling_data(DType::F16, n, soc).unwrap_err().to_string();
            assert_eq!(error, format!("add: n = {n} given, at most as many elements wanted as the 68719476736 bytes of Ascend910B2 have"));
        }
    }
}
