//! Through `runtime`.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::Duration;

use fastattention::attention::FlashAttention;
use fastattention::runtime::{
    Buffer, Device, Event, HostBuffer, Kernel, KernelArgs, Module, Schedule, Stream,
};
use fastattention::sim::{self, Config};
use fastattention::{ErrorKind, Soc};

use crate::image;

fn device() -> Device {
    Device::simulated(Config::new(Soc::by_name("Ascend910B2").unwrap())).unwrap()
}

fn module(device: &Device) -> Module {
    // The image is the one compiled from `kernels.cpp`.
    unsafe { Module::load(device, image()) }.unwrap()
}

fn words(buffer: &Buffer) -> Vec<u64> {
    let mut out = vec![0; buffer.len_bytes() / 8];
    buffer.copy_to_host(&mut out).unwrap();
    out
}

#[test]
fn launches_with_and_without_later_functions() {
    let config = || Config::new(Soc::by_name("Ascend910B4").unwrap());
    for device in [Device::simulated(config()).unwrap(), Device::simulated_as_cann81(config()).unwrap()] {
        assert!(device.is_simulated() && device.soc().cube_cores == 20);
        let stream = Stream::new(&device).unwrap();
        let dst = Buffer::alloc(&device, 40).unwrap();
        dst.zero().unwrap();
        let tiling = [100u64, 3];
        let args = KernelArgs::new().buffer_at(&dst, 8).unwrap().place_holder(bytemuck::bytes_of(&tiling));
        let kernel = module(&device).kernel("per_block").unwrap();
        kernel.launch(&stream, 3, &args).unwrap();
        kernel.with_schedule(Schedule::Batch).launch(&stream, 4, &args).unwrap();
        stream.synchronize().unwrap();
        assert_eq!(words(&dst), [0, 3, 103, 203, 303]);
    }
}

#[test]
fn dropped_buffers_live_until_the_stream_is_done() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let kernel = module(&device).kernel("add_words").unwrap();
    let free = device.memory_info().unwrap().free_bytes;
    let dst = Buffer::from_slice(&device, &[0u64]).unwrap();
    // Long enough in the queue that the temporary buffers would be gone before their turn.
    for i in 0..200u64 {
        let src = Buffer::from_slice(&device, &[i]).unwrap();
        let args = KernelArgs::new().buffer(&dst).buffer(&src).u64(1).u64(1000);
        kernel.launch(&stream, 1, &args).unwrap();
    }
    stream.synchronize().unwrap();
    assert_eq!(words(&dst), [1199]);
    assert_eq!(free - device.memory_info().unwrap().free_bytes, 8);
}

#[test]
fn pinned_copies_give_their_memory_back() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let buffer = Buffer::alloc(&device, 64).unwrap();
    let mut host = HostBuffer::alloc(&device, 64).unwrap();
    assert!(host.iter().all(|&b| b == 0));
    host.copy_from_slice(&[9; 64]);
    let host = stream.copy_to_device(host, &buffer).unwrap().wait().unwrap();
    let mut out = HostBuffer::alloc(&device, 32).unwrap();
    out.fill(1);
    let second = Buffer::alloc(&device, 64).unwrap();
    stream.copy(&buffer, &second).unwrap();
    let out = stream.copy_to_host(&second, out).unwrap().wait().unwrap();
    assert_eq!((&out[..], &host[..]), (&[9; 32][..], &[9; 64][..]));
    // A forgotten or dropped token does not free memory that a copy uses.
    drop(stream.copy_to_host(&second, out).unwrap());
    std::mem::forget(stream.copy_to_device(host, &buffer).unwrap());
    stream.synchronize().unwrap();
}

#[test]
fn failures_have_kinds() {
    let device = device();
    let module = module(&device);
    let stream = Stream::new(&device).unwrap();
    let small = Buffer::from_slice(&device, &[1u64]).unwrap();

    let args = KernelArgs::new().buffer(&small).buffer(&small).u64(2).u64(0);
    module.kernel("add_words").unwrap().launch(&stream, 1, &args).unwrap();
    let error = stream.synchronize().unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::SimFault, Some(507_015)));
    assert!(
        error.to_string().starts_with("aclrtSynchronizeStreamWithTimeout failed with code 507015"),
        "{error}"
    );
    assert!(error.to_string().contains("Fault: OutOfBounds"), "{error}");

    let stream = Stream::new(&device).unwrap();
    module.kernel("not_modelled").unwrap().launch(&stream, 1, &KernelArgs::new()).unwrap();
    assert_eq!(stream.synchronize().unwrap_err().kind(), ErrorKind::SimUnsupported);

    let error = module.kernel("none").unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::Driver, Some(100_029)));
    let error = Buffer::alloc(&device, 1 << 40).unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::OutOfMemory, Some(207_001)));
    let error = small.copy_from_host(&[0u64; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Buffer::copy_from_host: 16 bytes at byte 0 given, a range inside 8 bytes wanted"
    );
    assert_eq!(KernelArgs::new().buffer_at(&small, 9).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn devices_are_not_mixed() {
    let (one, two) = (device(), device());
    let stream = Stream::new(&one).unwrap();
    let foreign = Buffer::from_slice(&two, &[0u64]).unwrap();
    let kernel = module(&one).kernel("add_words").unwrap();
    let args = KernelArgs::new().buffer(&foreign).buffer(&foreign).u64(1).u64(0);
    let error = kernel.launch(&stream, 1, &args).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("a buffer argument of device sim:"), "{error}");
    assert!(stream.zero(&foreign).is_err());
    assert!(stream.wait_event(&Event::new(&two).unwrap()).is_err());
}

#[test]
fn events_order_and_measure() {
    let device = device();
    let (first, second) = (Stream::new(&device).unwrap(), Stream::new(&device).unwrap());
    let kernel = module(&device).kernel("add_words").unwrap();
    let buffer = Buffer::from_slice(&device, &[1u64]).unwrap();
    let (start, end) = (Event::timing(&device).unwrap(), Event::timing(&device).unwrap());
    let order = Event::new(&device).unwrap();
    assert!(order.query().unwrap());
    start.record(&first).unwrap();
    for (stream, add) in [(&first, 10), (&second, 100)] {
        if add == 100 {
            order.record(&first).unwrap();
            second.wait_event(&order).unwrap();
        }
        let args = KernelArgs::new().buffer(&buffer).buffer(&buffer).u64(1).u64(add);
        kernel.launch(stream, 1, &args).unwrap();
    }
    end.record(&second).unwrap();
    end.synchronize().unwrap();
    assert_eq!(words(&buffer), [111]);
    assert!(end.elapsed_since(&start).unwrap() > Duration::ZERO);
    assert_eq!(order.elapsed_since(&start).unwrap_err().driver_code(), Some(107_006));
    second.synchronize().unwrap();
    assert!(second.query().unwrap());
}

#[test]
fn everything_works_from_other_threads() {
    let device = device();
    let kernel = module(&device).kernel("add_words").unwrap();
    let results: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u64)
            .map(|i| {
                let (device, kernel) = (&device, &kernel);
                scope.spawn(move || {
                    let stream = Stream::new(device).unwrap();
                    let buffer = Buffer::from_slice(device, &[i]).unwrap();
                    let args = KernelArgs::new().buffer(&buffer).buffer(&buffer).u64(1).u64(10);
                    kernel.launch(&stream, 1, &args).unwrap();
                    kernel.launch(&stream, 1, &args).unwrap();
                    stream.synchronize().unwrap();
                    words(&buffer)[0]
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(results, [20, 21, 22, 23]);
}

#[test]
fn everything_can_be_sent_and_shared() {
    fn check<T: Send + Sync + 'static>() {}
    check::<(Device, Stream, Event, Buffer, HostBuffer, Module, Kernel, KernelArgs, FlashAttention)>();
}

#[test]
fn one_stream_and_one_buffer_serve_many_threads() {
    const THREADS: u64 = 16;
    const ROUNDS: u64 = 40;
    let device = device();
    let (stream, kernel) = (Stream::new(&device).unwrap(), module(&device).kernel("add_words").unwrap());
    let free = device.memory_info().unwrap().free_bytes;
    let sum = Buffer::from_slice(&device, &[0u64]).unwrap();
    let (give, take) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (device, stream, kernel, sum, give) = (&device, &stream, &kernel, &sum, give.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let args = KernelArgs::new().buffer(sum).buffer(sum).u64(1).u64(1);
                    kernel.launch(stream, 1, &args).unwrap();
                    let own = Buffer::from_slice(device, &[thread * ROUNDS + round]).unwrap();
                    let copy = Buffer::alloc(device, 8).unwrap();
                    stream.copy(&own, &copy).unwrap();
                    let reached = Event::new(device).unwrap();
                    reached.record(stream).unwrap();
                    if round % 10 == thread % 10 {
                        stream.synchronize().unwrap();
                    }
                    // Read and dropped by another thread than the one that made them.
                    give.send((thread * ROUNDS + round, copy, reached)).unwrap();
                }
            });
        }
        drop(give);
        for (value, copy, reached) in take {
            reached.synchronize().unwrap();
            assert_eq!(words(&copy), [value]);
        }
    });
    stream.synchronize().unwrap();
    // In the order of one stream no addition is lost.
    assert_eq!(words(&sum), [THREADS * ROUNDS]);
    assert_eq!(free - device.memory_info().unwrap().free_bytes, 8);
}

/// The current context of this thread, as another library asks for it.
fn current_context() -> *mut c_void {
    let mut context = null_mut();
    assert_eq!(unsafe { (sim::acl_table().aclrtGetCurrentContext)(&mut context) }, 0);
    context
}

fn number(device: &Device) -> i32 {
    device.name().strip_prefix("sim:").unwrap().parse().unwrap()
}

#[test]
fn the_contexts_of_other_libraries_stay_current_in_their_threads() {
    let (ours, other) = (device(), device());
    let (stream, kernel) = (Stream::new(&ours).unwrap(), module(&ours).kernel("add_words").unwrap());
    let sum = Buffer::from_slice(&ours, &[0u64]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (ours, other, stream, kernel, sum) = (&ours, &other, &stream, &kernel, &sum);
            scope.spawn(move || {
                let mut context = null_mut();
                assert_eq!(unsafe { (sim::acl_table().aclrtCreateContext)(&mut context, number(other)) }, 0);
                for _ in 0..20 {
                    let args = KernelArgs::new().buffer(sum).buffer(sum).u64(1).u64(1);
                    kernel.launch(stream, 1, &args).unwrap();
                    assert_eq!(current_context(), context);
                    drop(Stream::new(ours).unwrap());
                    let again = Device::open(ours.name()).unwrap();
                    assert_eq!(current_context(), context);
                    again.close().unwrap();
                    assert!(Device::open("sim:999999").is_err() && current_context() == context);
                }
                assert_eq!(unsafe { (sim::acl_table().aclrtDestroyContext)(context) }, 0);
            });
        }
    });
    stream.synchronize().unwrap();
    assert_eq!(words(&sum), [160]);
}

#[test]
fn a_device_memory_and_stream_of_another_library_are_used_and_left_alone() {
    let owner = device();
    let (n, table) = (number(&owner), sim::acl_table());
    // The other library sets the device itself, and makes a stream and memory.
    let (mut stream, mut memory) = (null_mut(), null_mut());
    unsafe {
        assert_eq!((table.aclrtSetDevice)(n), 0);
        assert_eq!((table.aclrtCreateStream)(&mut stream), 0);
        assert_eq!((table.aclrtMalloc)(&mut memory, 8, 0), 0);
    }
    drop(owner);
    {
        let device = unsafe { Device::attach(&format!("sim:{n}")) }.unwrap();
        assert_eq!(device.as_raw_context(), current_context());
        let stream = unsafe { Stream::from_raw(&device, stream) };
        let buffer = unsafe { Buffer::from_raw(&device, memory, 8) }.unwrap();
        buffer.copy_from_host(&[40u64]).unwrap();
        let add = Buffer::from_slice(&device, &[2u64]).unwrap();
        let kernel = module(&device).kernel("add_words").unwrap();
        for _ in 0..50 {
            let args = KernelArgs::new().buffer(&buffer).buffer(&buffer).u64(1).u64(1);
            kernel.launch(&stream, 1, &args).unwrap();
        }
        stream.copy(&add, &add).unwrap();
        // Dropped with work under way: the stream waits, and nothing of the other library is freed.
    }
    let mut value = 0u64;
    unsafe {
        let to = (&raw mut value).cast();
        assert_eq!((table.aclrtMemcpy)(to, 8, memory, 8, 2), 0);
        assert_eq!(value, 90);
        assert_eq!((table.aclrtFree)(memory), 0);
        assert_eq!((table.aclrtDestroyStream)(stream), 0);
        assert_eq!((table.aclrtResetDevice)(n), 0);
        // That was the last of the sets: the crate has neither added nor undone one.
        assert_eq!((table.aclrtResetDevice)(n), 107_001);
    }
    let elsewhere = device();
    Buffer::alloc(&elsewhere, 8).unwrap();
    let error = unsafe { Device::attach("sim:0") }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let current = format!("the current context of this thread is of {}", elsewhere.name());
    assert!(error.to_string().ends_with(&current), "{error}");
    let error = unsafe { Buffer::from_raw(&elsewhere, null_mut(), 8) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_error_of_a_drop_comes_with_the_next_call() {
    let device = device();
    let buffer = Buffer::alloc(&device, 8).unwrap();
    // Somebody frees the memory behind the owner's back.
    assert_eq!(unsafe { (sim::acl_table().aclrtFree)(buffer.as_raw()) }, 0);
    drop(buffer);
    let error = Buffer::alloc(&device, 8).unwrap_err();
    assert!(error.to_string().starts_with("aclrtFree failed with code 107000"), "{error}");
    Buffer::alloc(&device, 8).unwrap();

    let buffer = Buffer::alloc(&device, 8).unwrap();
    assert_eq!(unsafe { (sim::acl_table().aclrtFree)(buffer.as_raw()) }, 0);
    drop(buffer);
    let error = device.close().unwrap_err();
    assert!(error.to_string().starts_with("aclrtFree failed with code 107000"), "{error}");
}

#[test]
fn the_last_owner_releases_the_device() {
    let device = device();
    let name = device.name().to_owned();
    let buffer = Buffer::alloc(&device, 1 << 20).unwrap();
    let second = Device::open(&name).unwrap();
    let total = second.memory_info().unwrap().total_bytes;
    drop(device);
    buffer.zero().unwrap();
    drop(buffer);
    second.synchronize().unwrap();
    assert_eq!(second.memory_info().unwrap().free_bytes, total);
    drop(second);
    assert_eq!(Device::open(&name).unwrap().memory_info().unwrap().free_bytes, total);
}

#[test]
fn a_device_may_be_opened_while_its_last_owner_closes_it() {
    let name = device().name().to_owned();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let name = &name;
            scope.spawn(move || {
                for round in 0..200 {
                    let device = Device::open(name).unwrap();
                    let stream = Stream::new(&device).unwrap();
                    let buffer = Buffer::from_slice(&device, &[thread * 1000 + round]).unwrap();
                    let copy = Buffer::alloc(&device, 8).unwrap();
                    stream.copy(&buffer, &copy).unwrap();
                    stream.synchronize().unwrap();
                    assert_eq!(words(&copy), [thread * 1000 + round]);
                }
            });
        }
    });
}

#[test]
fn a_wait_with_a_limit_ends() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let kernel = module(&device).kernel("add_words").unwrap();
    let words = 200_000u64;
    let buffer = Buffer::from_slice(&device, &vec![1u64; 200_000]).unwrap();
    let args = KernelArgs::new().buffer(&buffer).buffer(&buffer).u64(words).u64(1);
    for _ in 0..4 {
        kernel.launch(&stream, 1, &args).unwrap();
    }
    let error = stream.synchronize_timeout(Duration::ZERO).unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::Timeout, Some(507_046)));
    drop(args);
    drop(buffer);
    // Dropping the stream waits for the work, which still has its buffer.
    drop(stream);
    assert_eq!(device.memory_info().unwrap().free_bytes, device.memory_info().unwrap().total_bytes);
}

#[test]
fn reports_name_what_there_is() {
    let reports = fastattention::runtime::devices();
    assert_eq!(reports[0].name, "sim:0");
    let npu = reports.iter().find(|r| r.name.starts_with("npu")).unwrap();
    if let Err(error) = &npu.soc {
        assert!(
            matches!(
                error.kind(),
                ErrorKind::LibraryNotFound | ErrorKind::DriverNotFound | ErrorKind::NoDevice
            ),
            "{error}"
        );
    }
    let error = Device::open("sim:999999").unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::NoDevice, Some(107_001)));
}
