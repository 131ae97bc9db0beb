//! A machine of the dav-c220 core, which Huawei's Ascend 910B SoCs are made of: it runs AscendC kernels that
//! were compiled for the host against `ascendc/sim` of the `fastattention` repository, or against CANN's own
//! headers.
//!
//! The kernels' scalar code runs natively, one coroutine a core. Every AscendC call ends in one or more
//! intrinsics ([`instructions`]), each of which enters the machine through one function table. The machine
//! decodes, checks, orders, executes and times it. A [`Fault`] is the kernel's mistake, [`Unsupported`] is
//! something that the machine does not model, a panic is a defect of the machine. The machine knows neither
//! ACL nor HCCL.
//!
//! ```no_run
//! use ascend_soc::Soc;
//! use dav_c220::time::ModelTime;
//! use dav_c220::{Config, DeviceMemory, Image};
//!
//! let mut config = Config::new(Soc::by_name("Ascend910B2")?);
//! config.model_time = Some(ModelTime::with_results());
//! let memory = DeviceMemory::new(config.soc.hbm_bytes);
//! let input = memory.alloc(1024).expect("1 KiB of 64 GB");
//! memory.find(input).expect("just allocated").write(input, &[1; 1024]);
//!
//! // Sound: the library is one that this program's build made from its own kernels.
//! let image = unsafe { Image::load_file("libmy_kernels.so".as_ref()) }?;
//! let kernel = image.find("my_kernel").expect("its name in the table of the image");
//! // One 8-byte slot for each argument; 24 groups of one AIC and two AIV.
//! match kernel.launch(&memory, &config, &[input], 24) {
//!     Ok((stats, _)) => println!("{} instructions, {} us", stats.instructions, stats.cores_us),
//!     Err(stop) => println!("{stop}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Its storeys, from the lowest up; each names only those below it (`tests/tidy`): `access` (memories,
//! addresses, one instruction in execution, the order and the races of accesses), `isa` (what each intrinsic
//! does), [`time`] (how long it takes), `machine` (cores, pipes, flags, and the launch of a function over
//! many groups of cores), `image` (kernels from shared libraries).

mod access;
mod image;
mod isa;
mod machine;
pub mod time;

pub use access::{
    AccessRecord, Allocation, Contents, CubeAccumulate, DeviceMemory, Fault, FaultKind, NoRoom, Pipe, Site,
    Space, Stop, Unsupported, Used, Uses,
};
pub use image::{Image, Kernel};
pub use isa::{instructions, Instruction};
#[doc(hidden)]
pub use machine::abi;
pub use machine::{Config, CoreId, Issued, LaunchStats, Recorder, Touched};
