//! Several threads, and other libraries that use ACL in the same process.

use std::ffi::c_void;
use std::ptr::null_mut;

use fastattention::attention::FlashAttention;
use fastattention::runtime::{Buffer, Device, Event, HostBuffer, Kernel, KernelArgs, Module, Stream};
use fastattention::{sim, ErrorKind};

use super::safe::{device, module, words};

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
                    Device::open("sim:999999").unwrap_err();
                    assert_eq!(current_context(), context);
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
    let current =
        format!("given, {:?} wanted, the device of this thread's current context", elsewhere.name());
    assert!(error.to_string().ends_with(&current), "{error}");
    let error = unsafe { Buffer::from_raw(&elsewhere, null_mut(), 8) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
