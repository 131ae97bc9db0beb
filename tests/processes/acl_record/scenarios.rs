//! What the child processes do with the recording library, each a function that returns the first error.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::Duration;

use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Problem};
use fastattention::parallel::AttentionMatmul;
use fastattention::runtime::{Buffer, Device, Event, HostBuffer, KernelArgs, Module, Schedule, Stream};
use fastattention::{DType, Error, Result};

/// A scenario with its name, which is also that of its file of expected calls.
pub(crate) type Scenario = (&'static str, fn() -> Result<()>);

pub(crate) const ALL: [Scenario; 9] = [
    ("open", || on_device(|_| Ok(()))),
    ("memory", || on_device(memory)),
    ("streams", || on_device(streams)),
    ("launch", || on_device(launch)),
    ("attention", || on_device(attention)),
    ("meeting", || on_device(meeting)),
    ("borrowed", borrowed),
    ("attached", attached),
    ("limit", || on_device(limit)),
];

/// Opens, works, and closes, so that also the errors of drops are told.
fn on_device(work: impl FnOnce(&Device) -> Result<()>) -> Result<()> {
    let device = Device::open("npu:0")?;
    let outcome = work(&device);
    let closed = device.close();
    outcome.and(closed)
}

fn memory(device: &Device) -> Result<()> {
    let buffer = Buffer::from_slice(device, &[1u32, 2, 3, 4])?;
    let mut back = [0u32; 2];
    buffer.copy_to_host_at(4, &mut back)?;
    assert_eq!(back, [2, 3]);
    buffer.zero()?;
    device.memory_info()?;
    let stream = Stream::new(device)?;
    let mut host = HostBuffer::alloc(device, 8)?;
    host.fill(7);
    let copy = Buffer::alloc(device, 16)?;
    let host = stream.copy_to_device(host, &copy)?.wait()?;
    stream.copy(&copy, &buffer)?;
    stream.zero(&copy)?;
    let host = stream.copy_to_host(&buffer, host)?.wait()?;
    assert_eq!(host[..], [7; 8]);
    device.synchronize()
}

fn streams(device: &Device) -> Result<()> {
    let (first, second) = (Stream::new(device)?, Stream::new(device)?);
    let order = Event::new(device)?;
    let (start, end) = (Event::timing(device)?, Event::timing(device)?);
    start.record(&first)?;
    order.record(&first)?;
    second.wait_event(&order)?;
    end.record(&first)?;
    end.synchronize()?;
    assert!(end.query()?);
    assert_eq!(end.elapsed_since(&start)?, Duration::from_micros(1500));
    assert!(second.query()?);
    second.synchronize_timeout(Duration::from_millis(250))?;
    first.synchronize()
}

fn image(device: &Device) -> Result<Module> {
    #[allow(unsafe_code, reason = "the recorder does not look into the image")]
    // SAFETY: nothing of the image is executed.
    unsafe {
        Module::load(device, b"an image".as_slice())
    }
}

fn launch(device: &Device) -> Result<()> {
    let module = image(device)?;
    let kernel = module.kernel("fa_something")?.with_schedule(Schedule::Batch);
    let stream = Stream::new(device)?;
    let buffer = Buffer::alloc(device, 64)?;
    let args = KernelArgs::new()
        .place_holder(&[1; 20])
        .buffer_at(&buffer, 32)?
        .u64(5)
        .f32(1.0)
        .null()
        .place_holder(&[2; 4]);
    kernel.launch(&stream, 20, &args)?;
    // The stream keeps what its work uses.
    drop((args, buffer));
    stream.synchronize()
}

fn attention(device: &Device) -> Result<()> {
    let module = image(device)?;
    let attention = FlashAttention::with_kernels(device, |name| module.kernel(name))?;
    // The self-test is launched once for an opened device.
    drop(FlashAttention::with_kernels(device, |name| module.kernel(name))?);
    let problem = Problem::new(DType::Bf16, [1, 100, 2, 64]).with_mask(Mask::Causal).with_lse();
    let plan = plan(&problem, device.soc())?;
    let buffers = Buffers::alloc(device, &plan)?;
    let stream = Stream::new(device)?;
    attention.launch(&stream, &plan, buffers.args())?;
    stream.synchronize()
}

/// Both self-tests, each once for an opened device.
fn meeting(device: &Device) -> Result<()> {
    let module = image(device)?;
    drop(AttentionMatmul::from_module(device, &module)?);
    drop(AttentionMatmul::from_module(device, &module)?);
    Ok(())
}

/// The C functions, as another library of this process calls them.
struct Other(libloading::Library);

#[allow(unsafe_code, reason = "plays the part of a library that calls ACL itself")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "signatures of docs/acl-runtime.md 1.3")]
impl Other {
    fn load() -> Other {
        let path = std::env::var_os("FASTATTENTION_ACL_LIB").unwrap();
        Other(unsafe { libloading::Library::new(path) }.unwrap())
    }

    /// Calls a function of a pointer to what it makes.
    fn make(&self, name: &str, extra: usize) -> *mut c_void {
        type Make = unsafe extern "C" fn(*mut *mut c_void, usize, u32) -> i32;
        let function = unsafe { self.0.get::<Make>(name.as_bytes()) }.unwrap();
        let mut made = null_mut();
        self.mark(1);
        // More arguments than a function takes are harmless in the C calling convention of the hosts that
        // CANN has.
        assert_eq!(unsafe { function(&raw mut made, extra, 0) }, 0);
        self.mark(0);
        made
    }

    fn give(&self, name: &str, handle: *mut c_void) {
        let function =
            unsafe { self.0.get::<unsafe extern "C" fn(*mut c_void) -> i32>(name.as_bytes()) }.unwrap();
        self.mark(1);
        assert_eq!(unsafe { function(handle) }, 0);
        self.mark(0);
    }

    /// Tells the recorder whose calls follow.
    fn mark(&self, begins: i32) {
        let function = unsafe { self.0.get::<unsafe extern "C" fn(i32)>(b"record_other") }.unwrap();
        unsafe { function(begins) };
    }

    /// Its context has to be current, unless the call that makes it so again is the one that fails.
    fn expect_current(&self, context: *mut c_void) {
        let current = self.make("aclrtGetCurrentContext", 0);
        if std::env::var_os("RECORD_FAIL").is_none() {
            assert_eq!(current, context);
        }
    }
}

/// A thread with a context of another library, whose memory and stream are used; both stay as they are.
fn borrowed() -> Result<()> {
    let other = Other::load();
    let context = other.make("aclrtCreateContext", 0);
    let outcome = on_device(|device| {
        other.expect_current(context);
        // The other library has a stream and memory in the context that this device uses.
        other.give("aclrtSetCurrentContext", device.as_raw_context());
        let (raw_stream, raw_memory) = (other.make("aclrtCreateStream", 0), other.make("aclrtMalloc", 64));
        other.give("aclrtSetCurrentContext", context);
        let worked = on_raw(device, raw_stream, raw_memory);
        other.expect_current(context);
        other.give("aclrtSetCurrentContext", device.as_raw_context());
        other.give("aclrtDestroyStream", raw_stream);
        other.give("aclrtFree", raw_memory);
        other.give("aclrtSetCurrentContext", context);
        worked
    });
    other.give("aclrtDestroyContext", context);
    outcome
}

#[allow(unsafe_code, reason = "wraps raw handles")]
fn on_raw(device: &Device, raw_stream: *mut c_void, raw_memory: *mut c_void) -> Result<()> {
    // SAFETY: the caller destroys it after this function.
    let stream = unsafe { Stream::from_raw(device, raw_stream) };
    // SAFETY: 64 bytes, freed by the caller after this function.
    let buffer = unsafe { Buffer::from_raw(device, raw_memory, 64) }?;
    assert_eq!((stream.as_raw(), buffer.as_raw()), (raw_stream, raw_memory));
    let own = Buffer::alloc(device, 64)?;
    stream.copy(&buffer, &own)?;
    // SAFETY: the default stream of the device's context.
    unsafe { Stream::from_raw(device, null_mut()) }.zero(&own)
}

/// A device that another library has set in this thread, used without a set and a reset of its own.
fn attached() -> Result<()> {
    let other = Other::load();
    let context = other.make("aclrtCreateContext", 0);
    let outcome = (|| {
        #[allow(unsafe_code, reason = "uses the context of another library")]
        // SAFETY: the context is destroyed after everything made here.
        let device = unsafe { Device::attach("npu:0") }?;
        assert_eq!(device.as_raw_context(), context);
        Buffer::alloc(&device, 64)?.zero()?;
        device.close()
    })();
    other.give("aclrtDestroyContext", context);
    outcome
}

/// A wait with a limit; with `RECORD_KERNEL=hang` the work never ends, and the stream is given up.
fn limit(device: &Device) -> Result<()> {
    let stream = Stream::new(device)?;
    let buffer = Buffer::alloc(device, 64)?;
    let kernel = image(device)?.kernel("fa_something")?;
    kernel.launch(&stream, 1, &KernelArgs::new().buffer(&buffer))?;
    let outcome = stream.synchronize_timeout(Duration::from_micros(1));
    if outcome.as_ref().is_err_and(Error::is_timeout) {
        stream.abandon();
    }
    outcome
}
