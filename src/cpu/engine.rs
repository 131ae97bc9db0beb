//! The host as an engine of the ACL functions.
#![allow(unsafe_code, reason = "methods of a trait that loads code; this engine loads none")]

use std::path::Path;
use std::sync::Arc;

use ascend_sim::engine::{About, Allocation, Engine, Image, Launcher, NoRoom};
use ascend_sim::HostMemory;
use fastattention_cpu::Host;

use super::{image, Config};
use crate::{Error, ErrorKind, Result, Soc};

/// Memory and threads of one device.
#[derive(Debug)]
pub(super) struct HostEngine {
    memory: Arc<HostMemory>,
    host: Arc<Host>,
    soc: &'static Soc,
}

impl HostEngine {
    pub(super) fn new(config: Config) -> Result<Self> {
        let threads = fastattention_cpu::Config { threads: config.threads, ..Default::default() };
        let host = Host::new(&threads);
        let host =
            host.map_err(|e| Error::new(ErrorKind::Driver, format!("threads of a cpu device: {e}")))?;
        Ok(Self {
            memory: Arc::new(HostMemory::new(config.memory_bytes)),
            host: Arc::new(host),
            soc: config.soc,
        })
    }
}

impl Engine for HostEngine {
    fn about(&self) -> About {
        crate::soc::about(self.soc)
    }

    fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    fn used(&self) -> u64 {
        self.memory.used()
    }

    fn alloc(&self, len: u64) -> std::result::Result<u64, NoRoom> {
        self.memory.alloc(len)
    }

    fn free(&self, base: u64) -> bool {
        self.memory.free(base)
    }

    fn find(&self, address: u64) -> Option<Arc<dyn Allocation>> {
        self.memory.find(address).map(|block| block as _)
    }

    fn bases(&self) -> Vec<u64> {
        self.memory.bases()
    }

    unsafe fn load_bytes(&self, data: &[u8]) -> std::result::Result<Arc<dyn Image>, String> {
        image::load(data)
    }

    unsafe fn load_file(&self, path: &Path) -> std::result::Result<Arc<dyn Image>, String> {
        let data = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        image::load(&data)
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(image::Lane::new(Arc::clone(&self.memory), Arc::clone(&self.host)))
    }
}

/// Bytes of memory that the host has.
#[cfg(target_os = "linux")]
pub(super) fn physical_bytes() -> Result<u64> {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "an unsigned long of C, which has 32 bits on some systems")]
    Ok(u64::from(info.mem_unit).saturating_mul(info.totalram.into()))
}

/// Bytes of memory that the host has.
#[cfg(not(target_os = "linux"))]
pub(super) fn physical_bytes() -> Result<u64> {
    let text = "memory_bytes of a cpu device: this system is not asked for its memory, on Linux it is";
    Err(Error::new(ErrorKind::Unsupported, text))
}
