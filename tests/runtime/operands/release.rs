//! What a stream keeps, and until when.

use std::time::{Duration, Instant};

use fastattention::runtime::Event;

use super::*;

const MIB: usize = 1 << 20;

/// An engine that is one step ahead: the stream is never idle, and never synchronised.
fn held_after(device: &Device, steps: usize) -> usize {
    let (gate, stream) = (Gate::default(), Stream::new(device).unwrap());
    let free = || device.memory_info().unwrap().free_bytes;
    let before = free();
    let mut last: Option<Event> = None;
    for step in 1..=steps {
        let buffer = Buffer::alloc(device, MIB).unwrap();
        stream.zero(&buffer).unwrap();
        gate.hold(&stream, step);
        let done = Event::new(device).unwrap();
        done.record(&stream).unwrap();
        // The step before ends only now.
        gate.open(step - 1);
        if let Some(last) = last.replace(done) {
            last.synchronize().unwrap();
        }
        assert!(!stream.query().unwrap());
    }
    let held = before - free();
    gate.open(steps);
    stream.synchronize().unwrap();
    assert_eq!(free(), before, "after the synchronisation");
    held
}

#[test]
fn memory_of_steps_is_given_back_while_later_ones_run() {
    let config = || Config::new(soc());
    for device in [Device::simulated(config()).unwrap(), Device::simulated_as_cann81(config()).unwrap()] {
        let held = held_after(&device, 200);
        assert!(held <= 10 * MIB, "{} MiB of 200 steps of 1 MiB are held", held / MIB);
    }
}

/// What a step uses on two streams is held by both, so neither finds a thing that it alone holds. Neither is
/// ever synchronised.
#[test]
fn memory_that_two_streams_share_is_given_back() {
    let device = device();
    let (first, second) = (Stream::new(&device).unwrap(), Stream::new(&device).unwrap());
    let event = || Event::new(&device).unwrap();
    let (written, done) = (event(), event());
    let result = Buffer::alloc(&device, MIB).unwrap();
    let before = device.memory_info().unwrap().free_bytes;
    let mut held = 0;
    for _ in 0..200 {
        let buffer = Buffer::alloc(&device, MIB).unwrap();
        first.zero(&buffer).unwrap();
        written.record(&first).unwrap();
        second.wait_event(&written).unwrap();
        second.copy(&buffer, &result).unwrap();
        done.record(&second).unwrap();
        done.synchronize().unwrap();
        held = held.max(before - device.memory_info().unwrap().free_bytes);
    }
    assert!(held <= 24 * MIB, "{} MiB of 200 steps of 1 MiB are held", held / MIB);
}

/// Nothing is given back that work still uses, whatever order things are dropped in.
#[test]
fn memory_that_is_used_stays() {
    let device = device();
    let (gate, stream) = (Gate::default(), Stream::new(&device).unwrap());
    let free = || device.memory_info().unwrap().free_bytes;
    let kept = Buffer::from_slice(&device, &[7u64; 1000]).unwrap();
    let before = free();
    gate.hold(&stream, 1);
    for _ in 0..100 {
        let temporary = Buffer::alloc(&device, 8000).unwrap();
        stream.copy(&kept, &temporary).unwrap();
        stream.copy(&temporary, &kept).unwrap();
    }
    assert_eq!(before - free(), 100 * 8000, "all are in the queue");
    gate.open(1);
    let (marker, start) = (Event::new(&device).unwrap(), Instant::now());
    while free() < before {
        // Each submission looks, and the work ends by and by.
        marker.record(&stream).unwrap();
        assert!(start.elapsed() < Duration::from_secs(60), "{} bytes are held", before - free());
        std::thread::sleep(Duration::from_millis(1));
    }
    // Used early and late: the late use counts.
    let (early, late) = (Gate::default(), Buffer::from_slice(&device, &[9u64; 1000]).unwrap());
    stream.copy(&kept, &late).unwrap();
    early.hold(&stream, 1);
    stream.copy(&late, &kept).unwrap();
    drop(late);
    for _ in 0..50 {
        marker.record(&stream).unwrap();
    }
    assert_eq!(before - free(), 8000, "the last copy is held by the gate");
    early.open(1);
    stream.synchronize().unwrap();
    assert_eq!(free(), before);
    let mut words = [0u64; 1000];
    kept.copy_to_host(&mut words).unwrap();
    assert_eq!(words, [7; 1000]);
}
