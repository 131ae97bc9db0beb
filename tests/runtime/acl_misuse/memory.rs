//! Memory, its copies, and what pointers are.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastattention_testkit::acl::kind::{D2D, D2H, DEFAULT, H2D, H2H};
use fastattention_testkit::acl::RawDevice;
use fastattention_testkit::compare::assert_same;

use super::{as_arg, wait_at_gate};

#[test]
fn free_twice_inside_and_unknown() {
    let b = RawDevice::new();
    let p = b.malloc(100);
    let mut stack = 0u64;
    unsafe {
        b.refused(
            (b.t.aclrtFree)(p.wrapping_byte_add(8)),
            107_000,
            &["byte 8 of an allocation of 100 bytes"],
        );
        assert_eq!((b.t.aclrtFree)(p), 0);
        b.refused((b.t.aclrtFree)(p), 107_000, &["nothing is allocated (freed before?)"]);
        b.refused((b.t.aclrtFree)((&raw mut stack).cast()), 107_000, &[]);
        let h = b.malloc_host(10);
        b.refused((b.t.aclrtFree)(h.cast()), 107_000, &[]);
        assert_eq!((b.t.aclrtFreeHost)(h.cast()), 0);
        b.refused((b.t.aclrtFreeHost)(h.cast()), 107_000, &["aclrtMallocHost"]);
    }
}

#[test]
fn out_of_memory_and_zero_sizes() {
    let b = RawDevice::new();
    let (mut free, mut total) = (0, 0);
    unsafe {
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        assert_eq!((free, total), (64 << 30, 64 << 30));
        let mut p = null_mut();
        b.refused(
            (b.t.aclrtMalloc)(&mut p, total + 1, 0),
            207_001,
            &["68719476737 bytes wanted, 68719476736 of"],
        );
        assert!(p.is_null());
        let _one = b.malloc(1 << 20);
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        assert_eq!(total - free, 1 << 20);
        b.refused((b.t.aclrtMalloc)(&mut p, total, 0), 207_001, &[]);
        b.refused((b.t.aclrtMalloc)(&mut p, 0, 0), 100_000, &["size = 0"]);
        b.refused((b.t.aclrtMallocHost)(&mut p, 0), 100_000, &["size = 0"]);
        b.refused((b.t.aclrtMalloc)(&mut p, 8, 99), 107_018, &["policy = 0x63"]);
        b.refused((b.t.aclrtGetMemInfo)(99, &mut free, &mut total), 107_016, &[]);
        b.refused((b.t.aclrtGetMemInfo)(6, &mut free, &mut total), 207_000, &[]);
    }
}

#[test]
fn copies_are_checked() {
    let b = RawDevice::new();
    let (p, q) = (b.malloc(64), b.malloc(64));
    let mut host = [7u8; 128];
    let h = host.as_mut_ptr().cast::<c_void>();
    unsafe {
        b.refused((b.t.aclrtMemcpy)(p, 10, h, 11, H2D), 107_000, &["count = 11 given, at most destMax = 10"]);
        b.refused(
            (b.t.aclrtMemcpy)(p, 65, h, 65, H2D),
            107_000,
            &["dst: 65 bytes at byte 0 of an allocation of 64"],
        );
        b.refused(
            (b.t.aclrtMemcpy)(h, 128, p.wrapping_byte_add(60), 5, D2H),
            107_000,
            &["src: 5 bytes at byte 60 of an allocation of 64 bytes"],
        );
        b.refused((b.t.aclrtMemcpy)(null_mut(), 8, h, 8, H2D), 100_000, &["dst = NULL"]);
        b.refused((b.t.aclrtMemcpy)(p, 8, h, 8, 77), 107_000, &["kind = 77"]);
        b.refused(
            (b.t.aclrtMemcpy)(h, 8, h.wrapping_byte_add(64), 8, H2D),
            107_000,
            &["device memory wanted"],
        );
        b.refused((b.t.aclrtMemset)(p, 64, 0, 65), 107_000, &["maxCount = 64"]);
        b.refused((b.t.aclrtMemset)(h, 64, 0, 64), 107_000, &["device memory wanted"]);
        let pinned = b.malloc_host(64);
        b.refused((b.t.aclrtMemset)(pinned.cast(), 65, 0, 65), 107_000, &["devPtr: 65 bytes at byte 0"]);
        assert_eq!((b.t.aclrtMemset)(pinned.cast(), 64, 0x1a5, 64), 0);
        assert_eq!((pinned.read(), pinned.add(63).read()), (0xa5, 0xa5));
        b.refused((b.t.aclrtMemcpy2d)(p, 8, h, 8, 9, 2, H2D), 107_000, &["width = 9"]);
        b.refused((b.t.aclrtMemcpy2d)(p, 32, h, 8, 8, 3, H2D), 107_000, &["dst"]);
        // Rows of nothing, as many as there are numbers: refused at once, not listed.
        b.refused((b.t.aclrtMemcpy2d)(p, 0, h, 0, 0, usize::MAX, H2D), 107_000, &["width = 0"]);
        b.refused((b.t.aclrtMemcpy2d)(p, 8, h, 8, 8, 0, H2D), 107_000, &["height = 0"]);
        assert_eq!((b.t.aclrtFree)(q), 0);
        b.refused((b.t.aclrtMemcpy)(q, 8, h, 8, H2D), 107_000, &["(freed?)"]);
        b.refused((b.t.aclrtMemcpy)(p, 8, q, 8, D2D), 107_000, &["src", "(freed?)"]);
    }
}

#[test]
fn copies_copy() {
    let b = RawDevice::new();
    let (p, q) = (b.malloc(64), b.malloc(64));
    let from: Vec<u8> = (0..64).collect();
    let mut to = [0u8; 64];
    unsafe {
        assert_eq!((b.t.aclrtMemcpy)(p, 64, from.as_ptr().cast(), 64, DEFAULT), 0);
        assert_eq!((b.t.aclrtMemset)(q, 64, 0x1ff, 64), 0);
        assert_eq!((b.t.aclrtMemcpy)(q.wrapping_byte_add(3), 61, p.wrapping_byte_add(1), 10, D2D), 0);
        assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), 64, q, 64, D2H), 0);
    }
    let mut want = [0xff; 64];
    want[3..13].copy_from_slice(&from[1..11]);
    assert_eq!(to, want);
    let rows = [1u8, 2, 3, 9, 4, 5, 6, 9];
    unsafe {
        assert_eq!((b.t.aclrtMemcpy2d)(p, 16, rows.as_ptr().cast(), 4, 3, 2, H2D), 0);
        assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), 64, p, 20, D2H), 0);
    }
    assert_eq!((&to[..4], &to[16..20]), (&[1, 2, 3, 3][..], &[4, 5, 6, 19][..]));
}

/// Larger than the parts that the copy is made in, by an odd distance.
#[test]
fn device_copies_that_overlap() {
    const LEN: usize = 200_000;
    const SHIFT: usize = 1001;
    let b = RawDevice::new();
    let from: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    for (dst, src) in [(SHIFT, 0), (0, SHIFT)] {
        let p = b.malloc(LEN + SHIFT);
        let mut to = vec![0; LEN];
        unsafe {
            let (dst, src) = (p.wrapping_byte_add(dst), p.wrapping_byte_add(src));
            assert_eq!((b.t.aclrtMemcpy)(src, LEN, from.as_ptr().cast(), LEN, H2D), 0);
            assert_eq!((b.t.aclrtMemcpy)(dst, LEN, src, LEN, D2D), 0);
            assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), LEN, dst, LEN, D2H), 0);
        }
        assert_same(&to, &from, &format!("a copy from byte {src} to byte {dst}"));
    }
}

#[test]
fn asynchronous_copies() {
    let b = RawDevice::new();
    let (p, s) = (b.malloc(64), b.stream());
    let gate = AtomicU32::new(0);
    let pinned = b.malloc_host(64);
    let mut pageable = [1u8; 64];
    unsafe {
        let h = pageable.as_mut_ptr().cast::<c_void>();
        b.refused((b.t.aclrtMemcpyAsync)(h, 64, h, 64, H2H, s), 207_000, &["host to host"]);
        pinned.write_bytes(5, 64);
        b.host_func(s, wait_at_gate, as_arg(&gate));
        // Pinned: returns before the copy ran, which the closed gate proves.
        assert_eq!((b.t.aclrtMemcpyAsync)(p, 64, pinned.cast(), 64, H2D, s), 0);
        let mut status = 0;
        assert_eq!((b.t.aclrtStreamQuery)(s, &mut status), 0);
        assert_eq!(status, 1);
        b.refused(
            (b.t.aclrtSynchronizeStreamWithTimeout)(s, 20),
            507_046,
            &["2 pieces of work still queued or running after 20ms\n"],
        );
        b.refused((b.t.aclrtSynchronizeStreamWithTimeout)(s, -2), 107_000, &["timeout = -2"]);
        // Freed while queued: the copy keeps it.
        assert_eq!((b.t.aclrtFreeHost)(pinned.cast()), 0);
        // Pageable: returns after the copy, so it must wait for the gate.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                gate.store(1, Ordering::Release);
            });
            assert_eq!((b.t.aclrtMemcpyAsync)(h, 64, p, 64, D2H, s), 0);
        });
        assert_eq!(pageable, [5; 64]);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0);
        assert_eq!((b.t.aclrtStreamQuery)(s, &mut status), 0);
        assert_eq!(status, 0);
    }
}

#[test]
fn what_pointers_are() {
    let b = RawDevice::new();
    let (p, h) = (b.malloc(8), b.malloc_host(8));
    let mut attributes = fastattention::driver::PtrAttributes {
        location: fastattention::driver::MemLocation { id: 99, type_: 99 },
        pageSize: 0,
        rsv: [0; 4],
    };
    let stack = 0u8;
    unsafe {
        assert_eq!((b.t.aclrtPointerGetAttributes)(p.wrapping_byte_add(7), &mut attributes), 0);
        assert_eq!((attributes.location.type_, attributes.location.id), (1, b.id.unsigned_abs()));
        assert_eq!((b.t.aclrtPointerGetAttributes)(h.cast(), &mut attributes), 0);
        assert_eq!(attributes.location.type_, 0);
        assert_eq!((b.t.aclrtPointerGetAttributes)((&raw const stack).cast(), &mut attributes), 0);
        assert_eq!(attributes.location.type_, 2);
    }
}
