//! Memory.

use std::ffi::c_void;

use ascend_sys::{codes, location, memcpy_kind, AclError, AclStream, MemLocation, PtrAttributes};

use crate::acl::border::{call, refuse, Out, Outcome};
use crate::acl::memory::{Copy, Fill, Location, Rows};
use crate::acl::stream;
use crate::acl::{capture, device, memory};

/// Bits of `aclrtMemMallocPolicy`: the policy proper, and the modifiers that may be added.
const POLICY_LAST: u32 = 7;
const POLICY_MODIFIERS: u32 = 0x100 | 0x1000 | 0x10_0000;

pub(in crate::acl) unsafe extern "C" fn aclrtMalloc(
    ptr: *mut *mut c_void,
    size: usize,
    policy: u32,
) -> AclError {
    call("aclrtMalloc", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(ptr, "devPtr") }?;
        if policy & !POLICY_MODIFIERS > POLICY_LAST {
            return refuse(
                codes::RT_INVALID_MALLOC_TYPE,
                format!("policy = {policy:#x} given, 0 to 7 wanted"),
            );
        }
        let address = memory::alloc(&*device::current()?, size)?;
        let address = usize::try_from(address).unwrap_or_else(|_| unreachable!("a host address"));
        out.set(std::ptr::without_provenance_mut(address));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtFree(ptr: *mut c_void) -> AclError {
    call("aclrtFree", || {
        device::current()?;
        memory::free(ptr.addr() as u64)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtMallocHost(ptr: *mut *mut c_void, size: usize) -> AclError {
    call("aclrtMallocHost", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(ptr, "hostPtr") }?;
        device::current()?;
        out.set(memory::alloc_host(size)?.cast());
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtFreeHost(ptr: *mut c_void) -> AclError {
    call("aclrtFreeHost", || memory::free_host(ptr.addr()))
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemcpy(
    dst: *mut c_void,
    dest_max: usize,
    src: *const c_void,
    count: usize,
    kind: u32,
) -> AclError {
    call("aclrtMemcpy", || {
        capture::allow_at_once(device::current()?.number())?;
        let copy = Copy::new(dst.cast(), dest_max, src.cast_mut().cast(), count, kind)?;
        // SAFETY: host pointers are valid for `count` bytes, by the C signature.
        unsafe { copy.perform() }
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemcpyAsync(
    dst: *mut c_void,
    dest_max: usize,
    src: *const c_void,
    count: usize,
    kind: u32,
    handle: AclStream,
) -> AclError {
    call("aclrtMemcpyAsync", || {
        let stream = stream::of(handle)?;
        let copy = Copy::new(dst.cast(), dest_max, src.cast_mut().cast(), count, kind)?;
        // SAFETY: host pointers are valid for `count` bytes until the stream gets there, by the C contract.
        unsafe { memory::copy_async(copy, &stream) }
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemcpy2d(
    dst: *mut c_void,
    dst_pitch: usize,
    src: *const c_void,
    src_pitch: usize,
    width: usize,
    height: usize,
    kind: u32,
) -> AclError {
    call("aclrtMemcpy2d", || {
        capture::allow_at_once(device::current()?.number())?;
        let copy = copy_2d(dst, src, Rows { width, height, dst_pitch, src_pitch }, kind)?;
        // SAFETY: host pointers are valid for `height` rows of `width` bytes, by the C signature.
        unsafe { copy.perform() }
    })
}

/// Largest width and height of `aclrtMemcpy2dAsync` (API reference, memory copies).
const MAX_ASYNC_WIDTH: usize = 5_000_000;
const MAX_ASYNC_HEIGHT: usize = 5 << 20;

pub(in crate::acl) unsafe extern "C" fn aclrtMemcpy2dAsync(
    dst: *mut c_void,
    dst_pitch: usize,
    src: *const c_void,
    src_pitch: usize,
    width: usize,
    height: usize,
    kind: u32,
    handle: AclStream,
) -> AclError {
    call("aclrtMemcpy2dAsync", || {
        let stream = stream::of(handle)?;
        if !(memcpy_kind::HOST_TO_DEVICE..=memcpy_kind::DEVICE_TO_DEVICE).contains(&kind) {
            return refuse(codes::INVALID_PARAM, format!("kind = {kind} given, 1 to 3 wanted"));
        }
        if width > MAX_ASYNC_WIDTH || height > MAX_ASYNC_HEIGHT {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!(
                    "width = {width}, height = {height} given, at most {MAX_ASYNC_WIDTH} and {MAX_ASYNC_HEIGHT} wanted"
                ),
            );
        }
        let copy = copy_2d(dst, src, Rows { width, height, dst_pitch, src_pitch }, kind)?;
        // SAFETY: host pointers are valid for the rows until the stream gets there, by the C contract.
        unsafe { memory::copy_async(copy, &stream) }
    })
}

/// Checks a two-dimensional copy: `height` rows of `width` bytes, a pitch apart.
fn copy_2d(dst: *mut c_void, src: *const c_void, rows: Rows, kind: u32) -> Outcome<Copy> {
    let Rows { width, height, dst_pitch, src_pitch } = rows;
    if width > dst_pitch || width > src_pitch {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("width = {width} given, at most dpitch = {dst_pitch} and spitch = {src_pitch} wanted"),
        );
    }
    // Rows without bytes could be any number, each a piece of work.
    if width == 0 || height == 0 {
        return refuse(
            codes::RT_PARAM_INVALID,
            format!("width = {width}, height = {height} given, at least 1 of each wanted"),
        );
    }
    Copy::of_rows(dst.cast(), src.cast_mut().cast(), rows, kind)
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemset(
    ptr: *mut c_void,
    max_count: usize,
    value: i32,
    count: usize,
) -> AclError {
    call("aclrtMemset", || {
        capture::allow_at_once(device::current()?.number())?;
        Fill::new(ptr.cast(), max_count, value, count)?.perform();
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemsetAsync(
    ptr: *mut c_void,
    max_count: usize,
    value: i32,
    count: usize,
    handle: AclStream,
) -> AclError {
    call("aclrtMemsetAsync", || {
        let stream = stream::of(handle)?;
        Fill::new(ptr.cast(), max_count, value, count)?.submit(&stream)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtGetMemInfo(
    attr: u32,
    free: *mut usize,
    total: *mut usize,
) -> AclError {
    call("aclrtGetMemInfo", || {
        // SAFETY: null or writable, by the C signature.
        let free = unsafe { Out::new(free, "free") }?;
        // SAFETY: as above.
        let total = unsafe { Out::new(total, "total") }?;
        let (free_bytes, total_bytes) = memory::info(&*device::current()?, attr)?;
        free.set(usize::try_from(free_bytes).unwrap_or(usize::MAX));
        total.set(usize::try_from(total_bytes).unwrap_or(usize::MAX));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtPointerGetAttributes(
    ptr: *const c_void,
    attributes: *mut PtrAttributes,
) -> AclError {
    call("aclrtPointerGetAttributes", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(attributes, "attributes") }?;
        let (id, place) = match memory::location_of(ptr.addr()) {
            Location::Device(id) => (u32::try_from(id).unwrap_or(0), location::DEVICE),
            Location::Pinned => (0, location::HOST),
            Location::Unknown => (0, location::UNREGISTERED),
        };
        out.set(PtrAttributes { location: MemLocation { id, type_: place }, pageSize: 4096, rsv: [0; 4] });
        Ok(())
    })
}
