//! Tests of the machine with kernels written in Rust: they call the same entry points as kernels in C++.
//!
//! The instructions are invented: `go_<pipe>` reads one range, writes another, and adds one on the way.
#![allow(clippy::cast_possible_truncation, reason = "test data is small, and its bytes are meant to wrap")]

mod cross;
mod flags;
mod launch;
mod oracle;
mod races;
mod time;

use std::sync::Arc;

use super::{launch, Body, Function, LaunchStats, HOOKS};
use crate::access::{
    Access, Addr, DeviceMemory, Dispatch, Exec, Fault, FaultKind, Instr, OpInfo, Pipe, Rate, Space, Stop,
    VectorOperands, MAX_ARGS,
};
use crate::isa;
use crate::machine::abi::{FasimInstr, KernelType, Special};
use crate::machine::Config;
use ascend_soc::Soc;

/// `read`, `read_len`, `write`, `write_len`, `how`: 0 plain, 1 atomic write, 2 ordered by the hardware
/// against M and FIX.
fn run_go(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let addr = |raw| Addr::decode(raw).unwrap();
    let exempt: &[Pipe] = if instr.args[4] == 2 { &[Pipe::M, Pipe::Fix] } else { &[] };
    let mut value = 0u8;
    let (from, len) = (addr(instr.args[0]), instr.args[1]);
    if len > 0 {
        exec.touch_ordered_within_pipe("src", from, len, Access::Read, exempt)?;
        let mut bytes = vec![0; len as usize];
        if from.space == Space::Gm {
            exec.gm_read(from, &mut bytes);
        } else {
            bytes.copy_from_slice(exec.bytes(from, len as usize));
        }
        value = bytes.iter().fold(0, |sum, b| b.wrapping_mul(3).wrapping_add(sum));
    }
    let (to, len) = (addr(instr.args[2]), instr.args[3]);
    if len > 0 {
        let access = if instr.args[4] == 1 { Access::Atomic } else { Access::Write };
        exec.touch_ordered_within_pipe("dst", to, len, access, exempt)?;
        let bytes = vec![value.wrapping_add(1); len as usize];
        if to.space == Space::Gm {
            exec.gm_write(to, &bytes);
        } else {
            exec.bytes_mut(to, len as usize).copy_from_slice(&bytes);
            exec.mark(to, len as usize, true);
        }
    }
    Ok(())
}

const GO_OPERANDS: &[&str] = &["read", "read_len", "write", "write_len", "how", "UnitFlagMode"];

const GO_VECTOR: &VectorOperands =
    &VectorOperands { names: GO_OPERANDS, repeat: None, dst: None, sources: &[] };

const fn go(mnemonic: &'static str, pipe: Pipe) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Queued(pipe, run_go),
        operands: GO_OPERANDS,
        source: "invented for these tests",
        rate: match pipe {
            Pipe::V => Rate::Vector { entry: None, operands: GO_VECTOR },
            Pipe::M => Rate::Cube,
            _ => Rate::Path,
        },
    }
}

static GO: [OpInfo; 7] = [
    OpInfo {
        mnemonic: "panics",
        dispatch: Dispatch::Queued(Pipe::Mte2, |_, _| panic!("a bug of the simulator")),
        operands: &[],
        source: "invented for these tests",
        rate: Rate::Path,
    },
    go("go_v", Pipe::V),
    go("go_m", Pipe::M),
    go("go_mte1", Pipe::Mte1),
    go("go_mte2", Pipe::Mte2),
    go("go_mte3", Pipe::Mte3),
    go("go_fix", Pipe::Fix),
];

const SYNC: [&str; 6] =
    ["set_flag", "wait_flag", "pipe_barrier", "ffts_cross_core_sync", "wait_flag_dev", "dsb"];

fn ops() -> Arc<[&'static OpInfo]> {
    GO.iter().chain(SYNC.map(|name| isa::find(name).unwrap())).collect()
}

/// The machine has told the kernel to stop.
#[derive(Debug)]
struct Told;

type Kernel = Result<(), Told>;

fn told(code: i32) -> Kernel {
    if code == 0 {
        Ok(())
    } else {
        Err(Told)
    }
}

#[allow(unsafe_code, reason = "calls the C entry points as a kernel does")]
fn issue_raw(instr: &FasimInstr) -> Kernel {
    // SAFETY: a valid reference.
    told(unsafe { (HOOKS.issue)(instr) })
}

fn issue(name: &str, operands: &[u64]) -> Kernel {
    let op = ops().iter().position(|op| op.mnemonic == name).unwrap() as u16;
    let mut args = [0; MAX_ARGS];
    args[..operands.len()].copy_from_slice(operands);
    issue_raw(&FasimInstr { op, elem: 0, elem_dst: 0, num_args: operands.len() as u32, args })
}

/// CANN's numbers of the pipes.
fn cann(pipe: Pipe) -> u64 {
    match pipe {
        Pipe::S => 0,
        Pipe::V => 1,
        Pipe::M => 2,
        Pipe::Mte1 => 3,
        Pipe::Mte2 => 4,
        Pipe::Mte3 => 5,
        Pipe::Fix => 10,
    }
}

fn go_name(pipe: Pipe) -> &'static str {
    match pipe {
        Pipe::S => unreachable!("the scalar unit has no such instruction"),
        Pipe::V => "go_v",
        Pipe::M => "go_m",
        Pipe::Mte1 => "go_mte1",
        Pipe::Mte2 => "go_mte2",
        Pipe::Mte3 => "go_mte3",
        Pipe::Fix => "go_fix",
    }
}

/// A range: address and length.
type Range = (u64, u64);
const NONE: Range = (0, 0);

fn ub(at: u64, len: u64) -> Range {
    ((1 << 48) + at, len)
}

fn l1(at: u64, len: u64) -> Range {
    ((2 << 48) + at, len)
}

fn l0c(at: u64, len: u64) -> Range {
    ((5 << 48) + at, len)
}

fn run_on(pipe: Pipe, read: Range, write: Range) -> Kernel {
    issue(go_name(pipe), &[read.0, read.1, write.0, write.1])
}

fn set(src: Pipe, dst: Pipe, event: u64) -> Kernel {
    issue("set_flag", &[cann(src), cann(dst), event])
}

fn wait(src: Pipe, dst: Pipe, event: u64) -> Kernel {
    issue("wait_flag", &[cann(src), cann(dst), event])
}

/// A flag from `src` to `dst`, set and waited for.
fn sync(src: Pipe, dst: Pipe) -> Kernel {
    set(src, dst, 0)?;
    wait(src, dst, 0)
}

fn barrier(pipe: Pipe) -> Kernel {
    issue("pipe_barrier", &[cann(pipe)])
}

fn barrier_all() -> Kernel {
    issue("pipe_barrier", &[6])
}

fn cross_set(pipe: Pipe, mode: u64, flag: u64) -> Kernel {
    issue("ffts_cross_core_sync", &[cann(pipe), 1 | mode << 4 | flag << 8])
}

fn cross_wait(flag: u64) -> Kernel {
    issue("wait_flag_dev", &[flag])
}

#[allow(unsafe_code, reason = "calls the C entry points as a kernel does")]
fn load(at: u64, bytes: u32) -> Result<u64, Told> {
    let mut value = 0;
    // SAFETY: a valid pointer.
    told(unsafe { (HOOKS.scalar_load)(at, bytes, &mut value) })?;
    Ok(value)
}

#[allow(unsafe_code, reason = "calls the C entry points as a kernel does")]
fn store(at: u64, bytes: u32, value: u64) -> Kernel {
    // SAFETY: it takes no pointer.
    told(unsafe { (HOOKS.scalar_store)(at, bytes, value) })
}

#[allow(unsafe_code, reason = "calls the C entry points as a kernel does")]
fn special(which: Special) -> Result<u64, Told> {
    let mut value = 0;
    // SAFETY: a valid pointer.
    told(unsafe { (HOOKS.special)(which as u32, &mut value) })?;
    Ok(value)
}

fn is_aic() -> Result<bool, Told> {
    Ok(special(Special::CoreType)? == 0)
}

/// A device for test kernels.
struct Device {
    memory: DeviceMemory,
    config: Config,
}

impl Device {
    fn new() -> Self {
        let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
        config.threads = 1;
        Self { memory: DeviceMemory::new(1 << 30), config }
    }

    fn with_seed(seed: u64) -> Self {
        let mut device = Self::new();
        device.config.seed = Some(seed);
        device
    }

    fn run(
        &self,
        kernel_type: KernelType,
        blocks: u32,
        kernel: impl Fn() -> Kernel + Send + Sync + 'static,
    ) -> Result<LaunchStats, Stop> {
        let body: Body = Arc::new(move || kernel().is_err().into());
        let function = Function { name: "test", kernel_type, ops: ops(), body, args: &[] };
        launch(&self.memory, &self.config, function, blocks).map(|(stats, _)| stats)
    }

    /// One block on one AIV.
    fn aiv(&self, kernel: impl Fn() -> Kernel + Send + Sync + 'static) -> Result<LaunchStats, Stop> {
        self.run(KernelType::AivOnly, 1, kernel)
    }

    /// One block on one AIC.
    fn aic(&self, kernel: impl Fn() -> Kernel + Send + Sync + 'static) -> Result<LaunchStats, Stop> {
        self.run(KernelType::AicOnly, 1, kernel)
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.memory.find(at).unwrap().read(at, &mut out);
        out
    }
}

/// The default order, and many seeds.
fn orders() -> impl Iterator<Item = Device> {
    std::iter::once(Device::new()).chain((0..40).map(Device::with_seed))
}

/// The fault of a launch; anything else fails the test.
#[track_caller]
fn fault<T: std::fmt::Debug>(result: Result<T, Stop>) -> Fault {
    match result {
        Err(Stop::Fault(fault)) => *fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

#[track_caller]
fn assert_fault<T: std::fmt::Debug>(result: Result<T, Stop>, kind: FaultKind, part: &str) {
    let fault = fault(result);
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.to_string().contains(part), "{part:?} is not in: {fault}");
}
