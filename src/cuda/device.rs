//! A GPU and the kernels that it has loaded.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUresult};
use cudarc::driver::{CudaContext, DriverError};

use super::driver::{self, version_text, Context as _, Loaded, MIN_VERSION};
use super::kernels::{self, Text};
use super::params::Launch;
use super::{Addresses, Args, DeviceFacts, Plan};
use crate::{Error, ErrorKind, Result};

/// The least compute capability.
const MIN_CAPABILITY: (u32, u32) = (7, 0);

/// A GPU: a context of the caller's or its own, and the kernels that were used in it. Clones share both.
///
/// A kernel is compiled by the driver when it is first launched, or by [`Self::prepare`], which takes up to
/// some seconds and may wait for the GPU; later starts of a program find it in the driver's cache. When the
/// last clone is dropped it waits for the context's work and unloads the kernels: keep it as long as captured
/// graphs hold launches.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: Arc<CudaContext>,
    facts: DeviceFacts,
    driver_version: (u32, u32),
    /// In the order of [`kernels::texts`].
    loaded: Vec<OnceLock<Loaded>>,
    loading: Mutex<()>,
}

/// A GPU that was found, or the reason why none was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceReport {
    /// `cuda:0` and so on; `cuda` when none was found.
    pub name: String,
    /// The device when it can be used, else why it cannot.
    pub device: Result<Device>,
}

/// The GPUs of this machine, and why they cannot be used. Makes a context on each.
pub fn devices() -> Vec<DeviceReport> {
    match count() {
        Ok(count) => (0..count)
            .map(|ordinal| DeviceReport { name: format!("cuda:{ordinal}"), device: Device::open(ordinal) })
            .collect(),
        Err(error) => vec![DeviceReport { name: "cuda".into(), device: Err(error) }],
    }
}

/// GPUs that the driver has; never 0.
fn count() -> Result<usize> {
    driver::require_library()?;
    let version = driver::version()?;
    if version < MIN_VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the driver is of CUDA {}, {} or newer wanted; install a newer driver",
                version_text(version),
                version_text(MIN_VERSION)
            ),
        ));
    }
    let counted = match CudaContext::device_count() {
        // The driver's word for none is an error of its first call.
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        counted => counted.of("asking the CUDA driver for devices")?,
    };
    match usize::try_from(counted) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(Error::new(
            ErrorKind::NoDevice,
            "the CUDA driver has no device; nvidia-smi lists those of the machine, CUDA_VISIBLE_DEVICES hides \
             those that it leaves out",
        )),
    }
}

impl Device {
    /// Opens the GPU of that number, in its primary context.
    ///
    /// # Errors
    /// `LibraryNotFound` without a driver; `Unsupported` for a driver before CUDA 11.2 or a compute
    /// capability below 7.0; `NoDevice` when there is none of this number; `Driver`, `OutOfMemory`.
    pub fn open(ordinal: usize) -> Result<Self> {
        let count = count()?;
        if ordinal >= count {
            return Err(Error::new(
                ErrorKind::NoDevice,
                format!(
                    "cuda:{ordinal} given, {} wanted: the driver has no more devices",
                    if count == 1 { "cuda:0".to_owned() } else { format!("cuda:0 to cuda:{}", count - 1) }
                ),
            ));
        }
        let context = CudaContext::new(ordinal).of(&format!("opening cuda:{ordinal}"))?;
        Self::attach(&context)
    }

    /// Uses the context of the caller, whose streams and memory launches then take.
    ///
    /// # Errors
    /// `Unsupported` for a compute capability below 7.0; `Driver`.
    pub fn attach(context: &Arc<CudaContext>) -> Result<Self> {
        let facts = facts(context)?;
        if facts.compute_capability < MIN_CAPABILITY {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "cuda:{} ({}) has compute capability {}, {} (V100) or newer wanted",
                    context.ordinal(),
                    facts.name,
                    version_text(facts.compute_capability),
                    version_text(MIN_CAPABILITY)
                ),
            ));
        }
        let loaded = kernels::texts().map(|_| OnceLock::new()).collect();
        let (context, driver_version) = (Arc::clone(context), driver::version()?);
        let inner = Inner { context, facts, driver_version, loaded, loading: Mutex::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The context.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.inner.context
    }

    /// What plans for it are made of.
    pub fn facts(&self) -> &DeviceFacts {
        &self.inner.facts
    }

    /// Major and minor number of the CUDA version that the driver speaks.
    pub fn driver_version(&self) -> (u32, u32) {
        self.inner.driver_version
    }

    /// Does the device lack the tensor instruction of the kernels ([`DeviceFacts::is_emulated`])?
    pub fn is_emulated(&self) -> bool {
        self.facts().is_emulated()
    }

    /// Loads the kernels of a plan now, so that no launch has to: before a stream is captured, for example.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of a device with other facts; `Driver` when the driver refuses a kernel,
    /// with its log.
    pub fn prepare(&self, plan: &Plan) -> Result<()> {
        self.require_own(plan)?;
        plan.launches(&Addresses::default()).try_for_each(|launch| self.loaded(&launch).map(drop))
    }

    /// Queues a plan on the stream of `args`, and returns before it runs. Nothing is allocated, copied or
    /// waited for, but when a kernel is used for the first time ([`Self::prepare`]).
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of a device with other facts, for a stream or operands of another
    /// context, and for operands that are too small, not aligned to 16 bytes (lse: 4), or overlap with what
    /// is written; one error names all that is wrong with the operands. `Driver` when the driver refuses a
    /// kernel or a launch.
    pub fn launch(&self, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.require_own(plan)?;
        args.check(plan, &self.inner.context)?;
        for launch in plan.launches(&args.addresses()) {
            args.launch(self.loaded(&launch)?, &launch)?;
        }
        Ok(())
    }

    fn require_own(&self, plan: &Plan) -> Result<()> {
        if plan.facts() == self.facts() {
            return Ok(());
        }
        Err(Error::invalid(format!("the plan is for {}; one for {} wanted", plan.facts(), self.facts())))
    }

    /// A kernel, loaded at its first use.
    fn loaded(&self, launch: &Launch) -> Result<&Loaded> {
        let is_it = |text: &&Text| text.name == launch.kernel();
        let at =
            kernels::texts().position(|text| is_it(&text)).expect("plans launch the kernels of the table");
        let slot = &self.inner.loaded[at];
        if let Some(loaded) = slot.get() {
            return Ok(loaded);
        }
        // Nothing is left half done by a panic.
        let _one_at_a_time = self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_none() {
            let loaded = Loaded::new(&self.inner.context, launch.text, launch.shared_bytes)?;
            slot.set(loaded).expect("only the holder of the lock sets it");
        }
        Ok(slot.get().expect("it was set"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A context that cannot be waited for may still use them.
        if self.loaded.iter().any(|slot| slot.get().is_some()) && driver::is_idle(&self.context) {
            self.loaded.iter().filter_map(OnceLock::get).for_each(Loaded::unload);
        }
    }
}

fn facts(context: &Arc<CudaContext>) -> Result<DeviceFacts> {
    let number = |attribute: Attribute| {
        let value = context.attribute(attribute).of("cuDeviceGetAttribute")?;
        u32::try_from(value).map_err(|_| {
            Error::new(
                ErrorKind::Driver,
                format!("cuDeviceGetAttribute: {attribute:?} is {value}, a count wanted"),
            )
        })
    };
    let (major, minor) = context.compute_capability().of("cuDeviceGetAttribute")?;
    Ok(DeviceFacts {
        name: context.name().of("cuDeviceGetName")?,
        compute_capability: (major.unsigned_abs(), minor.unsigned_abs()),
        multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: context.total_mem().of("cuDeviceTotalMem")? as u64,
        shared_bytes_per_block: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_bytes_per_multiprocessor: number(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
        )?,
    })
}
