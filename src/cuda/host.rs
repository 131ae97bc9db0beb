//! Attention on host slices in one call: plans, copies, launches and waits. For first steps, tools and tests.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr};
use half::f16;

use super::driver::Context as _;
use super::{plan, Args, Device};
use crate::attention::host::{require_elements, Output};
use crate::attention::Problem;
use crate::Result;

/// Attention of host slices on a GPU. `lse` is returned whether the problem asks for it or not.
///
/// # Errors
/// `InvalidArgument` for slices shorter than the problem's shapes and strides need; what
/// [`plan`] refuses; what [`Device::launch`] says; `OutOfMemory`, `Driver` and `DeviceLost` of
/// the run.
pub fn attention_on(
    device: &Device,
    problem: &Problem,
    q: &[f16],
    k: &[f16],
    v: &[f16],
) -> Result<Output<f16>> {
    let plan = plan(&problem.with_lse(), device.facts())?;
    require_elements(plan.shape(), [q, k, v])?;
    let stream = device.context().default_stream();
    let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
    let [q, k, v] = [upload(&stream, q)?, upload(&stream, k)?, upload(&stream, v)?];
    let mut o: CudaSlice<u16> = zeros(&stream, o_bytes)?;
    let mut lse: CudaSlice<f32> = zeros(&stream, lse_bytes)?;
    let mut workspace: CudaSlice<u8> = zeros(&stream, plan.workspace_bytes())?;
    let args = Args::new(&stream, &q, &k, &v, &mut o).with_lse(&mut lse).with_workspace(&mut workspace);
    device.launch(&plan, args)?;
    let (o, lse) = (download(&stream, &o)?, download(&stream, &lse)?);
    stream.synchronize().of("cuStreamSynchronize")?;
    Ok(Output { o: bytemuck::cast_vec(o), lse })
}

/// A driver allocates no 0 bytes.
fn upload(stream: &Arc<CudaStream>, data: &[f16]) -> Result<CudaSlice<u16>> {
    if data.is_empty() {
        return stream.null().of("making an empty slice");
    }
    stream.clone_htod(bytemuck::cast_slice::<f16, u16>(data)).of("copying to the device")
}

fn zeros<T: DeviceRepr + cudarc::driver::ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    bytes: u64,
) -> Result<CudaSlice<T>> {
    let elements = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<T>();
    if elements == 0 {
        return stream.null().of("making an empty slice");
    }
    stream.alloc_zeros(elements).of("allocating device memory")
}

fn download<T: DeviceRepr>(stream: &Arc<CudaStream>, slice: &CudaSlice<T>) -> Result<Vec<T>> {
    if slice.is_empty() {
        return Ok(Vec::new());
    }
    stream.clone_dtoh(slice).of("copying from the device")
}
