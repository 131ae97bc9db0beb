//! The simulated ACL functions that only other people's programs call: what they do, and what they refuse.

#![allow(unsafe_code, reason = "calls C functions, partly wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed wrongly is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

use std::ffi::{c_void, CStr};
use std::ops::Deref;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

use fastattention::driver::{CannVersion, ClientTable};
use fastattention::{sim, Soc};
use fastattention_testkit::acl::RawDevice;
use half::{bf16, f16};

/// A device with the functions that only other programs call.
struct Client {
    device: RawDevice,
    c: &'static ClientTable,
}

impl Deref for Client {
    type Target = RawDevice;

    fn deref(&self) -> &RawDevice {
        &self.device
    }
}

impl Client {
    fn new() -> Self {
        Self { device: RawDevice::new(), c: sim::client_table() }
    }

    fn is_idle(&self, stream: *mut c_void) -> bool {
        let mut status = 9;
        assert_eq!(unsafe { (self.t.aclrtStreamQuery)(stream, &mut status) }, 0);
        status == 0
    }

    fn finishes_only_after(&self, stream: *mut c_void, release: impl FnOnce()) {
        assert_eq!(unsafe { (self.t.aclrtSynchronizeStreamWithTimeout)(stream, 20) }, 507_046);
        assert!(!self.is_idle(stream));
        release();
        assert_eq!(unsafe { (self.t.aclrtSynchronizeStream)(stream) }, 0);
        assert!(self.is_idle(stream));
    }
}

#[test]
fn a_notify_lets_one_wait_through_and_is_lowered_by_it() {
    let b = Client::new();
    let (waits, records) = (b.stream(), b.stream());
    let mut notify = null_mut();
    unsafe {
        assert_eq!((b.c.aclrtCreateNotify.unwrap())(&mut notify, 0), 0);
        let (wait, record) = (b.c.aclrtWaitAndResetNotify.unwrap(), b.c.aclrtRecordNotify.unwrap());
        assert_eq!(wait(notify, waits, 0), 0);
        b.finishes_only_after(waits, || assert_eq!(record(notify, records), 0));
        // The first wait has lowered it, so a second one needs a second record.
        assert_eq!(wait(notify, waits, 0), 0);
        b.finishes_only_after(waits, || assert_eq!(record(notify, records), 0));
        // A record before the wait is not lost; a wait in seconds runs out.
        assert_eq!(record(notify, records), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(records), 0);
        assert_eq!(wait(notify, waits, 1), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(waits), 0);
        assert_eq!(wait(notify, waits, 1), 0);
        b.refused((b.t.aclrtSynchronizeStream)(waits), 107_019, &["was not recorded within 1s"]);
        b.refused((b.c.aclrtCreateNotify.unwrap())(&mut notify, 2), 107_000, &["flag = 0x2 given"]);
        assert_eq!((b.c.aclrtDestroyNotify.unwrap())(notify), 0);
        b.refused(record(notify, records), 107_017, &["a notify that was destroyed"]);
    }
}

#[test]
fn a_timeline_refuses_waits_that_it_cannot_follow() {
    let mut config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.model_time = Some(sim::time::ModelTime::only());
    config.timeline = Some(sim::time::Timeline::new());
    let b = Client { device: RawDevice::with(config), c: sim::client_table() };
    let stream = b.stream();
    let word = b.upload(&[5u64]);
    let mut notify = null_mut();
    unsafe {
        assert_eq!((b.c.aclrtCreateNotify.unwrap())(&mut notify, 0), 0);
        assert_eq!((b.c.aclrtRecordNotify.unwrap())(notify, stream), 0);
        let code = (b.c.aclrtWaitAndResetNotify.unwrap())(notify, stream, 0);
        b.refused(code, 207_000, &["a wait for a notify given on a device with a timeline"]);
        let code = (b.c.aclrtValueWait.unwrap())(word, 5, 1, stream);
        b.refused(code, 207_000, &["a wait for a value given on a device with a timeline"]);
    }
}

#[test]
fn streams_wait_for_values_in_device_memory() {
    let b = Client::new();
    let (waits, writes) = (b.stream(), b.stream());
    let word = b.upload(&[5u64, 0]);
    let (wait, write) = (b.c.aclrtValueWait.unwrap(), b.c.aclrtValueWrite.unwrap());
    // (comparison, value waited for, what lets it through): GEQ, EQ, AND, NOR; the word holds 5 before each.
    for (flag, value, written) in [(0, 6, 7), (1, 9, 9), (2, 0b1000, 0b1001), (3, u64::MAX - 7, 2)] {
        unsafe {
            assert_eq!(write(word, if flag == 3 { u64::MAX } else { 5 }, 0, writes), 0);
            assert_eq!((b.t.aclrtSynchronizeStream)(writes), 0);
            assert_eq!(wait(word, value, flag, waits), 0);
            b.finishes_only_after(waits, || assert_eq!(write(word, written, 0, writes), 0));
        }
        assert_eq!(b.download::<u64>(word, 2), [written, 0]);
    }
    unsafe {
        b.refused(wait(word, 0, 4, waits), 107_000, &["flag = 4 given"]);
        b.refused(write(word, 0, 1, waits), 107_000, &["flag = 1 given"]);
        b.refused(write(word.byte_add(4), 0, 0, waits), 107_008, &["a multiple of 8 wanted"]);
        b.refused(write(word.byte_add(16), 0, 0, waits), 107_000, &["8 bytes of device memory wanted"]);
        b.refused(write(null_mut(), 0, 0, waits), 107_000, &["8 bytes of device memory wanted"]);
    }
}

#[test]
fn callbacks_run_in_the_thread_that_subscribed() {
    static RAN_IN: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn note(argument: *mut c_void) {
        RAN_IN.store(unsafe { libc::pthread_self() } + argument.addr() as u64, Ordering::SeqCst);
    }
    let b = Client::new();
    let stream = b.stream();
    let this = unsafe { libc::pthread_self() };
    unsafe {
        b.refused(
            (b.c.aclrtLaunchCallback)(Some(note), null_mut(), 1, stream),
            107_015,
            &["aclrtSubscribeReport"],
        );
        assert_eq!((b.c.aclrtSubscribeReport)(this, stream), 0);
        b.refused((b.c.aclrtSubscribeReport)(this + 1, stream), 107_011, &["whose callbacks thread"]);
        b.refused((b.c.aclrtLaunchCallback)(None, null_mut(), 1, stream), 100_000, &["fn = NULL"]);
        b.refused((b.c.aclrtLaunchCallback)(Some(note), null_mut(), 2, stream), 107_000, &["blockType = 2"]);
        b.refused((b.c.aclrtProcessReport)(1), 507_012, &["no callback came"]);
        let three = std::ptr::without_provenance_mut(3);
        assert_eq!((b.c.aclrtLaunchCallback)(Some(note), three, 1, stream), 0);
        b.finishes_only_after(stream, || {
            assert_eq!(RAN_IN.load(Ordering::SeqCst), 0);
            assert_eq!((b.c.aclrtProcessReport)(-1), 0);
        });
        assert_eq!(RAN_IN.load(Ordering::SeqCst), this + 3);
        b.refused((b.c.aclrtUnSubscribeReport)(this + 1, stream), 107_012, &["that subscribed"]);
        assert_eq!((b.c.aclrtUnSubscribeReport)(this, stream), 0);
    }
}

#[test]
fn stream_settings_are_kept_and_checked() {
    let b = Client::new();
    let (mut stream, mut priority, mut flags) = (null_mut(), 9u32, 9u32);
    let config = unsafe { (b.c.aclrtCreateStreamConfigHandle)() };
    let set = |attribute: u32, value: &u32, size: usize| unsafe {
        (b.c.aclrtSetStreamConfigOpt)(config, attribute, std::ptr::from_ref(value).cast(), size)
    };
    assert_eq!(set(3, &5, 4), 0);
    assert_eq!(set(2, &1, 4), 0);
    b.refused(set(3, &5, 2), 107_000, &["valueSize = 2 given, 4 wanted"]);
    b.refused(set(4, &5, 4), 107_000, &["attr = 4 given"]);
    unsafe {
        assert_eq!((b.c.aclrtCreateStreamV2)(&mut stream, config), 0);
        assert_eq!((b.c.aclrtStreamGetPriority.unwrap())(stream, &mut priority), 0);
        assert_eq!((b.c.aclrtStreamGetFlags.unwrap())(stream, &mut flags), 0);
    }
    assert_eq!((priority, flags), (5, 1));
    assert_eq!(set(3, &8, 4), 0);
    unsafe {
        b.refused((b.c.aclrtCreateStreamV2)(&mut stream, config), 107_000, &["priority = 8 given, 0 to 7"]);
        assert_eq!((b.c.aclrtDestroyStreamConfigHandle)(config), 0);
        b.refused((b.c.aclrtCreateStreamV2)(&mut stream, null()), 100_000, &["handle = NULL"]);
        let (mut one, mut other) = (-1, -1);
        assert_eq!((b.c.aclrtStreamGetId)(b.stream(), &mut one), 0);
        assert_eq!((b.c.aclrtStreamGetId)(null_mut(), &mut other), 0);
        assert_ne!(one, other);
        // The default stream by its handle: it works like NULL, and its context destroys it.
        let mut default = null_mut();
        assert_eq!((b.c.aclrtCtxGetCurrentDefaultStream.unwrap())(&mut default), 0);
        assert_eq!((b.c.aclrtStreamGetId)(default, &mut one), 0);
        assert_eq!(one, other);
        b.refused((b.t.aclrtDestroyStream)(default), 100_000, &["stream = the default stream given"]);
    }
}

/// Sums, maxima and minima of small integers, exact in every type.
#[test]
fn reductions_in_every_type() {
    fn check<T: bytemuck::Pod + PartialEq + std::fmt::Debug>(
        b: &Client,
        data_type: i32,
        make: impl Fn(i8) -> T,
    ) {
        let stream = b.stream();
        let (left, right): (Vec<i8>, Vec<i8>) = ((0..50).collect(), (0..50).map(|i| 25 - i).collect());
        type Combine = fn(i8, i8) -> i8;
        for (kind, combine) in [(10, (|a, b| a + b) as Combine), (11, i8::max), (12, i8::min)] {
            let dst = b.upload(&left.iter().map(|&x| make(x)).collect::<Vec<T>>());
            let src = b.upload(&right.iter().map(|&x| make(x)).collect::<Vec<T>>());
            let bytes = (50 * size_of::<T>()) as u64;
            let reduce = b.c.aclrtReduceAsync.unwrap();
            assert_eq!(unsafe { reduce(dst, src, bytes, kind, data_type, stream, null_mut()) }, 0);
            assert_eq!(unsafe { (b.t.aclrtSynchronizeStream)(stream) }, 0);
            let want: Vec<T> = left.iter().zip(&right).map(|(&a, &b)| make(combine(a, b))).collect();
            assert_eq!(b.download::<T>(dst, 50), want, "type {data_type}, kind {kind}");
        }
    }
    let b = Client::new();
    check(&b, 0, f32::from);
    check(&b, 1, f16::from);
    check(&b, 2, |x| x);
    check(&b, 3, i32::from);
    check(&b, 6, i16::from);
    check(&b, 27, bf16::from);
    let (p, reduce) = (b.upload(&[0f32; 4]), b.c.aclrtReduceAsync.unwrap());
    unsafe {
        b.refused(reduce(p, p, 16, 13, 0, null_mut(), null_mut()), 107_000, &["kind = 13 given"]);
        b.refused(reduce(p, p, 16, 10, 9, null_mut(), null_mut()), 107_000, &["type = 9 given"]);
        b.refused(reduce(p, p, 15, 10, 0, null_mut(), null_mut()), 107_000, &["a multiple of 4"]);
        b.refused(
            reduce(p, p, 32, 10, 0, null_mut(), null_mut()),
            107_000,
            &["of an allocation of 16 bytes"],
        );
    }
}

#[test]
fn sizes_numbers_and_versions() {
    let b = Client::new();
    // aclDataType: FLOAT, FLOAT16, INT8, INT64, BOOL, STRING, COMPLEX128, BF16, INT4, no type.
    let sizes = [(0, 4), (1, 2), (2, 1), (9, 8), (12, 1), (13, 0), (17, 16), (27, 2), (29, 1), (-1, 0)];
    for (data_type, size) in sizes {
        assert_eq!(unsafe { (b.c.aclDataTypeSize)(data_type) }, size, "type {data_type}");
    }
    assert_eq!(unsafe { (b.c.aclFloatToFloat16)(65504.0) }, 0x7bff);
    assert_eq!(unsafe { (b.c.aclFloat16ToFloat)(0xc000) }.to_bits(), (-2.0f32).to_bits());
    let mut version: CannVersion = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { (b.c.aclsysGetCANNVersion)(0, &mut version) }, 0);
    let text =
        |field: &[std::ffi::c_char]| unsafe { CStr::from_ptr(field.as_ptr()) }.to_str().unwrap().to_owned();
    assert_eq!((text(&version.version).as_str(), text(&version.minorVersion).as_str()), ("8.5.0", "5"));
    let mut number = 0;
    let get_number = b.c.aclsysGetVersionNum.unwrap();
    assert_eq!(unsafe { get_number(c"runtime".as_ptr().cast_mut(), &mut number) }, 0);
    assert_eq!(number, 80_500_000);
    b.refused(
        unsafe { get_number(c"driver".as_ptr().cast_mut(), &mut number) },
        100_003,
        &["\"driver\" given"],
    );
    let mut compatible = 9;
    let check = b.c.aclrtCheckArchCompatibility.unwrap();
    for (soc, want) in [(c"Ascend910B4", 1), (c"Ascend310P3", 0)] {
        assert_eq!(unsafe { check(soc.as_ptr(), &mut compatible) }, 0);
        assert_eq!(compatible, want, "{soc:?}");
    }
    // aclrtDevAttr: Cube cores, vector cores, architecture.
    let mut value = 0;
    for (attribute, want) in [(102, 24), (201, 48), (601, 2201)] {
        assert_eq!(unsafe { (b.c.aclrtGetDeviceInfo.unwrap())(0, attribute, &mut value) }, 0);
        assert_eq!(value, want, "attribute {attribute}");
    }
    b.refused(unsafe { (b.c.aclrtGetDeviceInfo.unwrap())(0, 1, &mut value) }, 207_000, &["attr = 1"]);
}
