//! Bytes and marks of allocations, and what is allocated where.

use super::*;

#[test]
fn unaligned_round_trip_keeps_neighbours() {
    let memory = DeviceMemory::new(1 << 20);
    let base = memory.alloc(100).unwrap();
    let a = memory.find(base + 99).unwrap();
    assert!(memory.find(base + 100).is_none());
    let data: Vec<u8> = (0..100).collect();
    a.write(base, &data);
    a.write(base + 3, &[255; 13]);
    let mut out = vec![0; 100];
    a.read(base, &mut out);
    let mut want = data.clone();
    want[3..16].fill(255);
    assert_eq!(out, want);
    let mut part = vec![0; 21];
    a.read(base + 5, &mut part);
    assert_eq!(part, want[5..26]);
}

#[test]
fn initialisation_is_per_byte() {
    let memory = DeviceMemory::new(1 << 20);
    let base = memory.alloc(100).unwrap();
    let a = memory.find(base).unwrap();
    a.write(base + 10, &[1; 50]);
    assert_eq!(a.first_unset(base + 10, 50), None);
    assert_eq!(a.first_unset(base + 10, 51), Some(base + 60));
    assert_eq!(a.first_unset(base, 12), Some(base));
}

/// Every alignment of both ends, over word and cache line borders, against a plain array.
#[test]
fn any_range_round_trips() {
    let memory = DeviceMemory::new(1 << 20);
    let base = memory.alloc(400).unwrap();
    let a = memory.find(base).unwrap();
    let mut want: Vec<u8> = (0..400).map(|i| u8::try_from(i % 251).unwrap()).collect();
    a.write(base, &want);
    for start in 0..20 {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 200, 300] {
            let data: Vec<u8> = (0..len).map(|i| u8::try_from((start * 31 + i * 7) % 256).unwrap()).collect();
            want[start..start + len].copy_from_slice(&data);
            a.write(base + start as u64, &data);
            let mut out = vec![0; len];
            a.read(base + start as u64, &mut out);
            assert_eq!(out, data, "{len} bytes at {start}");
            let mut all = vec![0; 400];
            a.read(base, &mut all);
            assert_eq!(all, want, "neighbours of {len} bytes at {start}");
        }
    }
}

#[test]
fn whole_blocks_are_marked_as_single_bytes_are() {
    let memory = DeviceMemory::new(1 << 20);
    let base = memory.alloc(256).unwrap();
    let a = memory.find(base).unwrap();
    a.write(base + 64, &[1; 96]);
    assert_eq!(a.first_unset(base + 64, 96), None);
    assert_eq!(a.first_unset(base + 32, 64), Some(base + 32));
    assert_eq!(a.first_unset(base + 64, 128), Some(base + 160));
    a.mark(base + 96, 32, false);
    assert_eq!(a.first_unset(base + 64, 96), Some(base + 96));
    assert!(a.is_set(base + 95) && !a.is_set(base + 96) && a.is_set(base + 128));
}

/// So far that nothing that a 32-bit number of bytes is off by reaches from one to another.
#[cfg(unix)]
#[test]
fn allocations_lie_far_apart() {
    let memory = DeviceMemory::new(1 << 40);
    for len in [1, 64, 5000, 3 << 20, 5 << 30] {
        memory.alloc(len).unwrap();
    }
    let live = memory.snapshot();
    for pair in live.windows(2) {
        let distance = pair[1].base() - (pair[0].base() + pair[0].len());
        assert!(distance > 1 << 32, "{distance} bytes between two allocations");
    }
    // What one has gives back is there for the next: the space would be used up many times over.
    drop(live);
    for _ in 0..3000 {
        let base = memory.alloc(100).unwrap();
        memory.free(base);
    }
    let [a, b] = [memory.alloc(1).unwrap(), memory.alloc(1).unwrap()];
    assert!(a.abs_diff(b) > 1 << 32, "{a:#x} {b:#x}");
}

/// A program that relies on more than is documented fails.
#[cfg(all(unix, target_pointer_width = "64"))]
#[test]
fn addresses_are_multiples_of_64_and_of_no_more() {
    let memory = DeviceMemory::new(1 << 40);
    for len in [1, 64, 5000, 3 << 20] {
        let base = memory.alloc(len).unwrap();
        assert_eq!(base % 128, 64);
        // The shift takes nothing away.
        let a = memory.find(base).unwrap();
        a.write(base + len - 1, &[7]);
        let mut last = [0];
        a.read(base + len - 1, &mut last);
        assert_eq!((last, a.is_set(base + len - 1)), ([7], true));
        assert_eq!(a.model_address(base) % MODEL_PAGE, 0, "model time knows nothing of it");
    }
}

#[test]
fn capacity_is_finite() {
    let memory = DeviceMemory::new(100);
    assert_eq!(memory.alloc(101), Err(NoRoom::OnDevice { free: 100 }));
    let base = memory.alloc(60).unwrap();
    assert_eq!(memory.alloc(41), Err(NoRoom::OnDevice { free: 40 }));
    assert!(memory.free(base) && !memory.free(base));
    assert!(memory.alloc(100).is_ok());
    // No host has so much, whatever the device has.
    let memory = DeviceMemory::new(u64::MAX);
    assert_eq!(memory.alloc(1 << 62), Err(NoRoom::OnHost));
    assert_eq!(memory.alloc(u64::MAX), Err(NoRoom::OnHost));
}
