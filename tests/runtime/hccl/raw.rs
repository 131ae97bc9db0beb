//! The C functions: pointers, handles, contexts, and ranks that are stopped from outside.

use std::ffi::{c_void, CStr};
use std::ptr;

use fastattention::driver::hccl::{codes, data_type, reduce_op, HcclComm, HcclCommConfig, HcclRootInfo};
use fastattention::sim::{acl_table, add_device, hccl_table, Config};
use fastattention::Soc;

use super::{hasty, patient};

const HANDLE_SUM: u32 = reduce_op::SUM;

/// Two devices, with a stream, 64 bytes and a communicator each. Calls are made in the context of one of
/// them.
struct Pair {
    devices: [i32; 2],
    streams: [*mut c_void; 2],
    memory: [*mut c_void; 2],
    comms: [HcclComm; 2],
}

fn pair(hccl: fastattention::sim::HcclConfig) -> Pair {
    let mut pair = Pair {
        devices: [0; 2],
        streams: [ptr::null_mut(); 2],
        memory: [ptr::null_mut(); 2],
        comms: [ptr::null_mut(); 2],
    };
    let acl = acl_table();
    for i in 0..2 {
        let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
        config.hccl = hccl.clone();
        pair.devices[i] = add_device(config);
        unsafe {
            assert_eq!((acl.aclrtSetDevice)(pair.devices[i]), 0);
            assert_eq!((acl.aclrtCreateStream)(&raw mut pair.streams[i]), 0);
            assert_eq!((acl.aclrtMalloc)(&raw mut pair.memory[i], 64, 0), 0);
            assert_eq!((acl.aclrtMemset)(pair.memory[i], 64, 1, 64), 0);
        }
    }
    let made =
        unsafe { (hccl_table().HcclCommInitAll)(2, pair.devices.as_mut_ptr(), pair.comms.as_mut_ptr()) };
    assert_eq!(made, codes::SUCCESS);
    pair
}

impl Pair {
    /// Makes the device of a rank current in this thread, by the context that all threads share.
    fn enter(&self, rank: usize) {
        unsafe { assert_eq!((acl_table().aclrtSetDevice)(self.devices[rank]), 0) };
    }

    fn sum(&self, rank: usize, send: *mut c_void, recv: *mut c_void, count: u64, stream: *mut c_void) -> u32 {
        let comm = self.comms[rank];
        unsafe { (hccl_table().HcclAllReduce)(send, recv, count, data_type::INT8, HANDLE_SUM, comm, stream) }
    }

    fn issue(&self, rank: usize) -> u32 {
        self.enter(rank);
        self.sum(rank, self.memory[rank], self.memory[rank], 64, self.streams[rank])
    }

    fn synchronize(&self, rank: usize) -> i32 {
        self.enter(rank);
        unsafe { (acl_table().aclrtSynchronizeStream)(self.streams[rank]) }
    }

    fn async_error(&self, rank: usize) -> u32 {
        let mut state = 99;
        assert_eq!(unsafe { (hccl_table().HcclGetCommAsyncError)(self.comms[rank], &raw mut state) }, 0);
        state
    }
}

fn recent_text() -> String {
    let text = unsafe { (acl_table().aclGetRecentErrMsg)() };
    assert!(!text.is_null(), "a refusal without text");
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[track_caller]
fn assert_refused(result: u32, want: u32, text: &str) {
    assert_eq!(result, want);
    let got = recent_text();
    assert!(got.contains(text), "{text:?} is not in: {got}");
    assert!(got.starts_with('E'), "vendor's shape: {got}");
}

#[test]
fn pointers_are_checked() {
    let pair = pair(patient());
    pair.enter(0);
    let (memory, stream) = (pair.memory[0], pair.streams[0]);
    let mut host = [0u8; 64];
    let host = ptr::from_mut(&mut host).cast();
    assert_refused(pair.sum(0, ptr::null_mut(), memory, 4, stream), codes::PTR, "sendBuf = NULL given");
    assert_refused(pair.sum(0, memory, ptr::null_mut(), 4, stream), codes::PTR, "recvBuf = NULL given");
    assert_refused(pair.sum(0, memory, memory, 4, ptr::null_mut()), codes::PTR, "stream = NULL given");
    assert_refused(pair.sum(0, host, memory, 4, stream), codes::PARA, "no device memory is allocated");
    assert_refused(pair.sum(0, memory, pair.memory[1], 4, stream), codes::PARA, "recvBuf = 0x");
    assert_refused(
        pair.sum(0, memory, memory, 65, stream),
        codes::PARA,
        "65 bytes at byte 0 of an allocation of 64",
    );
    assert_refused(pair.sum(0, memory, memory, u64::MAX, stream), codes::PARA, "at most 2^40 wanted");
    // A test beside this one may get the address at once; not every time.
    let is_known_as_freed = || {
        let mut freed = ptr::null_mut();
        unsafe {
            assert_eq!((acl_table().aclrtMalloc)(&raw mut freed, 64, 0), 0);
            assert_eq!((acl_table().aclrtFree)(freed), 0);
        }
        assert_eq!(pair.sum(0, freed, memory, 4, stream), codes::PARA);
        recent_text().contains("(freed?)")
    };
    assert!((0..20).any(|_| is_known_as_freed()), "no freed buffer is known as one");
    // No bytes, no pointer.
    let none = ptr::null_mut();
    for rank in 0..2 {
        pair.enter(rank);
        assert_eq!(pair.sum(rank, none, none, 0, pair.streams[rank]), codes::SUCCESS);
    }
    assert_eq!((pair.synchronize(0), pair.synchronize(1)), (0, 0));
}

#[test]
fn numbers_of_types_and_ops_are_checked() {
    let pair = pair(patient());
    pair.enter(0);
    let (memory, stream, comm) = (pair.memory[0], pair.streams[0], pair.comms[0]);
    let call =
        |dtype, op| unsafe { (hccl_table().HcclAllReduce)(memory, memory, 1, dtype, op, comm, stream) };
    assert_refused(call(data_type::INT8, 4), codes::PARA, "op = 4 given");
    assert_refused(call(12, HANDLE_SUM), codes::NOT_SUPPORT, "dataType = 12 given");
    assert_refused(call(data_type::FP64, HANDLE_SUM), codes::NOT_SUPPORT, "dataType = Fp64 given");
}

#[test]
fn handles_are_checked() {
    let pair = pair(patient());
    pair.enter(0);
    let mut size = 0;
    let hccl = hccl_table();
    unsafe {
        let rank_size = |comm, out| (hccl.HcclGetRankSize)(comm, out);
        assert_eq!((rank_size(pair.comms[0], &raw mut size), size), (codes::SUCCESS, 2));
        assert_eq!(((hccl.HcclGetRankId)(pair.comms[1], &raw mut size), size), (codes::SUCCESS, 1));
        assert_refused(
            rank_size(ptr::null_mut(), &raw mut size),
            codes::PTR,
            "NULL given, a communicator wanted",
        );
        assert_refused(
            rank_size(pair.streams[0], &raw mut size),
            codes::PTR,
            "a stream, given, a communicator wanted",
        );
        assert_refused(rank_size(pair.comms[0], ptr::null_mut()), codes::PARA, "rankSize = NULL");
        assert_eq!((hccl.HcclCommDestroy)(pair.comms[0]), codes::SUCCESS);
        assert_refused((hccl.HcclCommDestroy)(pair.comms[0]), codes::PTR, "that was destroyed");
        let text = |code| CStr::from_ptr((hccl.HcclGetErrorString)(code)).to_str().unwrap();
        assert_eq!((text(0), text(9), text(12345)), ("success", "timeout", "unknown code"));
    }
}

#[test]
fn a_communicator_belongs_to_its_device() {
    let pair = pair(patient());
    pair.enter(1);
    let (memory, stream) = (pair.memory[0], pair.streams[0]);
    // The stream of rank 0 in the context of rank 1, then the communicator of rank 0 on the stream of rank 1.
    assert_refused(pair.sum(0, memory, memory, 4, stream), codes::RUNTIME, "a stream of another context");
    assert_refused(pair.sum(0, memory, memory, 4, pair.streams[1]), codes::PARA, "a stream of device");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut root = HcclRootInfo::default();
            let made = unsafe { (hccl_table().HcclGetRootInfo)(&raw mut root) };
            assert_refused(made, codes::RUNTIME, "neither a device nor a context");
        });
    });
}

#[test]
fn an_aborted_stream_goes_on_without_the_communicator() {
    let pair = pair(patient());
    assert_eq!((pair.issue(0), pair.async_error(0)), (codes::SUCCESS, codes::SUCCESS));
    assert_eq!(unsafe { (acl_table().aclrtStreamAbort)(pair.streams[0]) }, 0);
    assert_eq!(pair.synchronize(0), 0, "nothing is left in the stream");
    assert_eq!((pair.async_error(0), pair.async_error(1)), (codes::REMOTE, codes::REMOTE));
    assert_refused(pair.issue(1), codes::REMOTE, "stream was aborted");
    let again = unsafe { (acl_table().aclrtMemsetAsync)(pair.memory[1], 64, 2, 64, pair.streams[1]) };
    assert_eq!((again, pair.synchronize(1)), (0, 0));
}

#[test]
fn work_that_is_destroyed_is_told_to_the_others() {
    for by_reset in [false, true] {
        let pair = pair(patient());
        assert_eq!(pair.issue(1), codes::SUCCESS);
        // Rank 0 has issued it too, behind an operation that cannot run; both are dropped.
        pair.enter(0);
        let (memory, stream) = (pair.memory[0], pair.streams[0]);
        let mut blocked = [ptr::null_mut(); 2];
        let made = unsafe {
            (hccl_table().HcclCommInitAll)(2, pair.devices.clone().as_mut_ptr(), blocked.as_mut_ptr())
        };
        assert_eq!(made, codes::SUCCESS);
        assert_eq!(unsafe { (hccl_table().HcclBarrier)(blocked[0], stream) }, codes::SUCCESS);
        assert_eq!(pair.sum(0, memory, memory, 64, stream), codes::SUCCESS);
        unsafe {
            if by_reset {
                assert_eq!((acl_table().aclrtResetDeviceForce)(pair.devices[0]), 0);
            } else {
                assert_eq!((acl_table().aclrtDestroyStreamForce)(stream), 0);
            }
        }
        assert_eq!(pair.synchronize(1), 507_048, "reset: {by_reset}");
        let text = recent_text();
        assert!(text.contains("rank 0 (device"), "{text}");
    }
}

#[test]
fn a_device_that_is_reset_is_missed() {
    let pair = pair(patient());
    assert_eq!(pair.issue(1), codes::SUCCESS);
    assert_eq!(unsafe { (acl_table().aclrtResetDeviceForce)(pair.devices[0]) }, 0);
    assert_eq!(pair.synchronize(1), 507_048);
    assert!(recent_text().contains("has destroyed its communicator"));
}

#[test]
fn time_runs_out_on_the_stream_not_in_the_call() {
    let pair = pair(hasty());
    assert_eq!(pair.issue(0), codes::SUCCESS);
    assert_eq!(pair.synchronize(0), 507_048);
    assert_eq!(pair.async_error(1), codes::TIMEOUT);
}

#[test]
fn configurations_are_checked() {
    let pair = pair(patient());
    pair.enter(0);
    let init = |config: *const HcclCommConfig| unsafe {
        let mut root = HcclRootInfo::default();
        assert_eq!((hccl_table().HcclGetRootInfo)(&raw mut root), codes::SUCCESS);
        let mut comm = ptr::null_mut();
        (hccl_table().HcclCommInitRootInfoConfig.unwrap())(1, &raw const root, 0, config, &raw mut comm)
    };
    assert_eq!(init(&HcclCommConfig::unset()), codes::SUCCESS);
    assert_refused(init(ptr::null()), codes::PTR, "config = NULL");
    let refused = |change: fn(&mut HcclCommConfig), code, text| {
        let mut config = HcclCommConfig::unset();
        change(&mut config);
        assert_refused(init(&config), code, text);
    };
    refused(|c| c.reserved[8] = 0, codes::PARA, "magic word");
    refused(|c| c.reserved[0] = 1, codes::NOT_SUPPORT, "bytes of version 5 given");
    refused(|c| c.reserved[12] = 10, codes::NOT_SUPPORT, "version 10 given");
    refused(|c| c.hcclDeterministic = 2, codes::PARA, "hcclDeterministic = 2 given");
    refused(|c| c.hcclBufferSize = 0, codes::PARA, "hcclBufferSize = 0 given");
    refused(|c| c.hcclOpExpansionMode = 4, codes::PARA, "hcclOpExpansionMode = 4 given");
    refused(|c| c.hcclCommName = [65; 128], codes::PARA, "hcclCommName without NUL");
}

#[test]
fn buffers_that_overlap_in_part_are_refused() {
    let pair = pair(patient());
    pair.enter(0);
    let behind = pair.memory[0].wrapping_byte_add(4);
    assert_eq!(pair.sum(0, pair.memory[0], behind, 32, pair.streams[0]), codes::PARA);
    let text = recent_text();
    assert!(text.contains("sendBuf [0x") && text.contains("buffers apart or in place wanted"), "{text}");
}
