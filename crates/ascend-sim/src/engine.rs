//! What the ACL and HCCL functions stand on: memory, images and kernels of a device.
//!
//! An [`Engine`] can be a model of a chip, which keeps track of what was written and of time, or plain memory
//! with native functions. What is optional has a default here that tracks nothing and costs nothing.
#![allow(unsafe_code, reason = "an image is code, which the caller vouches for")]

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What programs can ask about a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Name of the SoC, as `aclrtGetSocName` spells it.
    pub soc: &'static str,
    /// Cube cores.
    pub cube_cores: u32,
    /// Vector cores.
    pub vector_cores: u32,
    /// Bytes of the unified buffer of a vector core.
    pub ub_bytes: u32,
    /// Bytes of the L2 cache.
    pub l2_bytes: u64,
}

/// What is moved between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// Every rank gets the reduction of all.
    AllReduce,
    /// Every rank gets its part of the reduction.
    ReduceScatter,
    /// Every rank gets the parts of all.
    AllGather,
    /// Every rank gets what one has.
    Broadcast,
    /// One rank sends to one other.
    SendRecv,
    /// Nothing is moved.
    Barrier,
}

/// A device without its streams: what has memory and loads kernels.
pub trait Engine: fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// Do kernels for the SoC of this name run here? A driver knows its names in one spelling.
    fn runs_kernels_of(&self, soc: &str) -> bool {
        soc == self.about().soc
    }

    /// Bytes of device memory in total.
    fn capacity(&self) -> u64;

    /// Bytes that are allocated now.
    fn used(&self) -> u64;

    /// Allocates `len` bytes, at least one, with any contents, and returns their address: a multiple of 64.
    ///
    /// # Errors
    /// When the device has less left, or the host, whose memory it is.
    fn alloc(&self, len: u64) -> Result<u64, NoRoom>;

    /// Frees the allocation that starts at `base`; false when there is none. Whoever has it keeps it.
    fn free(&self, base: u64) -> bool;

    /// The allocation that contains `address`. Addresses of all engines of a process are apart.
    fn find(&self, address: u64) -> Option<Arc<dyn Allocation>>;

    /// Addresses of all allocations.
    fn bases(&self) -> Vec<u64>;

    /// Loads an image from memory.
    ///
    /// # Errors
    /// Why the bytes are no image of this engine.
    ///
    /// # Safety
    /// Code of the image may run in this process: its initialisers now, its kernels when they are launched.
    /// The caller vouches for it, as for a program that is run.
    unsafe fn load_bytes(&self, data: &[u8]) -> Result<Arc<dyn Image>, String>;

    /// Loads an image from a file.
    ///
    /// # Errors
    /// Why the file is no image of this engine.
    ///
    /// # Safety
    /// As [`Self::load_bytes`].
    unsafe fn load_file(&self, path: &Path) -> Result<Arc<dyn Image>, String>;

    /// What runs the kernels of one stream, one after the other.
    fn launcher(&self) -> Box<dyn Launcher>;

    /// Do kernels, and so collectives, move data? Not where only time is kept.
    fn has_results(&self) -> bool {
        true
    }

    /// Does it know how long work takes? Then the times below are asked for, in microseconds of model time.
    fn keeps_time(&self) -> bool {
        false
    }

    /// Share of the time of a kernel beside its cores that it takes when a graph launches it.
    fn graph_launch_share(&self) -> f64 {
        1.0
    }

    /// Time in which so many bytes of device memory are read and written by an engine that does nothing else.
    fn memory_us(&self, _bytes: u64) -> f64 {
        0.0
    }

    /// Time of a collective of `ranks` devices, of `bytes` in the larger buffer of a rank.
    fn transfer_time(&self, _collective: Collective, _bytes: u64, _ranks: u32) -> TransferTime {
        TransferTime::default()
    }

    /// Factor on the time of a kernel and of a transfer while both run on the device, at least 1.
    fn contention(&self) -> f64 {
        1.0
    }
}

/// Microseconds of a collective or a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TransferTime {
    /// From its last rank's arrival at links that nobody else uses.
    pub alone_us: f64,
    /// From the end of the one before it on the same links, when its ranks have waited for long; at most
    /// `alone_us`.
    pub queued_us: f64,
}

/// Why nothing was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The device has less left.
    OnDevice {
        /// Bytes that it has left.
        free: u64,
    },
    /// The host, whose memory stands for that of the device, gives no more.
    OnHost,
}

/// One allocation of device memory. Who may use which bytes when is the contract of the C functions; an
/// engine sees to it that a program that breaks it gets wrong bytes at worst.
pub trait Allocation: fmt::Debug + Send + Sync {
    /// Its first address.
    fn base(&self) -> u64;

    /// Its bytes.
    fn size(&self) -> u64;

    /// A number that no other allocation of the device ever has.
    fn number(&self) -> u64;

    /// Copies bytes out. The range lies inside.
    fn read(&self, address: u64, out: &mut [u8]);

    /// Copies bytes in. The range lies inside.
    fn write(&self, address: u64, data: &[u8]);

    /// Copies bytes out with what is known of them. The range lies inside. `None` when the host has no memory
    /// for them.
    fn load(&self, address: u64, len: usize) -> Option<Contents> {
        let mut bytes = try_zeroed(len)?;
        self.read(address, &mut bytes);
        Some(Contents { bytes, unset: Vec::new() })
    }

    /// Copies bytes in with what is known of them. The range lies inside.
    fn store(&self, address: u64, contents: &Contents) {
        self.write(address, &contents.bytes);
    }
}

/// Bytes of device memory, with the positions of those that were never written, where the engine knows: a
/// copy moves that state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Increasing positions in `bytes`.
    pub unset: Vec<usize>,
}

/// Zeros; `None` when the host has no memory for them.
pub(crate) fn try_zeroed(len: usize) -> Option<Vec<u8>> {
    bytemuck::allocation::try_zeroed_slice_box(len).ok().map(<[u8]>::into_vec)
}

/// A loaded image.
pub trait Image: Send + Sync {
    /// The kernel of that name. It keeps the image.
    fn find(&self, name: &str) -> Option<Arc<dyn Kernel>>;

    /// Names of all its kernels.
    fn names(&self) -> Vec<String>;
}

/// A kernel of a loaded image. The launcher of its engine knows its type.
pub trait Kernel: Any + Send + Sync {
    /// Its name in the image.
    fn name(&self) -> &str;

    /// Its arguments: slots of 8 bytes.
    fn num_args(&self) -> usize;
}

/// What runs the kernels of one stream.
pub trait Launcher: Send + Sync {
    /// Runs a kernel to its end on `blocks` blocks, at least one. `args` has [`Kernel::num_args`] slots.
    ///
    /// # Errors
    /// What stopped it.
    fn launch(&self, kernel: &dyn Kernel, args: &[u64], blocks: u32) -> Result<Launched, Stopped>;
}

/// A launch that has ended.
#[derive(Default)]
pub struct Launched {
    /// Microseconds of model time before the cores are needed.
    pub launch_us: f64,
    /// Microseconds of model time on the cores, with the memory for themselves.
    pub core_us: f64,
    /// `None` when it is not known what bytes were used; then nothing is said of races with other streams.
    pub touched: Option<Touched>,
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").field("core_us", &self.core_us).finish_non_exhaustive()
    }
}

/// Tells what a launch has used of device memory. Asked for only when other work may have been in flight.
pub type Touched = Box<dyn FnOnce() -> Vec<(Arc<dyn Allocation>, Vec<Used>)>>;

/// What stopped a kernel. Texts are whole: they say whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The kernel is wrong, or wants what the engine does not have.
    Exception(String),
    /// It would never end.
    Endless(String),
    /// The host has no memory for it.
    NoMemory(String),
    /// The engine is wrong.
    Defect(String),
}

/// How bytes were used, in a set of one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses(u8);

impl Uses {
    /// They were read.
    pub const READ: Uses = Uses(1);
    /// They were written.
    pub const WRITE: Uses = Uses(2);
    /// They were changed by atomic operations whose order does not matter.
    pub const ATOMIC: Uses = Uses(4);

    /// Both of them.
    #[must_use]
    pub fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    /// Does the order matter in which two pieces of work use the same bytes like this?
    pub(crate) fn conflict(self, other: Uses) -> bool {
        let both = self.and(other);
        both != Self::READ && both != Self::ATOMIC
    }

    pub(crate) fn is_write(self) -> bool {
        self != Self::READ
    }
}

/// Bytes of an allocation, from its start, that were used in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    /// How they were used.
    pub uses: Uses,
}

impl Used {
    /// Puts a range behind those before it.
    pub(crate) fn append(ranges: &mut Vec<Used>, next: Used) {
        match ranges.last_mut() {
            Some(last) if last.end == next.start && last.uses == next.uses => last.end = next.end,
            _ => ranges.push(next),
        }
    }
}
