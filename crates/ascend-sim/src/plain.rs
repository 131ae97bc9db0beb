//! An engine without a chip: the host's own memory, and one native kernel. It tracks nothing.

#![allow(unsafe_code, reason = "an image is code, and its kernel uses memory natively")]

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use crate::HostMemory;

use super::engine::{About, Allocation, Engine, Image, Kernel, Launched, Launcher, NoRoom, Stopped};

/// Host memory whose device addresses are its own.
#[derive(Debug)]
pub(crate) struct Plain(HostMemory);

impl Plain {
    pub(crate) fn new(capacity: u64) -> Plain {
        Plain(HostMemory::new(capacity))
    }
}

impl Engine for Plain {
    fn about(&self) -> About {
        About { soc: "none", ..About::default() }
    }

    fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    fn used(&self) -> u64 {
        self.0.used()
    }

    fn alloc(&self, len: u64) -> Result<u64, NoRoom> {
        self.0.alloc(len)
    }

    fn free(&self, base: u64) -> bool {
        self.0.free(base)
    }

    fn find(&self, address: u64) -> Option<Arc<dyn Allocation>> {
        self.0.find(address).map(|block| block as _)
    }

    fn bases(&self) -> Vec<u64> {
        self.0.bases()
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
