//! The memory of work: operands that overlap, work in flight that shares memory, what a stream keeps, and
//! empty tensors.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "a function of the program in a stream, and memory of another owner")]

mod borrowed;
mod empty;
mod flight;
mod overlap;
mod release;

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex};

use fastattention::attention::{plan, Args, Plan, Problem};
use fastattention::runtime::{Buffer, Device, Operand, Stream};
use fastattention::sim::{self, Config};
use fastattention::{DType, Soc};
use half::f16;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn device() -> Device {
    Device::simulated(Config::new(soc())).unwrap()
}

fn at(buffer: &Buffer, offset_bytes: usize) -> Operand<'_> {
    Operand::at(buffer, offset_bytes)
}

fn bytes(len: u64) -> usize {
    usize::try_from(len).unwrap()
}

/// Numbers in -1..1 that differ along the slice.
fn ramp(len: usize) -> Vec<f16> {
    (0..len).map(|i| f16::from_f32((i * 37 % 201) as f32 / 100.0 - 1.0)).collect()
}

/// A small attention with lse: its plan, and buffers for its operands.
struct Attention {
    plan: Plan,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
    workspace: Buffer,
}

impl Attention {
    fn new(device: &Device) -> Self {
        let plan = plan(&Problem::new(DType::F16, [1, 64, 2, 32]).with_lse(), soc()).unwrap();
        let tensor = || Buffer::from_slice(device, &ramp(64 * 2 * 32)).unwrap();
        let lse = Buffer::alloc(device, 4 * 64 * 2).unwrap();
        let workspace = Buffer::alloc(device, bytes(plan.workspace_bytes())).unwrap();
        Self { plan, q: tensor(), k: tensor(), v: tensor(), o: tensor(), lse, workspace }
    }

    fn args(&self) -> Args<'_> {
        Args::new(&self.q, &self.k, &self.v, &self.o, &self.workspace).with_lse(&self.lse)
    }
}

/// Work of streams waits at a gate until so many have been let through.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    /// Queues a wait for the opening number `number`.
    fn hold(&self, stream: &Stream, number: usize) {
        unsafe extern "C" fn wait(argument: *mut c_void) {
            // SAFETY: `hold` has made it, and the stream calls once.
            let (gate, number) = *unsafe { Box::from_raw(argument.cast::<(Gate, usize)>()) };
            let (count, opened) = &*gate.0;
            drop(opened.wait_while(count.lock().unwrap(), |count| *count < number).unwrap());
        }
        let argument = Box::into_raw(Box::new((self.clone(), number)));
        let table = sim::acl_table();
        // SAFETY: the stream keeps its device, and so the context.
        let code = unsafe { (table.aclrtSetCurrentContext)(stream.device().as_raw_context()) };
        assert_eq!(code, 0);
        let launch = table.aclrtLaunchHostFunc.unwrap();
        // SAFETY: the function takes the argument, on any thread.
        let code = unsafe { launch(stream.as_raw(), Some(wait), argument.cast()) };
        assert_eq!(code, 0);
    }

    fn open(&self, number: usize) {
        *self.0 .0.lock().unwrap() = number;
        self.0 .1.notify_all();
    }
}
