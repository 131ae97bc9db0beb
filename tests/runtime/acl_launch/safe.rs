//! Through `runtime`.

use std::time::Duration;

use fastattention::runtime::{Buffer, Device, Event, HostBuffer, KernelArgs, Module, Schedule, Stream};
use fastattention::sim::{self, Config};
use fastattention::{DriverCode, ErrorKind, Soc};
use fastattention_testkit::compare::assert_all;

use super::image;

pub(crate) fn device() -> Device {
    Device::simulated(Config::new(Soc::by_name("Ascend910B2").unwrap())).unwrap()
}

pub(crate) fn module(device: &Device) -> Module {
    // The image is the one compiled from `kernels.cpp`.
    unsafe { Module::load(device, image()) }.unwrap()
}

pub(crate) fn words(buffer: &Buffer) -> Vec<u64> {
    let mut out = vec![0; buffer.len_bytes() / 8];
    buffer.copy_to_host(&mut out).unwrap();
    out
}

#[test]
fn launches_with_and_without_later_functions() {
    let config = || Config::new(Soc::by_name("Ascend910B4").unwrap());
    for device in [Device::simulated(config()).unwrap(), Device::simulated_as_cann81(config()).unwrap()] {
        assert_eq!((device.verifies_kernels(), device.soc().cube_cores), (true, 20));
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
fn out_of_memory_tells_the_host_from_the_device() {
    let refused = |device: &Device, bytes: usize| {
        let error = Buffer::alloc(device, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
        error.to_string().lines().last().unwrap().to_owned()
    };
    // A device that has more than any host.
    let mut soc = Soc::by_name("Ascend910B2").unwrap().clone();
    soc.hbm_bytes = 1 << 61;
    let vast = Device::simulated(Config::new(Box::leak(Box::new(soc)))).unwrap();
    let number = |device: &Device| device.name().split_once(':').unwrap().1.to_owned();
    assert_eq!(
        refused(&vast, 1 << 60),
        format!(
            "aclrtMalloc: 1152921504606846976 bytes wanted for device {}, which has them: the host, whose memory the simulator takes, \
             has not",
            number(&vast)
        )
    );
    let small = device();
    let total = small.memory_info().unwrap().total_bytes;
    let _taken = Buffer::alloc(&small, 100).unwrap();
    assert_eq!(
        refused(&small, total),
        format!(
            "aclrtMalloc: {total} bytes wanted, {} of {total} bytes free on device {}",
            total - 100,
            number(&small)
        )
    );
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
    assert_all(&host, &0, "new pinned memory");
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
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::SimFault, Some(DriverCode::Acl(507_015))));
    assert!(
        error.to_string().starts_with("aclrtSynchronizeStreamWithTimeout failed with code 507015"),
        "{error}"
    );
    assert!(error.to_string().contains("Fault: OutOfBounds"), "{error}");

    let stream = Stream::new(&device).unwrap();
    module.kernel("not_modelled").unwrap().launch(&stream, 1, &KernelArgs::new()).unwrap();
    assert_eq!(stream.synchronize().unwrap_err().kind(), ErrorKind::SimUnsupported);

    let error = module.kernel("none").unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::Driver, Some(DriverCode::Acl(100_029))));
    let error = Buffer::alloc(&device, 1 << 40).unwrap_err();
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::OutOfMemory, Some(DriverCode::Acl(207_001))));
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
    assert!(error.to_string().contains("a buffer argument of another opened device (sim:"), "{error}");
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
    assert_ne!(end.elapsed_since(&start).unwrap(), Duration::ZERO);
    assert_eq!(order.elapsed_since(&start).unwrap_err().driver_code(), Some(DriverCode::Acl(107_006)));
    second.synchronize().unwrap();
    assert!(second.query().unwrap());
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
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::Timeout, Some(DriverCode::Acl(507_046))));
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
    let host = reports.iter().find(|r| r.name == "cpu:0").unwrap();
    assert!(host.is_host && !host.is_simulated && host.soc.is_ok(), "{host:?}");
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
    assert_eq!((error.kind(), error.driver_code()), (ErrorKind::NoDevice, Some(DriverCode::Acl(107_001))));
}
