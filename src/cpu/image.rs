//! The image of these devices: all native kernels, by the names of `ascendc/kernels/variants.def`.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use ascend_sim::engine::{Image, Kernel, Launched, Launcher, Stopped};
use ascend_sim::HostMemory;
use fastattention_cpu::Host;

use super::call::Call;
use super::kernels::{Native, ALL};

/// What stands for an image: the kernels are part of this program.
pub(super) const NATIVE: &[u8] = b"native kernels of fastattention";

pub(super) fn load(data: &[u8]) -> Result<Arc<dyn Image>, String> {
    match data {
        NATIVE => Ok(Arc::new(All)),
        _ => Err(format!(
            "an image of {} bytes given; a cpu device has the kernels of this program only, and loads no others",
            data.len()
        )),
    }
}

struct All;

impl Image for All {
    fn find(&self, name: &str) -> Option<Arc<dyn Kernel>> {
        let found = ALL.iter().find(|native| native.name == name)?;
        Some(Arc::new(Entry(found)))
    }

    fn names(&self) -> Vec<String> {
        ALL.iter().map(|native| native.name.to_owned()).collect()
    }
}

struct Entry(&'static Native);

impl Kernel for Entry {
    fn name(&self) -> &str {
        self.0.name
    }

    fn num_args(&self) -> usize {
        self.0.num_args
    }
}

/// What runs the kernels of one stream: the threads of the device.
pub(super) struct Lane {
    memory: Arc<HostMemory>,
    host: Arc<Host>,
}

impl Lane {
    pub(super) fn new(memory: Arc<HostMemory>, host: Arc<Host>) -> Self {
        Self { memory, host }
    }
}

impl Launcher for Lane {
    fn launch(&self, kernel: &dyn Kernel, args: &[u64], blocks: u32) -> Result<Launched, Stopped> {
        let Some(Entry(native)) = (kernel as &dyn Any).downcast_ref::<Entry>() else {
            let text = format!("kernel {}, loaded on another kind of device, given to cpu", kernel.name());
            return Err(Stopped::Exception(text));
        };
        let call = Call { name: native.name, blocks, memory: &self.memory, host: &self.host };
        // A panic is a defect of a kernel, and must not end the thread of the stream.
        let run = AssertUnwindSafe(|| (native.run)(&call, args));
        let defect =
            |_| Err(Stopped::Defect(format!("kernel {}: a panic, which is a defect of it", native.name)));
        catch_unwind(run).unwrap_or_else(defect).map(|()| Launched::default())
    }
}
