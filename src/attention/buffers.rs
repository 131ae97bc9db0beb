//! Device memory for the launches of a plan.

use bytemuck::NoUninit;

use super::{Args, Plan};
use crate::runtime::{Buffer, Device};
use crate::{Error, Result};

/// A buffer for every operand of a plan, and its workspace.
///
/// ```
/// # use fastattention::attention::{plan, Buffers, FlashAttention, Problem};
/// # use fastattention::runtime::{Device, Stream};
/// # use fastattention::DType;
/// # use half::f16;
/// # let device = Device::open("sim")?;
/// # let plan = plan(&Problem::new(DType::F16, [1, 16, 1, 16]), device.soc())?;
/// # let (q, k, v) = ([f16::ONE; 256], [f16::ONE; 256], [f16::ONE; 256]);
/// let buffers = Buffers::from_slices(&device, &plan, [&q, &k, &v])?;
/// let stream = Stream::new(&device)?;
/// FlashAttention::new(&device)?.launch(&stream, &plan, buffers.args())?;
/// stream.synchronize()?;
/// assert_eq!(buffers.o.to_vec::<f16>()?, v);
/// # Ok::<(), fastattention::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buffers {
    /// Queries.
    pub q: Buffer,
    /// Keys.
    pub k: Buffer,
    /// Values.
    pub v: Buffer,
    /// Output.
    pub o: Buffer,
    /// Log-sum-exp, when the plan writes it.
    pub lse: Option<Buffer>,
    /// What a launch needs besides its operands.
    pub workspace: Buffer,
}

impl Buffers {
    /// Allocates them all, uninitialised.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn alloc(device: &Device, plan: &Plan) -> Result<Self> {
        let [q, k, v, ..] = plan.shape().operand_bytes();
        Self::with_inputs(device, plan, [alloc(device, q)?, alloc(device, k)?, alloc(device, v)?])
    }

    /// Allocates them all and copies q, k and v from the host, as the plan's strides say; o, lse and
    /// workspace are uninitialised. A launch refuses slices that are too short.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn from_slices<T: NoUninit>(device: &Device, plan: &Plan, [q, k, v]: [&[T]; 3]) -> Result<Self> {
        let upload = |slice| Buffer::from_slice(device, slice);
        Self::with_inputs(device, plan, [upload(q)?, upload(k)?, upload(v)?])
    }

    fn with_inputs(device: &Device, plan: &Plan, [q, k, v]: [Buffer; 3]) -> Result<Self> {
        let [.., o, lse] = plan.shape().operand_bytes();
        let o = alloc(device, o)?;
        let lse = plan.shape().want_lse.then(|| alloc(device, lse)).transpose()?;
        let workspace = alloc(device, plan.workspace_bytes())?;
        Ok(Self { q, k, v, o, lse, workspace })
    }

    /// The operands of a launch.
    pub fn args(&self) -> Args<'_> {
        let args = Args::new(&self.q, &self.k, &self.v, &self.o, &self.workspace);
        self.lse.iter().fold(args, Args::with_lse)
    }
}

/// A buffer of that many bytes.
fn alloc(device: &Device, bytes: u64) -> Result<Buffer> {
    let bytes = usize::try_from(bytes)
        .map_err(|_| Error::invalid(format!("attention: {bytes} bytes are more than this host addresses")))?;
    Buffer::alloc(device, bytes)
}
