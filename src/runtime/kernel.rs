//! Kernel images, kernels, arguments and launches.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::ffi::{c_void, CString};
use std::sync::Arc;

use super::handle::Handle;
use super::stream::Keep;
use super::{Buffer, Device, Stream};
use crate::driver::{
    launch_attr, load_option, AclError, AclTable, LaunchAttr, LaunchAttrValue, LaunchCfg, LoadOption,
    LoadOptionValue, LoadOptions,
};
use crate::{Error, Result};

/// Load option MAGIC with the value for a binary that has AIC and AIV code (acl-runtime.md 1.4, 3.1).
const MAGIC: LoadOption =
    LoadOption { type_: load_option::MAGIC, value: LoadOptionValue { rsv: [0x4355_4245, 0, 0, 0] } };

/// A loaded kernel image.
#[derive(Clone, Debug)]
pub struct Module {
    inner: Arc<ModuleInner>,
}

#[derive(Debug)]
struct ModuleInner {
    device: Device,
    handle: Handle,
    /// What `aclrtCreateBinary` made, for drivers without `aclrtBinaryLoadFromData`.
    binary: Option<Handle>,
    /// The driver may read the image until it is unloaded.
    _image: Arc<[u8]>,
}

impl Module {
    /// Loads an image: for an NPU the device ELF file, for the simulator a shared library built from the same sources.
    ///
    /// # Errors
    /// `Driver` when the driver does not take the image.
    ///
    /// # Safety
    /// On the simulator the image is native code of this process: it must be one that the crate's headers and entries
    /// were compiled into, and its initialisers must be harmless.
    pub unsafe fn load(device: &Device, image: impl Into<Arc<[u8]>>) -> Result<Module> {
        Self::load_trusted(device, image.into())
    }

    /// [`Self::load`] for the images that this crate's build script made.
    pub(crate) fn load_trusted(device: &Device, image: Arc<[u8]>) -> Result<Module> {
        let mut handle = Handle::NULL;
        let mut binary = None;
        if let Some(load) = device.driver().table.aclrtBinaryLoadFromData {
            let mut option = MAGIC;
            let options = LoadOptions { options: &raw mut option, numOpt: 1 };
            device.driver().call("aclrtBinaryLoadFromData", |_| {
                // SAFETY: data and options live during the call, and the image until the module is unloaded.
                unsafe { load(image.as_ptr().cast(), image.len(), &raw const options, &raw mut handle.0) }
            })?;
        } else {
            // SAFETY: the image lives during the call.
            let made =
                unsafe { (device.driver().table.aclrtCreateBinary)(image.as_ptr().cast(), image.len()) };
            device.driver().call("aclrtBinaryLoad", |t| {
                // SAFETY: the driver made the binary, or gave null, which it then refuses; the pointer is to a handle.
                unsafe { (t.aclrtBinaryLoad)(made, &raw mut handle.0) }
            })?;
            binary = Some(Handle(made));
        }
        Ok(Module { inner: Arc::new(ModuleInner { device: device.clone(), handle, binary, _image: image }) })
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for a name with a NUL, `Driver` when the image has no such kernel.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let c_name = CString::new(name)
            .map_err(|_| Error::invalid(format!("kernel name {name:?} given, one without NUL wanted")))?;
        let mut handle = Handle::NULL;
        self.inner.device.driver().call("aclrtBinaryGetFunction", |t| {
            // SAFETY: the image is loaded as long as `self`; the name and the handle live during the call.
            unsafe { (t.aclrtBinaryGetFunction)(self.inner.handle.0, c_name.as_ptr(), &raw mut handle.0) }
        })?;
        Ok(Kernel {
            module: Arc::clone(&self.inner),
            handle,
            name: name.to_owned(),
            schedule: Schedule::Normal,
        })
    }
}

impl Drop for ModuleInner {
    fn drop(&mut self) {
        let driver = self.device.driver();
        let handle = self.handle.0;
        // SAFETY: the last use of the image: kernels and streams that use it keep it.
        driver.release("aclrtBinaryUnLoad", |t| unsafe { (t.aclrtBinaryUnLoad)(handle) });
        if let Some(binary) = self.binary {
            // SAFETY: the last use of the binary.
            driver.release("aclrtDestroyBinary", |t| unsafe { (t.aclrtDestroyBinary)(binary.0) });
        }
    }
}

/// When the blocks of a launch start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Schedule {
    /// As cores become free.
    #[default]
    Normal,
    /// All at the same time: for kernels whose blocks wait for each other, when other streams are busy too.
    Batch,
}

/// A kernel of a loaded image.
#[derive(Clone, Debug)]
pub struct Kernel {
    module: Arc<ModuleInner>,
    handle: Handle,
    name: String,
    schedule: Schedule,
}

impl Kernel {
    /// Name in the image.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same kernel with another schedule.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Kernel {
        self.schedule = schedule;
        self
    }

    /// Queues the kernel on `blocks` blocks. Does not wait for it; its buffers live until the stream is synchronised.
    ///
    /// A kernel that is given wrong numbers can spoil device memory of this process, not host memory.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream or buffer of another device, `Driver` when the driver refuses the arguments or
    /// the stream has failed. What goes wrong while the kernel runs is told by [`Stream::synchronize`].
    pub fn launch(&self, stream: &Stream, blocks: u32, args: &KernelArgs) -> Result<()> {
        let device = &self.module.device;
        device.require_same(stream.device(), "a stream")?;
        let mut keep: Vec<Keep> = vec![self.module.clone()];
        for arg in &args.args {
            if let Arg::Buffer(buffer, _) = arg {
                device.require_same(buffer.device(), "a buffer argument")?;
                keep.push(buffer.keep());
            }
        }
        // `aclrtKernelArgsInit` hands out this thread's list: from here to the launch no other list is started.
        let list = self.build(args)?;
        let mut attr = LaunchAttr {
            id: launch_attr::SCHEM_MODE,
            value: LaunchAttrValue { rsv: [u32::from(self.schedule == Schedule::Batch), 0, 0, 0] },
        };
        let mut cfg = LaunchCfg { attrs: &raw mut attr, numAttrs: 1 };
        stream.submit("aclrtLaunchKernelWithConfig", keep, |t, stream| {
            // SAFETY: function, list and configuration live during the call, which copies the arguments; `submit`
            // keeps image and buffers until the stream is done.
            unsafe {
                (t.aclrtLaunchKernelWithConfig)(
                    self.handle.0,
                    blocks,
                    stream.0,
                    &raw mut cfg,
                    list.0,
                    std::ptr::null_mut(),
                )
            }
        })
    }

    /// Fills this thread's argument list.
    fn build(&self, args: &KernelArgs) -> Result<Handle> {
        let mut list = Handle::NULL;
        self.call("aclrtKernelArgsInit", |t| {
            // SAFETY: the function lives as long as `self`; the pointer is to a live handle.
            unsafe { (t.aclrtKernelArgsInit)(self.handle.0, &raw mut list.0) }
        })?;
        let mut param = Handle::NULL;
        let mut place_holders = Vec::new();
        for arg in &args.args {
            let bytes = match arg {
                Arg::Buffer(buffer, offset) => (buffer.device_ptr() + offset).to_le_bytes().to_vec(),
                Arg::Value(bytes) => bytes.clone(),
                Arg::PlaceHolder(bytes) => {
                    self.call("aclrtKernelArgsAppendPlaceHolder", |t| {
                        // SAFETY: the list is this thread's; the pointer is to a live handle.
                        unsafe { (t.aclrtKernelArgsAppendPlaceHolder)(list.0, &raw mut param.0) }
                    })?;
                    place_holders.push((param, bytes));
                    continue;
                }
            };
            self.call("aclrtKernelArgsAppend", |t| {
                let data = bytes.as_ptr().cast_mut().cast();
                // SAFETY: the list is this thread's, the bytes are read during the call.
                unsafe { (t.aclrtKernelArgsAppend)(list.0, data, bytes.len(), &raw mut param.0) }
            })?;
        }
        // Buffers come after all slots: the data lies behind them in the same block.
        for (param, bytes) in place_holders {
            let mut buffer: *mut c_void = std::ptr::null_mut();
            self.call("aclrtKernelArgsGetPlaceHolderBuffer", |t| {
                // SAFETY: list and parameter are this thread's; the pointer is to a live pointer.
                unsafe {
                    (t.aclrtKernelArgsGetPlaceHolderBuffer)(list.0, param.0, bytes.len(), &raw mut buffer)
                }
            })?;
            // SAFETY: the driver gave a buffer of this many bytes in its own memory.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(buffer.cast(), bytes.len()) };
        }
        self.call("aclrtKernelArgsFinalize", |t| {
            // SAFETY: the list is this thread's.
            unsafe { (t.aclrtKernelArgsFinalize)(list.0) }
        })?;
        Ok(list)
    }

    fn call(&self, name: &str, f: impl FnOnce(&AclTable) -> AclError) -> Result<()> {
        self.module.device.driver().call(name, f)
    }
}

/// Arguments of a kernel, in its order. Each value takes 8 bytes.
#[derive(Clone, Debug, Default)]
pub struct KernelArgs {
    args: Vec<Arg>,
}

#[derive(Clone, Debug)]
enum Arg {
    Buffer(Buffer, u64),
    Value(Vec<u8>),
    PlaceHolder(Vec<u8>),
}

impl KernelArgs {
    /// No arguments.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }

    /// The address of a buffer.
    #[must_use]
    pub fn buffer(self, buffer: &Buffer) -> Self {
        self.with(Arg::Buffer(buffer.clone(), 0))
    }

    /// The address of byte `offset` of a buffer.
    ///
    /// # Errors
    /// `InvalidArgument` for an offset past the end.
    pub fn buffer_at(self, buffer: &Buffer, offset: usize) -> Result<Self> {
        buffer.require_room("KernelArgs::buffer_at", offset, 0)?;
        Ok(self.with(Arg::Buffer(buffer.clone(), offset as u64)))
    }

    /// A null address, for an operand that the kernel does not touch.
    #[must_use]
    pub fn null(self) -> Self {
        self.u64(0)
    }

    /// An integer.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.with(Arg::Value(value.to_le_bytes().to_vec()))
    }

    /// A 32-bit float.
    #[must_use]
    pub fn f32(self, value: f32) -> Self {
        self.with(Arg::Value(value.to_le_bytes().to_vec()))
    }

    /// The device address of a copy of `bytes`, which travels with the arguments: tiling data.
    #[must_use]
    pub fn place_holder(self, bytes: &[u8]) -> Self {
        self.with(Arg::PlaceHolder(bytes.to_vec()))
    }
}
