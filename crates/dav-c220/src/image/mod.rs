//! Kernel images: shared libraries built for the host that export `fasim_image` (see `machine/abi.rs`).
#![allow(unsafe_code, reason = "calls functions of a shared library")]

use std::ffi::c_char;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

mod layout;
mod mapped;
mod npu;
#[cfg(test)]
mod tests;

use crate::access::{DeviceMemory, FaultKind, OpInfo, Stop};
use crate::isa;
use crate::machine::abi::{FasimImage, FasimKernel, KernelType, LaunchFn, ABI_VERSION};
use crate::machine::{self, Body, Config, Function, LaunchStats, Touched, HOOKS};
use mapped::Mapped;

/// A shared library in this process, and what its operation numbers mean.
struct Library {
    ops: Arc<[&'static OpInfo]>,
    /// Keeps the code of the kernels mapped. Dropped last.
    _mapped: Mapped,
}

/// Names a host build of kernels for programs that load NPU binaries.
const STAND_IN_VARIABLE: &str = "FASTATTENTION_SIM_KERNELS";

/// A loaded kernel library.
#[derive(Debug)]
pub struct Image {
    kernels: Vec<Kernel>,
}

/// A kernel of an image; keeps its library loaded.
#[derive(Clone)]
pub struct Kernel {
    /// Name as `aclrtBinaryGetFunction` takes it.
    pub name: String,
    /// Arguments that the kernel takes, one 8-byte slot each.
    pub num_args: u32,
    kernel_type: KernelType,
    launch: LaunchFn,
    library: Arc<Library>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} arguments, {:?})", self.name, self.num_args, self.kernel_type)
    }
}

impl Kernel {
    /// Runs the kernel to its end on `blocks` groups. `args` are its 8-byte argument slots.
    ///
    /// # Errors
    /// The first thing that stopped a core, lowest block first.
    pub fn launch(
        &self,
        memory: &DeviceMemory,
        config: &Config,
        args: &[u64],
        blocks: u32,
    ) -> Result<(LaunchStats, Touched), Stop> {
        if args.len() != self.num_args as usize {
            let (name, given, wanted) = (&self.name, args.len(), self.num_args);
            let detail = format!("kernel {name}: {given} arguments given; it takes {wanted}");
            return Err(Stop::fault(FaultKind::Operand, detail));
        }
        let function = Function {
            name: &self.name,
            kernel_type: self.kernel_type,
            ops: Arc::clone(&self.library.ops),
            body: self.body(args),
            args,
        };
        machine::launch(memory, config, function, blocks)
    }

    /// A call with these arguments.
    fn body(&self, args: &[u64]) -> Body {
        let (kernel, args) = (self.clone(), args.to_vec());
        Arc::new(move || {
            // SAFETY: `launch` is code of the library that `kernel` keeps loaded; `args` holds as many slots
            // as are announced, and [`Kernel::launch`] has compared their number with what the kernel takes.
            unsafe { (kernel.launch)(args.as_ptr(), kernel.num_args) }
        })
    }
}

impl Image {
    /// Loads a file: a shared library, or an NPU binary for which the library stands in that the environment
    /// variable `FASTATTENTION_SIM_KERNELS` names.
    ///
    /// # Errors
    /// What the loader said, or why the file is no image that can run.
    ///
    /// # Safety
    /// The library's code runs in this process: its initialisers now, its kernels when they are launched. The
    /// machine checks what it asks of the machine, and nothing else. So its initialisers may run here, its
    /// table of kernels is what `machine_abi.h` says, and its kernels are sound with whatever arguments
    /// [`Kernel::launch`] gets.
    pub unsafe fn load_file(path: &Path) -> Result<Arc<Image>, String> {
        let data = read(path)?;
        if npu::is_npu_binary(&data) {
            // SAFETY: the caller's contract covers the library that stands in.
            return unsafe { Self::stand_in(&data) };
        }
        // SAFETY: as above.
        unsafe { Self::load_library(path, &data) }
    }

    /// Loads a shared library, whose bytes are `data`. The error says what is wrong with the file, what the
    /// loader said, or which part of the interface does not match.
    ///
    /// # Safety
    /// As [`Self::load_file`].
    unsafe fn load_library(path: &Path, data: &[u8]) -> Result<Arc<Image>, String> {
        // SAFETY: the caller's contract is the same.
        let mapped = unsafe { Mapped::open(path, data) }?;
        let raw = mapped.image().map_err(|e| format!("{} is no kernel image: {e}", path.display()))?;
        if raw.abi_version != ABI_VERSION {
            let given = raw.abi_version;
            return Err(format!("the image has interface version {given}; this machine has {ABI_VERSION}"));
        }
        let ops = read_ops(&mapped, &raw)?;
        let kernels = mapped.table(raw.kernels, raw.num_kernels, "kernels")?;
        let kernels: Vec<_> = kernels.iter().map(|k| read_kernel(&mapped, k)).collect::<Result<_, _>>()?;
        let bind = raw.bind.ok_or("the image has no function `bind`")?;
        mapped.require_code(bind as usize, "bind")?;
        // SAFETY: the version says that `bind` takes our FasimHooks, which is a static.
        unsafe { bind(&HOOKS) };
        let library = Arc::new(Library { ops, _mapped: mapped });
        let with_library = |kernel: KernelEntry| Kernel {
            name: kernel.name,
            num_args: kernel.num_args,
            kernel_type: kernel.kernel_type,
            launch: kernel.launch,
            library: Arc::clone(&library),
        };
        Ok(Arc::new(Image { kernels: kernels.into_iter().map(with_library).collect() }))
    }

    /// As [`Self::load_file`], from memory.
    ///
    /// # Errors
    /// As [`Self::load_file`].
    ///
    /// # Safety
    /// As [`Self::load_file`].
    pub unsafe fn load_bytes(data: &[u8]) -> Result<Arc<Image>, String> {
        if npu::is_npu_binary(data) {
            // SAFETY: the caller's contract covers the library that stands in.
            return unsafe { Self::stand_in(data) };
        }
        let file = MemoryFile::new(data).map_err(|e| format!("the image cannot be put into a file: {e}"))?;
        // SAFETY: the caller's contract is the same.
        unsafe { Self::load_library(file.path(), data) }
    }

    /// What runs in the place of an NPU binary: the kernels of the same names in the host build that
    /// [`STAND_IN_VARIABLE`] names.
    ///
    /// # Safety
    /// As [`Self::load_file`], of that library.
    unsafe fn stand_in(data: &[u8]) -> Result<Arc<Image>, String> {
        let wanted = npu::kernels(data)?;
        let list = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let Some(path) = std::env::var_os(STAND_IN_VARIABLE) else {
            return Err(format!(
                "code for an NPU, with the kernels {list}; the simulator runs kernels that are built for the host: \
                 compile their source with the headers in ascendc/sim into a shared library, and load that or name it in \
                 {STAND_IN_VARIABLE}"
            ));
        };
        let path = Path::new(&path);
        let data = read(path).map_err(|e| format!("{STAND_IN_VARIABLE}: {e}"))?;
        // SAFETY: the caller's contract is the same.
        let image = unsafe { Self::load_library(path, &data) };
        let image = image.map_err(|e| format!("{STAND_IN_VARIABLE}: {e}"))?;
        let kernels: Vec<_> = wanted.iter().filter_map(|k| image.find(&k.name)).collect();
        if kernels.is_empty() {
            let known: Vec<_> = image.kernels().iter().map(|k| k.name.as_str()).collect();
            return Err(format!(
                "code for an NPU, with the kernels {list}; {STAND_IN_VARIABLE} = {} has none of them, but {}",
                path.display(),
                known.join(", ")
            ));
        }
        Ok(Arc::new(Image { kernels }))
    }

    /// The kernels of the image.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel of that name.
    pub fn find(self: &Arc<Self>, name: &str) -> Option<Kernel> {
        self.kernels.iter().find(|k| k.name == name).cloned()
    }
}

/// The bytes of a file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |e: &dyn fmt::Display| format!("{} cannot be read: {e}", path.display());
    // Whatever is no file could keep the reader waiting for ever.
    if !std::fs::metadata(path).map_err(|e| wrong(&e))?.is_file() {
        return Err(wrong(&"it is no file"));
    }
    std::fs::read(path).map_err(|e| wrong(&e))
}

fn read_ops(mapped: &Mapped, raw: &FasimImage) -> Result<Arc<[&'static OpInfo]>, String> {
    let names = mapped.table(raw.ops, raw.num_ops, "operations")?;
    let find = |name: &*const c_char| {
        let name = mapped.text(*name, "an operation")?;
        isa::find(name).ok_or_else(|| format!("the image uses the intrinsic {name}, which is not modelled"))
    };
    names.iter().map(find).collect()
}

/// A kernel before its library can be shared.
struct KernelEntry {
    name: String,
    num_args: u32,
    kernel_type: KernelType,
    launch: LaunchFn,
}

fn read_kernel(mapped: &Mapped, raw: &FasimKernel) -> Result<KernelEntry, String> {
    let name = mapped.text(raw.name, "a kernel")?.to_owned();
    let kernel_type = match raw.kernel_type {
        0 => KernelType::AivOnly,
        1 => KernelType::AicOnly,
        2 => KernelType::MixAic1Aiv2,
        3 => KernelType::MixAic1Aiv1,
        other => return Err(format!("kernel {name} has type {other}; types are 0 to 3")),
    };
    let launch = raw.launch.ok_or_else(|| format!("kernel {name} has no function"))?;
    mapped.require_code(launch as usize, &format!("kernel {name}"))?;
    Ok(KernelEntry { name, num_args: raw.num_args, kernel_type, launch })
}

/// A file that exists only while it is loaded.
#[cfg(target_os = "linux")]
struct MemoryFile {
    path: std::path::PathBuf,
    _file: std::fs::File,
}

/// Two numbers, spelt in binary with "/." and "/", which mean nothing in a path.
#[cfg(target_os = "linux")]
fn unique(copy: usize, number: u32) -> String {
    let bits = u128::from(number) << 64 | copy as u128;
    (0..96).map(|bit| if bits >> bit & 1 == 1 { "/." } else { "/" }).collect()
}

#[cfg(target_os = "linux")]
impl MemoryFile {
    fn new(data: &[u8]) -> std::io::Result<Self> {
        use std::io::Write;
        use std::os::fd::{AsRawFd, FromRawFd};
        use std::sync::atomic::{AtomicU32, Ordering};
        // SAFETY: the name is a C string; the call has no other condition.
        let fd = unsafe { libc::memfd_create(c"fasim-image".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened, is checked above, and nobody else owns it.
        let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
        file.write_all(data)?;
        // The loader takes a path it has seen for the library it loaded then, and a library with unique C++
        // symbols is never unloaded, while file descriptors are used again: so no path may ever come twice.
        // A process may have this crate twice, in a program and in the drop-in library that it loads: where
        // the counter lies tells them apart.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = unique((&raw const NEXT).addr(), NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { path: format!("/proc/self/fd{unique}/{}", file.as_raw_fd()).into(), _file: file })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A file that exists only while it is loaded.
#[cfg(not(target_os = "linux"))]
struct MemoryFile {
    path: std::path::PathBuf,
}

#[cfg(not(target_os = "linux"))]
impl MemoryFile {
    fn new(data: &[u8]) -> std::io::Result<Self> {
        use std::io::Write;
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fasim-image-{}-{number}", std::process::id()));
        // Never an existing file: in a shared directory it may be somebody's trap.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o700);
        let mut file = options.open(&path)?;
        let guard = Self { path };
        file.write_all(data)?;
        Ok(guard)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for MemoryFile {
    fn drop(&mut self) {
        // Left over at worst: a temporary file.
        let _ = std::fs::remove_file(&self.path);
    }
}
