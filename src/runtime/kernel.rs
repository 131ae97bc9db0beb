//! Kernel images, kernels, arguments and launches.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::ffi::{c_void, CString};
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::handle::{Entered, Handle};
use super::keep::Keeps;
use super::{Buffer, Device, Operand, PlacedTilingData, Stream};
use crate::driver::{
    launch_attr, load_option, LaunchAttr, LaunchAttrValue, LaunchCfg, LoadOption, LoadOptionValue,
    LoadOptions,
};
use crate::{Error, ErrorKind, Result};

/// Load option MAGIC with the value for a binary that has AIC and AIV code (acl-runtime.md 1.4, 3.1).
const MAGIC: LoadOption =
    LoadOption { type_: load_option::MAGIC, value: LoadOptionValue { rsv: [0x4355_4245, 0, 0, 0] } };

/// Load option LAZY_LOAD, off: the image is on the device when the call returns (acl-runtime.md 3.1).
const AT_ONCE: LoadOption =
    LoadOption { type_: load_option::LAZY_LOAD, value: LoadOptionValue { rsv: [0; 4] } };

/// A loaded kernel image, or the images of a build.
#[derive(Clone, Debug)]
pub struct Module {
    device: Device,
    images: Arc<[Image]>,
}

/// An image of a module, loaded when the first of its kernels is wanted.
#[derive(Debug)]
struct Image {
    /// Names of its kernels; none for the only image of a module.
    kernels: Option<Vec<&'static str>>,
    bytes: Bytes,
    loaded: OnceLock<Arc<ModuleInner>>,
}

#[derive(Debug)]
struct ModuleInner {
    device: Device,
    handle: Handle,
    /// The driver may read the image until it is unloaded.
    _image: Bytes,
}

/// The bytes of an image: part of this program, or a caller's.
#[derive(Clone, Debug)]
enum Bytes {
    Built(&'static [u8]),
    Given(Arc<[u8]>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Built(bytes) => bytes,
            Bytes::Given(bytes) => bytes,
        }
    }
}

impl Module {
    /// Loads an image: for an NPU the device ELF file, for the simulator a shared library built from the same
    /// sources.
    ///
    /// # Errors
    /// `Driver` when the driver does not take the image; `Io` when it has to be loaded through a file (CANN
    /// 8.1) and the folder for temporary files does not take one.
    ///
    /// # Safety
    /// On the simulator the image is native code of this process: it must be one that the crate's headers and
    /// entries were compiled into, and its initialisers must be harmless.
    pub unsafe fn load(device: &Device, image: impl Into<Arc<[u8]>>) -> Result<Module> {
        Self::load_bytes(device, Bytes::Given(image.into()))
    }

    /// [`Self::load`] for an image that this crate's build script made.
    pub(crate) fn load_trusted(device: &Device, image: &'static [u8]) -> Result<Module> {
        Self::load_bytes(device, Bytes::Built(image))
    }

    fn load_bytes(device: &Device, bytes: Bytes) -> Result<Module> {
        let image = Image { kernels: None, bytes, loaded: OnceLock::new() };
        image.load(device)?;
        Ok(Module { device: device.clone(), images: Arc::new([image]) })
    }

    /// Images that this crate's build script made for an NPU, each with the names of its kernels.
    pub(crate) fn of_images(
        device: &Device,
        images: impl Iterator<Item = (Vec<&'static str>, &'static [u8])>,
    ) -> Module {
        let image = |(kernels, bytes)| Image {
            kernels: Some(kernels),
            bytes: Bytes::Built(bytes),
            loaded: OnceLock::new(),
        };
        Module { device: device.clone(), images: images.map(image).collect() }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for a name with a NUL, `KernelsNotBuilt` when the build has no image with the
    /// kernel, `Driver` when the driver does not take the image or the image has no such kernel.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let c_name = CString::new(name)
            .map_err(|_| Error::invalid(format!("kernel name {name:?} given, one without NUL wanted")))?;
        let module = self.image_of(name)?.load(&self.device)?;
        let mut handle = Handle::NULL;
        self.device.driver().call("aclrtBinaryGetFunction", |t| {
            // SAFETY: `module` keeps the image loaded; the name and the handle live during the call.
            unsafe { (t.aclrtBinaryGetFunction)(module.handle.0, c_name.as_ptr(), &raw mut handle.0) }
        })?;
        Ok(Kernel { module, handle, name: name.to_owned(), schedule: Schedule::Normal })
    }

    fn image_of(&self, name: &str) -> Result<&Image> {
        let holds = |image: &&Image| image.kernels.as_ref().is_none_or(|kernels| kernels.contains(&name));
        self.images.iter().find(holds).ok_or_else(|| {
            let built: Vec<_> =
                self.images.iter().filter_map(|i| i.kernels.as_ref()).flatten().copied().collect();
            let built = built.join(", ");
            Error::new(
                ErrorKind::KernelsNotBuilt,
                format!("kernel {name} wanted, of {} this build has only: {built}", self.device.name()),
            )
        })
    }
}

impl Image {
    fn load(&self, device: &Device) -> Result<Arc<ModuleInner>> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(Arc::clone(loaded));
        }
        // Two threads may load it at the same time; one of the two stays.
        let loaded = ModuleInner::load(device, self.bytes.clone())?;
        Ok(Arc::clone(self.loaded.get_or_init(|| Arc::new(loaded))))
    }
}

impl ModuleInner {
    fn load(device: &Device, image: Bytes) -> Result<Self> {
        let bytes = image.get();
        let handle = match device.driver().acl.table.aclrtBinaryLoadFromData {
            Some(load) => {
                let mut handle = Handle::NULL;
                let mut option = MAGIC;
                let options = LoadOptions { options: &raw mut option, numOpt: 1 };
                device.driver().call("aclrtBinaryLoadFromData", |_| {
                    // SAFETY: data and options live during the call, and the image until the module is
                    // unloaded.
                    unsafe { load(bytes.as_ptr().cast(), bytes.len(), &raw const options, &raw mut handle.0) }
                })?;
                handle
            }
            None => load_through_file(device, bytes)?,
        };
        Ok(Self { device: device.clone(), handle, _image: image })
    }
}

impl Drop for ModuleInner {
    fn drop(&mut self) {
        let driver = self.device.driver();
        let handle = self.handle.0;
        // SAFETY: the last use of the image: kernels and streams that use it keep it.
        driver.release("aclrtBinaryUnLoad", |t| unsafe { (t.aclrtBinaryUnLoad)(handle) });
    }
}

/// Loads an image through a file that only this user can read: CANN 8.1 has no `aclrtBinaryLoadFromData`
/// (acl-runtime.md 3.1). The file is removed when the call returns, with the image on the device.
fn load_through_file(device: &Device, image: &[u8]) -> Result<Handle> {
    let io = |what: &str, error: std::io::Error| {
        let folder = std::env::temp_dir();
        Error::new(ErrorKind::Io, format!("{what} the kernel image in {}: {error}", folder.display()))
    };
    let mut file = tempfile::Builder::new()
        .prefix("fastattention-")
        .suffix(".o")
        .tempfile()
        .map_err(|e| io("creating a file for", e))?;
    file.write_all(image).map_err(|e| io("writing", e))?;
    // ACL takes absolute paths only, and TMPDIR may be a relative one.
    let path = std::path::absolute(file.path()).map_err(|e| io("finding", e))?;
    let c_path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| io("naming", e.into()))?;
    let mut handle = Handle::NULL;
    let mut option = AT_ONCE;
    let mut options = LoadOptions { options: &raw mut option, numOpt: 1 };
    device.driver().call("aclrtBinaryLoadFromFile", |t| {
        // SAFETY: path and options live during the call; the pointer is to a live handle.
        unsafe { (t.aclrtBinaryLoadFromFile)(c_path.as_ptr(), &raw mut options, &raw mut handle.0) }
    })?;
    Ok(handle)
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

    /// Queues the kernel on `blocks` blocks. Does not wait for it; its buffers live until the stream is
    /// synchronised.
    ///
    /// A kernel that is given wrong numbers can spoil device memory of this process, not host memory.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream or buffer of another device, `Driver` when the driver refuses the
    /// arguments or the stream has failed. What goes wrong while the kernel runs is told by
    /// [`Stream::synchronize`].
    pub fn launch(&self, stream: &Stream, blocks: u32, args: &KernelArgs) -> Result<()> {
        let device = &self.module.device;
        device.require_same(stream.device(), "a stream")?;
        let mut keep = Keeps::new();
        keep.push(self.module.clone());
        for owner in &args.owners {
            match owner {
                Owner::Buffer(buffer) => {
                    device.require_same(buffer.device(), "a buffer argument")?;
                    keep.push(buffer.keep());
                }
                Owner::OfDevice(owner) => device.require_same(owner, "a buffer argument")?,
            }
        }
        // `aclrtKernelArgsInit` hands out this thread's list: from here to the launch no other list is
        // started.
        let entered = device.driver().enter()?;
        let list = self.build(&entered, args)?;
        let mut attr = LaunchAttr {
            id: launch_attr::SCHEM_MODE,
            value: LaunchAttrValue { rsv: [u32::from(self.schedule == Schedule::Batch), 0, 0, 0] },
        };
        let mut cfg = LaunchCfg { attrs: &raw mut attr, numAttrs: 1 };
        stream.submit("aclrtLaunchKernelWithConfig", keep, |t, stream| {
            // SAFETY: function, list and configuration live during the call, which copies the arguments;
            // `submit` keeps image and buffers until the stream is done.
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
    fn build(&self, entered: &Entered<'_>, args: &KernelArgs) -> Result<Handle> {
        let mut list = Handle::NULL;
        entered.call("aclrtKernelArgsInit", |t| {
            // SAFETY: the function lives as long as `self`; the pointer is to a live handle.
            unsafe { (t.aclrtKernelArgsInit)(self.handle.0, &raw mut list.0) }
        })?;
        let mut param = Handle::NULL;
        let mut place_holders = SmallVec::<[_; 2]>::new();
        for arg in &args.args {
            let bytes = match arg {
                Arg::Value(bytes, len) => &bytes[..*len],
                Arg::PlaceHolder(place) => {
                    entered.call("aclrtKernelArgsAppendPlaceHolder", |t| {
                        // SAFETY: the list is this thread's; the pointer is to a live handle.
                        unsafe { (t.aclrtKernelArgsAppendPlaceHolder)(list.0, &raw mut param.0) }
                    })?;
                    place_holders.push((param, &args.held[place.clone()]));
                    continue;
                }
            };
            entered.call("aclrtKernelArgsAppend", |t| {
                let data = bytes.as_ptr().cast_mut().cast();
                // SAFETY: the list is this thread's, the bytes are read during the call.
                unsafe { (t.aclrtKernelArgsAppend)(list.0, data, bytes.len(), &raw mut param.0) }
            })?;
        }
        // Buffers come after all slots: the data lies behind them in the same block.
        for (param, bytes) in place_holders {
            let mut buffer: *mut c_void = std::ptr::null_mut();
            entered.call("aclrtKernelArgsGetPlaceHolderBuffer", |t| {
                // SAFETY: list and parameter are this thread's; the pointer is to a live pointer.
                unsafe {
                    (t.aclrtKernelArgsGetPlaceHolderBuffer)(list.0, param.0, bytes.len(), &raw mut buffer)
                }
            })?;
            // SAFETY: the driver gave a buffer of this many bytes in its own memory.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(buffer.cast(), bytes.len()) };
        }
        entered.call("aclrtKernelArgsFinalize", |t| {
            // SAFETY: the list is this thread's.
            unsafe { (t.aclrtKernelArgsFinalize)(list.0) }
        })?;
        Ok(list)
    }
}

/// Arguments of a kernel, in its order. Each value takes 8 bytes.
///
/// Lists of up to 16 arguments, with tiling data of up to 512 bytes, take no memory of their own.
#[derive(Clone, Debug, Default)]
pub struct KernelArgs {
    args: SmallVec<[Arg; 16]>,
    /// Of the memory whose addresses values or tiling data hold.
    owners: SmallVec<[Owner; 16]>,
    /// What travels with the arguments, one piece behind the other.
    held: SmallVec<[u8; 512]>,
}

#[derive(Clone, Debug)]
enum Arg {
    /// The first so many of the bytes.
    Value([u8; 8], usize),
    /// A piece of what travels with the arguments.
    PlaceHolder(Range<usize>),
}

/// Who keeps memory that a kernel uses: the buffer, or somebody whose memory is of this device.
#[derive(Clone, Debug)]
enum Owner {
    Buffer(Buffer),
    OfDevice(Device),
}

impl Owner {
    fn of(buffer: Option<&Buffer>, device: &Device) -> Self {
        buffer.map_or_else(|| Self::OfDevice(device.clone()), |buffer| Self::Buffer(buffer.clone()))
    }
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
        self.keeping(buffer.into()).u64(buffer.device_ptr())
    }

    /// The address of byte `offset` of a buffer.
    ///
    /// # Errors
    /// `InvalidArgument` for an offset past the end.
    pub fn buffer_at(self, buffer: &Buffer, offset: usize) -> Result<Self> {
        self.operand(Operand::at(buffer, offset))
    }

    /// The address of an operand.
    ///
    /// # Errors
    /// `InvalidArgument` for one that starts past the end of its memory.
    pub fn operand(self, operand: Operand<'_>) -> Result<Self> {
        operand.require_room("KernelArgs::operand", 0)?;
        Ok(self.keeping(operand).u64(operand.device_ptr()))
    }

    /// Memory that the kernel finds by an address in its tiling data: it is of the kernel's device and
    /// lives until the stream is done, like one that is an argument.
    #[must_use]
    pub(crate) fn keeping(mut self, operand: Operand<'_>) -> Self {
        self.owners.push(Owner::of(operand.buffer(), operand.device()));
        self
    }

    /// Puts the addresses of placed tiling data, if they are, in the place of what travels with the
    /// arguments. Several structures lie one behind the other.
    pub(crate) fn with_tiling_data_at(mut self, placed: Option<&PlacedTilingData>) -> Self {
        let Some(placed) = placed else { return self };
        let mut address = placed.device_ptr();
        for arg in &mut self.args {
            if let Arg::PlaceHolder(range) = arg {
                let len = range.len() as u64;
                *arg = Arg::Value(address.to_le_bytes(), 8);
                address += len;
            }
        }
        self.owners.push(Owner::of(placed.buffer(), placed.device()));
        self
    }

    /// A null address, for an operand that the kernel does not touch.
    #[must_use]
    pub fn null(self) -> Self {
        self.u64(0)
    }

    /// An integer.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.with(Arg::Value(value.to_le_bytes(), 8))
    }

    /// A 32-bit float.
    #[must_use]
    pub fn f32(self, value: f32) -> Self {
        let [a, b, c, d] = value.to_le_bytes();
        self.with(Arg::Value([a, b, c, d, 0, 0, 0, 0], 4))
    }

    /// The device address of a copy of `bytes`, which travels with the arguments: tiling data.
    #[must_use]
    pub fn place_holder(mut self, bytes: &[u8]) -> Self {
        let start = self.held.len();
        self.held.extend_from_slice(bytes);
        let end = self.held.len();
        self.with(Arg::PlaceHolder(start..end))
    }
}
