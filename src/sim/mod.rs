//! The simulator of the dav-c220 core (Ascend 910B), and the ACL functions on top of it.
//!
//! The kernels' scalar code runs natively, one coroutine a core; every AscendC call ends in one or more
//! dav-c220 intrinsics ([`instructions`]), each of which enters the machine through one function table. The
//! machine decodes, checks, orders and executes it; a [`Config`] says what is simulated. Three words are
//! never mixed: a [`Fault`] is the kernel's mistake, [`Unsupported`] is something the simulator does not
//! model, a panic is a defect of the simulator.

mod config;
mod device;

/// Model time: of launches, and of streams, events and ranks on one clock.
///
/// A [`Timeline`](time::Timeline) is set in the configuration of every device that works with the others,
/// beside a [`ModelTime`](time::ModelTime), which knows how long kernels take.
///
/// ```
/// use fastattention::runtime::{Buffer, CommDType, Communicator, Device, ReduceOp, Stream};
/// use fastattention::sim::time::{ModelTime, Timeline};
/// use fastattention::{sim::Config, Soc};
///
/// let timeline = Timeline::new();
/// let open = |_| {
///     let mut config = Config::new(Soc::by_name("Ascend910B2")?);
///     config.model_time = Some(ModelTime::only());
///     config.timeline = Some(timeline.clone());
///     Device::simulated(config)
/// };
/// let devices = (0..2).map(open).collect::<fastattention::Result<Vec<_>>>()?;
/// let comms = Communicator::init_all(&devices)?;
/// let streams = devices.iter().map(Stream::new).collect::<fastattention::Result<Vec<_>>>()?;
/// for (comm, stream) in comms.iter().zip(&streams) {
///     let data = Buffer::alloc(comm.device(), 8 << 20)?;
///     comm.all_reduce(stream, &data, &data, (4 << 20, CommDType::F16), ReduceOp::Sum)?;
/// }
/// streams.iter().try_for_each(Stream::synchronize)?;
/// let schedule = timeline.solve()?;
/// assert_eq!(schedule.devices[1].transferring_us, schedule.makespan_us);
/// schedule.write_trace(&mut Vec::new()).unwrap();
/// # Ok::<(), fastattention::Error>(())
/// ```
pub mod time {
    pub use ascend_sim::timeline::{
        host_function_takes, DeviceTime, Edge, HostLink, Point, Schedule, SolveError, SolveErrorKind, Span,
        SpanKind, Timeline,
    };

    pub use dav_c220::time::*;
}

pub use ascend_sim::{HcclConfig, ReduceOrder, ReduceRounding};
pub use config::Config;
pub use dav_c220::{instructions, CoreId, Instruction, Issued, Recorder};
pub use dav_c220::{AccessRecord, CubeAccumulate, Fault, FaultKind, Pipe, Site, Space, Stop, Unsupported};

/// Adds a simulated device to this process and returns its number, for [`crate::runtime::Device::open`] as
/// `sim:N`. Device numbers are not used twice.
pub fn add_device(config: Config) -> i32 {
    device::add(config)
}

pub(crate) use device::check_environment;

/// The simulated ACL functions, for tests that misuse them.
#[doc(hidden)]
pub fn acl_table() -> &'static ascend_sys::AclTable {
    device::describe();
    ascend_sim::acl_table()
}

/// As [`acl_table`], the functions that only other people's programs need.
#[doc(hidden)]
pub fn client_table() -> &'static ascend_sys::ClientTable {
    device::describe();
    ascend_sim::client_table()
}

/// Sets the minor version of the ACL interface that the functions say they have, for the whole process.
#[doc(hidden)]
pub fn present_acl_version(minor: i32) {
    ascend_sim::present_acl_version(minor);
}

/// Refuses a call of a C function that is known and not implemented: 207000, with a text that names it.
#[doc(hidden)]
pub fn refuse_call(name: &'static str) -> ascend_sys::AclError {
    ascend_sim::refuse_call(name)
}

/// The simulated HCCL functions, for tests that misuse them.
#[doc(hidden)]
pub fn hccl_table() -> &'static ascend_sys::hccl::HcclTable {
    device::describe();
    ascend_sim::hccl_table()
}

impl From<ascend_sim::timeline::SolveError> for crate::Error {
    fn from(error: ascend_sim::timeline::SolveError) -> Self {
        let kind = match error.kind() {
            ascend_sim::timeline::SolveErrorKind::InvalidArgument => crate::ErrorKind::InvalidArgument,
            _ => crate::ErrorKind::Unsupported,
        };
        Self::new(kind, error.to_string())
    }
}
