//! Calls of the CUDA driver, and what its codes mean.

#![allow(unsafe_code, reason = "calls C functions of the CUDA driver")]

use std::ffi::{c_void, CStr, CString};
use std::fmt::Write as _;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream};

use super::kernels::{Text, THREADS};
use super::params::Launch;
use crate::{DriverCode, Error, ErrorKind, Result};

/// Names of the driver's library.
const LIBRARIES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so", "libcuda.so.1"] };
/// The newest of the functions that are called; a library with it has all others.
const NEWEST_FUNCTION: &str = "cuMemAllocAsync";
/// The version of CUDA that has it. PTX 6.4 asks for 10.1.
pub(super) const MIN_VERSION: (u32, u32) = (11, 2);

/// Bytes for the driver's log of a text that it refuses.
const LOG_BYTES: usize = 8 << 10;

/// The error of a call.
pub(super) fn error(call: &str, error: DriverError) -> Error {
    let name = error.error_name().map_or("no name".into(), CStr::to_string_lossy);
    let text = error.error_string().map_or("no text".into(), CStr::to_string_lossy);
    let number = error.0 as u32;
    let message = format!("{call} failed with {name} ({number}): {text}");
    Error::driver(kind(error.0), DriverCode::Cuda(number), message)
}

fn kind(code: CUresult) -> ErrorKind {
    use CUresult::*;
    match code {
        CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::OutOfMemory,
        CUDA_ERROR_NO_DEVICE | CUDA_ERROR_INVALID_DEVICE => ErrorKind::NoDevice,
        CUDA_ERROR_STUB_LIBRARY => ErrorKind::LibraryNotFound,
        CUDA_ERROR_TIMEOUT => ErrorKind::Timeout,
        // After these the context does nothing more.
        CUDA_ERROR_ECC_UNCORRECTABLE
        | CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_CONTEXT_IS_DESTROYED
        | CUDA_ERROR_ASSERT
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUDA_ERROR_INVALID_PC
        | CUDA_ERROR_LAUNCH_FAILED => ErrorKind::DeviceLost,
        _ => ErrorKind::Driver,
    }
}

/// Names of calls become errors with [`error`].
pub(super) trait Context<T> {
    fn of(self, call: &str) -> Result<T>;
}

impl<T> Context<T> for Result<T, DriverError> {
    fn of(self, call: &str) -> Result<T> {
        self.map_err(|code| error(call, code))
    }
}

/// Refuses to go on without the driver's library, where `cudarc` would panic.
///
/// # Errors
/// `LibraryNotFound` with every name tried, and why it failed.
pub(super) fn require_library() -> Result<()> {
    let mut tried = String::new();
    for name in LIBRARIES {
        // SAFETY: NVIDIA's driver does nothing to the process when it is loaded but to set itself up.
        let library = match unsafe { libloading::Library::new(name) } {
            Ok(library) => library,
            Err(why) => {
                // Writing to a String cannot fail.
                let _ = write!(tried, "\n  {name}: {why}");
                continue;
            }
        };
        // SAFETY: the function is only looked for, never called as this type.
        match unsafe { library.get::<unsafe extern "C" fn()>(NEWEST_FUNCTION.as_bytes()) } {
            Ok(_) => return Ok(()),
            Err(why) => {
                let _ = write!(
                    tried,
                    "\n  {name}: no driver of CUDA {} or newer: {why}",
                    version_text(MIN_VERSION)
                );
            }
        }
    }
    Err(Error::new(
        ErrorKind::LibraryNotFound,
        format!(
            "the CUDA driver was not found; install NVIDIA's driver (no toolkit is needed), or name the folder \
             of its library in LD_LIBRARY_PATH; tried:{tried}"
        ),
    ))
}

pub(super) fn version_text((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// The version of CUDA that the driver speaks.
pub(super) fn version() -> Result<(u32, u32)> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().of("cuDriverGetVersion")?;
    let version = u32::try_from(version).unwrap_or(0);
    Ok((version / 1000, version % 1000 / 10))
}

/// A kernel that a context has loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    module: sys::CUmodule,
    function: sys::CUfunction,
}

// SAFETY: handles of modules and functions belong to a context, not to a thread, and the driver's functions
// that take them may be called by any thread that has the context current (CUDA driver API, "Context
// Management"). Every call here binds it first. A value is never changed after it was made.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Has the driver compile a text, and allows its kernel the shared memory that it needs.
    ///
    /// # Errors
    /// `Driver` with the driver's log where it refuses the text.
    pub(super) fn new(context: &CudaContext, text: &Text, shared_bytes: u32) -> Result<Self> {
        context.bind_to_thread().of("cuCtxSetCurrent")?;
        let module = compile(text)?;
        let loaded = Self { module, function: ptr::null_mut() };
        let name = CString::new(text.name).expect("names of kernels have no NUL");
        // SAFETY: the module was just loaded.
        let function = unsafe { result::module::get_function(module, name) };
        match function.and_then(|function| allow_shared(function, shared_bytes).map(|()| function)) {
            Ok(function) => Ok(Self { function, ..loaded }),
            Err(code) => {
                loaded.unload();
                Err(error(&format!("loading {}", text.name), code))
            }
        }
    }

    /// Unloads the module, which no work uses any more. There is nothing to be done about an error.
    pub(super) fn unload(&self) {
        // SAFETY: the module was loaded by `new` and is unloaded once: by `new` itself or by the device when
        // it is dropped.
        let _ = unsafe { result::module::unload(self.module) };
    }

    /// Queues a launch.
    ///
    /// # Safety
    /// The addresses in the parameters are of operands as the plan of the launch needs them, in memory of
    /// `stream`'s context that stays until the work is done, and nothing else touches what it writes.
    pub(super) unsafe fn launch(&self, stream: &CudaStream, launch: &Launch) -> Result<()> {
        stream.context().bind_to_thread().of("cuCtxSetCurrent")?;
        let [x, y, z] = launch.grid;
        let (params, mut size) = (launch.params(), launch.params().len());
        // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
        let [pointer, length, end] = [1, 2, 0].map(ptr::without_provenance_mut::<c_void>);
        let at = params.as_ptr().cast_mut().cast::<c_void>();
        let mut extra = [pointer, at, length, (&raw mut size).cast(), end];
        let (stream, extra) = (stream.cu_stream(), extra.as_mut_ptr());
        // SAFETY: the function is of this context; the driver copies the parameters, which `extra` describes,
        // before it returns; what they say is the caller's promise.
        unsafe {
            sys::cuLaunchKernel(
                self.function,
                x,
                y,
                z,
                THREADS,
                1,
                1,
                launch.shared_bytes,
                stream,
                ptr::null_mut(),
                extra,
            )
        }
        .result()
        .of(&format!("launch of {}: cuLaunchKernel", launch.kernel()))
    }
}

/// The module of a text.
fn compile(text: &Text) -> Result<sys::CUmodule> {
    use sys::CUjit_option::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    let ptx = CString::new(text.ptx).expect("PTX has no NUL");
    let mut log = vec![0_u8; LOG_BYTES];
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut::<c_void>(LOG_BYTES)];
    let mut module = ptr::null_mut();
    // SAFETY: the text ends with NUL; the two options have a value each, a buffer and its size; all live
    // during the call.
    let code = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut module,
            ptx.as_ptr().cast(),
            2,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    code.result().map(|()| module).map_err(|code| refused(text, code, &log))
}

/// The driver does not take a text.
fn refused(text: &Text, code: DriverError, log: &[u8]) -> Error {
    let cause = error("cuModuleLoadDataEx", code);
    let log = log.split(|&byte| byte == 0).next().unwrap_or_default();
    let log = String::from_utf8_lossy(log);
    let log = if log.trim().is_empty() { "empty".into() } else { format!("\n{}", log.trim()) };
    let message = format!(
        "{}, PTX 6.4 for compute capability 7.0 and newer, was not taken by the driver; wanted: a driver of CUDA \
         {} or newer that may compile PTX (CUDA_DISABLE_PTX_JIT not set); {cause}; its log: {log}",
        text.name,
        version_text(MIN_VERSION)
    );
    Error::driver(cause.kind(), DriverCode::Cuda(code.0 as u32), message)
}

/// More than 48 KiB must be asked for.
fn allow_shared(function: sys::CUfunction, bytes: u32) -> Result<(), DriverError> {
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let bytes = i32::try_from(bytes).expect("shared memory has some KiB");
    // SAFETY: the function is of a module that is loaded.
    unsafe { result::function::set_function_attribute(function, attribute, bytes) }
}

/// Whether all work of the context is done, after waiting for it.
pub(super) fn is_idle(context: &Arc<CudaContext>) -> bool {
    context.bind_to_thread().and_then(|()| result::ctx::synchronize()).is_ok()
}
