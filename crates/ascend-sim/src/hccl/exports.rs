//! The C functions themselves.

#![allow(unsafe_code, reason = "C functions with pointer arguments")]
#![allow(non_snake_case, reason = "C names")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the contract of every function here is the vendor's: pointers are null or valid for what the C \
              signature says until the function returns; device memory until the stream gets there"
)]

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr;
use std::sync::{Arc, LazyLock};

use ascend_sys::hccl::{
    HcclComm, HcclCommConfig, HcclDataType, HcclReduceOp, HcclResult, HcclRootInfo, COMM_NAME_BYTES,
    ROOT_INFO_BYTES,
};
use ascend_sys::AclStream;

use super::bootstrap::{self, JoinRequest};
use super::comm_config::{check_head, CommConfig, HEAD_BYTES};
use super::communicator::{Communicator, Pointers};
use super::config::Settings;
use super::failure::{refuse, result, result_of};
use super::home::Home;
use super::member::{Member, Membership};
use super::operation::Kind;
use crate::acl::border::{self, Out, Outcome};
use crate::acl::device::{self, SimDevice};
use crate::acl::handles;
use crate::reduce::{DataType, ReduceOp};

/// Runs the body of a C function: as for ACL's, with HCCL's codes. `aclGetRecentErrMsg` has the text.
fn call(name: &str, body: impl FnOnce() -> Outcome) -> HcclResult {
    result_of(border::call(name, body))
}

/// The communicator of a handle.
fn of(comm: HcclComm) -> Outcome<Arc<Communicator>> {
    handles::get::<Communicator>(comm)
}

pub(super) unsafe extern "C" fn HcclGetRootInfo(root_info: *mut HcclRootInfo) -> HcclResult {
    call("HcclGetRootInfo", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(root_info, "rootInfo") }?;
        device::current()?;
        let internal = bootstrap::root_info().map(|byte| c_char::from_ne_bytes([byte]));
        out.set(HcclRootInfo { internal });
        Ok(())
    })
}

fn request(ranks: u32, rank: u32, device: &SimDevice, config: CommConfig) -> Outcome<JoinRequest> {
    let settings = Settings::new(&device.config().hccl, config.deterministic, |name| std::env::var_os(name))?;
    Ok(JoinRequest { ranks, rank, home: Home::here(device.id()), settings, config })
}

/// Gives the communicator of one rank a handle.
fn open(membership: Box<dyn Membership>, request: &JoinRequest, device: Arc<SimDevice>) -> Outcome<HcclComm> {
    handles::insert(Arc::new(Communicator::new(membership, device, request.settings.exec_timeout)))
}

/// # Safety
/// Pointers are null or valid, as the C signature of the two callers says.
unsafe fn init(
    ranks: u32,
    root_info: *const HcclRootInfo,
    rank: u32,
    config: CommConfig,
    comm: *mut HcclComm,
) -> Outcome {
    // SAFETY: null or writable, by this function's contract.
    let out = unsafe { Out::new(comm, "comm") }?;
    if root_info.is_null() {
        return refuse(result::PTR, "rootInfo = NULL given, one of HcclGetRootInfo wanted");
    }
    // SAFETY: not null, so readable by this function's contract; it consists of bytes.
    let bytes: [c_char; ROOT_INFO_BYTES] = unsafe { root_info.read_unaligned() }.internal;
    let device = Arc::clone(&device::current()?.device);
    let request = request(ranks, rank, &device, config)?;
    let membership = bootstrap::join(&bytes.map(|c| c.to_ne_bytes()[0]), &request)?;
    out.set(open(membership, &request, device)?);
    Ok(())
}

pub(super) unsafe extern "C" fn HcclCommInitRootInfo(
    num_ranks: u32,
    root_info: *const HcclRootInfo,
    rank: u32,
    comm: *mut HcclComm,
) -> HcclResult {
    call("HcclCommInitRootInfo", || {
        // SAFETY: the C signature is the contract.
        unsafe { init(num_ranks, root_info, rank, CommConfig::default(), comm) }
    })
}

pub(super) unsafe extern "C" fn HcclCommInitRootInfoConfig(
    num_ranks: u32,
    root_info: *const HcclRootInfo,
    rank: u32,
    config: *const HcclCommConfig,
    comm: *mut HcclComm,
) -> HcclResult {
    call("HcclCommInitRootInfoConfig", || {
        if config.is_null() {
            return refuse(result::PTR, "config = NULL given, one of HcclCommConfigInit wanted");
        }
        // SAFETY: not null, so its head is readable by the C signature; any bytes are valid.
        let head = unsafe { config.cast::<[u8; HEAD_BYTES]>().read_unaligned() };
        check_head(&head)?;
        let mut known = HcclCommConfig::default();
        // SAFETY: the head says that the structure has this many bytes; `known` has as many or more, which
        // are integers.
        unsafe {
            ptr::copy_nonoverlapping(config.cast::<u8>(), (&raw mut known).cast(), HcclCommConfig::BYTES)
        };
        let config = CommConfig::from_c(&known)?;
        // SAFETY: the C signature is the contract.
        unsafe { init(num_ranks, root_info, rank, config, comm) }
    })
}

pub(super) unsafe extern "C" fn HcclCommInitAll(
    num_devices: u32,
    devices: *mut i32,
    comms: *mut HcclComm,
) -> HcclResult {
    call("HcclCommInitAll", || {
        if devices.is_null() || comms.is_null() {
            return refuse(
                result::PTR,
                "devices or comms = NULL given, an array of ndev entries wanted for each",
            );
        }
        // Each rank has a device of its own. The arrays are read when their length can be true.
        if num_devices as usize > device::count() {
            return refuse(
                result::PARA,
                format!(
                    "ndev = {num_devices} given, at most {}, the simulated devices, wanted",
                    device::count()
                ),
            );
        }
        let mut ranks = Vec::new();
        for rank in 0..num_devices {
            // SAFETY: the array has `num_devices` entries, by the C signature.
            let entry = unsafe { devices.add(rank as usize) };
            // SAFETY: an entry of the array.
            let device = device::device(unsafe { entry.read() })?;
            let request = request(num_devices, rank, &device, CommConfig::default())?;
            ranks.push((device, request));
        }
        let requests: Vec<JoinRequest> = ranks.iter().map(|(_, request)| request.clone()).collect();
        let group = bootstrap::together(&requests)?;
        for (i, (device, request)) in ranks.into_iter().enumerate() {
            // SAFETY: the array has `num_devices` entries, by the C signature.
            let entry = unsafe { comms.add(i) };
            // SAFETY: an entry of the array.
            let out = unsafe { Out::new(entry, "comms") }?;
            let member = Member { group: Arc::clone(&group), rank: request.rank };
            out.set(open(Box::new(member), &request, device)?);
        }
        Ok(())
    })
}

pub(super) unsafe extern "C" fn HcclCommDestroy(comm: HcclComm) -> HcclResult {
    call("HcclCommDestroy", || handles::take::<Communicator>(comm).map(drop))
}

pub(super) unsafe extern "C" fn HcclGetRankSize(comm: HcclComm, num_ranks: *mut u32) -> HcclResult {
    call("HcclGetRankSize", || {
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(num_ranks, "rankSize") }?.set(of(comm)?.ranks());
        Ok(())
    })
}

pub(super) unsafe extern "C" fn HcclGetRankId(comm: HcclComm, rank: *mut u32) -> HcclResult {
    call("HcclGetRankId", || {
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(rank, "rank") }?.set(of(comm)?.rank());
        Ok(())
    })
}

pub(super) unsafe extern "C" fn HcclGetCommName(comm: HcclComm, name: *mut c_char) -> HcclResult {
    call("HcclGetCommName", || {
        let mut bytes = [0u8; COMM_NAME_BYTES];
        let own = of(comm)?;
        let own = own.name().as_bytes();
        bytes[..own.len()].copy_from_slice(own);
        // SAFETY: null or writable for the 128 bytes of a name, by the header's constant for it.
        unsafe { Out::new(name.cast::<[u8; COMM_NAME_BYTES]>(), "commName") }?.set(bytes);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn HcclGetCommAsyncError(comm: HcclComm, error: *mut HcclResult) -> HcclResult {
    call("HcclGetCommAsyncError", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(error, "asyncError") }?;
        out.set(of(comm)?.failure().map_or(result::SUCCESS, |failure| failure.result()));
        Ok(())
    })
}

pub(super) unsafe extern "C" fn HcclGetErrorString(code: HcclResult) -> *const c_char {
    static TEXTS: LazyLock<Vec<CString>> = LazyLock::new(|| {
        (0..).map_while(result::meaning).map(|text| CString::new(text).unwrap_or_default()).collect()
    });
    const UNKNOWN: &CStr = c"unknown code";
    let text = usize::try_from(code).ok().and_then(|code| TEXTS.get(code));
    text.map_or(UNKNOWN, CString::as_c_str).as_ptr()
}

pub(super) unsafe extern "C" fn HcclAllReduce(
    send: *mut c_void,
    recv: *mut c_void,
    count: u64,
    data_type: HcclDataType,
    op: HcclReduceOp,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclAllReduce", || {
        let kind = Kind::AllReduce(ReduceOp::from_c(op)?);
        of(comm)?.queue(kind, count, DataType::from_c(data_type)?, Pointers { send, recv }, stream)
    })
}

pub(super) unsafe extern "C" fn HcclReduceScatter(
    send: *mut c_void,
    recv: *mut c_void,
    recv_count: u64,
    data_type: HcclDataType,
    op: HcclReduceOp,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclReduceScatter", || {
        let kind = Kind::ReduceScatter(ReduceOp::from_c(op)?);
        of(comm)?.queue(kind, recv_count, DataType::from_c(data_type)?, Pointers { send, recv }, stream)
    })
}

pub(super) unsafe extern "C" fn HcclAllGather(
    send: *mut c_void,
    recv: *mut c_void,
    send_count: u64,
    data_type: HcclDataType,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclAllGather", || {
        let data_type = DataType::from_c(data_type)?;
        of(comm)?.queue(Kind::AllGather, send_count, data_type, Pointers { send, recv }, stream)
    })
}

pub(super) unsafe extern "C" fn HcclBroadcast(
    buffer: *mut c_void,
    count: u64,
    data_type: HcclDataType,
    root: u32,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclBroadcast", || {
        let pointers = Pointers { send: buffer, recv: buffer };
        of(comm)?.queue(Kind::Broadcast { root }, count, DataType::from_c(data_type)?, pointers, stream)
    })
}

pub(super) unsafe extern "C" fn HcclSend(
    buffer: *mut c_void,
    count: u64,
    data_type: HcclDataType,
    dest_rank: u32,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclSend", || {
        let pointers = Pointers { send: buffer, recv: ptr::null_mut() };
        let kind = Kind::Send { to: dest_rank };
        of(comm)?.queue(kind, count, DataType::from_c(data_type)?, pointers, stream)
    })
}

pub(super) unsafe extern "C" fn HcclRecv(
    buffer: *mut c_void,
    count: u64,
    data_type: HcclDataType,
    src_rank: u32,
    comm: HcclComm,
    stream: AclStream,
) -> HcclResult {
    call("HcclRecv", || {
        let pointers = Pointers { send: ptr::null_mut(), recv: buffer };
        let kind = Kind::Recv { from: src_rank };
        of(comm)?.queue(kind, count, DataType::from_c(data_type)?, pointers, stream)
    })
}

pub(super) unsafe extern "C" fn HcclBarrier(comm: HcclComm, stream: AclStream) -> HcclResult {
    call("HcclBarrier", || {
        let none = Pointers { send: ptr::null_mut(), recv: ptr::null_mut() };
        of(comm)?.queue(Kind::Barrier, 0, DataType::Int8, none, stream)
    })
}
