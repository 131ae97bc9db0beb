//! An engine without a chip: the host's own memory, and one native kernel. It tracks nothing.

#![allow(unsafe_code, reason = "device memory of this engine is host memory that its kernels use natively")]

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::engine::{About, Allocation, Engine, Image, Kernel, Launched, Launcher, NoRoom, Stopped};

/// Host memory whose device addresses are its own.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    capacity: u64,
    live: RwLock<BTreeMap<u64, Arc<Block>>>,
    numbers: AtomicU64,
}

#[derive(Clone)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "reached by pointer")] [u8; 64]);

struct Block {
    start: NonNull<Line>,
    lines: usize,
    size: u64,
    number: u64,
}

// SAFETY: the memory is owned; who may use which bytes when is the contract of the C functions, which the
// tests keep.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let lines = NonNull::slice_from_raw_parts(self.start, self.lines);
        // SAFETY: `alloc` has leaked this box, and it is freed once.
        drop(unsafe { Box::from_raw(lines.as_ptr()) });
    }
}

impl Block {
    /// A place inside, for the code of a kernel or of a copy.
    fn at(&self, address: u64) -> *mut u8 {
        let offset = usize::try_from(address - self.base()).unwrap();
        self.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}

impl Allocation for Block {
    fn base(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn read(&self, address: u64, out: &mut [u8]) {
        // SAFETY: the range lies inside, and nobody writes it meanwhile.
        unsafe { self.at(address).copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
    }

    fn write(&self, address: u64, data: &[u8]) {
        // SAFETY: the range lies inside, and nobody else uses it meanwhile.
        unsafe { self.at(address).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    }
}

impl Plain {
    pub(crate) fn new(capacity: u64) -> Plain {
        Plain { capacity, ..Plain::default() }
    }
}

impl Engine for Plain {
    fn about(&self) -> About {
        About { soc: "none", ..About::default() }
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn used(&self) -> u64 {
        self.live.read().unwrap().values().map(|block| block.size).sum()
    }

    fn alloc(&self, len: u64) -> Result<u64, NoRoom> {
        let free = self.capacity - self.used();
        if len > free {
            return Err(NoRoom::OnDevice { free });
        }
        let lines = usize::try_from(len.div_ceil(64)).unwrap();
        let start = NonNull::from(Box::leak(vec![Line([0; 64]); lines].into_boxed_slice())).cast();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let block = Arc::new(Block { start, lines, size: len, number });
        let base = block.base();
        self.live.write().unwrap().insert(base, block);
        Ok(base)
    }

    fn free(&self, base: u64) -> bool {
        self.live.write().unwrap().remove(&base).is_some()
    }

    fn find(&self, address: u64) -> Option<Arc<dyn Allocation>> {
        let live = self.live.read().unwrap();
        let (base, block) = live.range(..=address).next_back()?;
        (address < base + block.size).then(|| Arc::clone(block) as _)
    }

    fn bases(&self) -> Vec<u64> {
        self.live.read().unwrap().keys().copied().collect()
    }

    unsafe fn load_bytes(&self, data: &[u8]) -> Result<Arc<dyn Image>, String> {
        match data {
            b"native" => Ok(Arc::new(Native)),
            _ => Err("\"native\" wanted".into()),
        }
    }

    unsafe fn load_file(&self, path: &Path) -> Result<Arc<dyn Image>, String> {
        Err(format!("{} is no image: \"native\" from memory wanted", path.display()))
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(Native)
    }
}

/// The image of this engine, and what runs its kernel.
struct Native;

/// Adds 1 to each byte: address, number of bytes.
struct AddOne;

impl Image for Native {
    fn find(&self, name: &str) -> Option<Arc<dyn Kernel>> {
        (name == AddOne.name()).then(|| Arc::new(AddOne) as _)
    }

    fn names(&self) -> Vec<String> {
        vec![AddOne.name().to_owned()]
    }
}

impl Kernel for AddOne {
    fn name(&self) -> &str {
        "add_one"
    }

    fn num_args(&self) -> usize {
        2
    }
}

impl Launcher for Native {
    fn launch(&self, kernel: &dyn Kernel, args: &[u64], blocks: u32) -> Result<Launched, Stopped> {
        if !(kernel as &dyn Any).is::<AddOne>() {
            return Err(Stopped::Exception("a kernel of another engine".into()));
        }
        let [address, len] = [args[0], args[1]].map(|value| usize::try_from(value).unwrap());
        let start = std::ptr::with_exposed_provenance_mut::<u8>(address);
        for _ in 0..blocks {
            // SAFETY: the test gives a live allocation of so many bytes, which nothing else uses now.
            unsafe { std::slice::from_raw_parts_mut(start, len) }.iter_mut().for_each(|byte| *byte += 1);
        }
        Ok(Launched::default())
    }
}
