//! Further kinds of allocation, and words that streams write and wait for.

use std::ffi::c_void;

use ascend_sys::{codes, AclError, AclStream, MallocConfig};

use crate::acl::border::{call, refuse, Outcome};
use crate::acl::exports::memory::{aclrtMalloc, aclrtMallocHost};
use crate::acl::memory;
use crate::acl::reduction::Reduction;
use crate::acl::stream;
use crate::acl::value::Word;

/// Every allocation is aligned to 64 bytes.
pub(in crate::acl) unsafe extern "C" fn aclrtMallocAlign32(
    ptr: *mut *mut c_void,
    size: usize,
    policy: u32,
) -> AclError {
    // SAFETY: the same signature and contract.
    unsafe { aclrtMalloc(ptr, size, policy) }
}

/// Caches are coherent here.
pub(in crate::acl) unsafe extern "C" fn aclrtMallocCached(
    ptr: *mut *mut c_void,
    size: usize,
    policy: u32,
) -> AclError {
    // SAFETY: the same signature and contract.
    unsafe { aclrtMalloc(ptr, size, policy) }
}

/// # Safety
/// `cfg` is null or points to a configuration.
unsafe fn refuse_config(cfg: *const MallocConfig) -> Outcome {
    if cfg.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so valid by this function's contract.
    match unsafe { cfg.read() }.numAttrs {
        0 => Ok(()),
        n => refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            format!("cfg with {n} attributes given; allocation attributes are not simulated, 0 wanted"),
        ),
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtMallocWithCfg(
    ptr: *mut *mut c_void,
    size: usize,
    policy: u32,
    cfg: *mut MallocConfig,
) -> AclError {
    // SAFETY: null or valid, by the C signature.
    match call("aclrtMallocWithCfg", || unsafe { refuse_config(cfg) }) {
        // SAFETY: the same contract for the first three parameters.
        codes::SUCCESS => unsafe { aclrtMalloc(ptr, size, policy) },
        code => code,
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtMallocHostWithCfg(
    ptr: *mut *mut c_void,
    size: u64,
    cfg: *mut MallocConfig,
) -> AclError {
    // SAFETY: null or valid, by the C signature.
    match call("aclrtMallocHostWithCfg", || unsafe { refuse_config(cfg) }) {
        // SAFETY: the same contract for the first two parameters.
        codes::SUCCESS => unsafe { aclrtMallocHost(ptr, usize::try_from(size).unwrap_or(usize::MAX)) },
        code => code,
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemFlush(ptr: *mut c_void, size: usize) -> AclError {
    call("aclrtMemFlush", || memory::device_range("devPtr", ptr.cast(), size).map(drop))
}

pub(in crate::acl) unsafe extern "C" fn aclrtMemInvalidate(ptr: *mut c_void, size: usize) -> AclError {
    call("aclrtMemInvalidate", || memory::device_range("devPtr", ptr.cast(), size).map(drop))
}

pub(in crate::acl) unsafe extern "C" fn aclrtValueWrite(
    address: *mut c_void,
    value: u64,
    flag: u32,
    handle: AclStream,
) -> AclError {
    call("aclrtValueWrite", || {
        if flag != 0 {
            return refuse(codes::RT_PARAM_INVALID, format!("flag = {flag} given, 0 wanted"));
        }
        Word::new(address.addr() as u64)?.write(value, &stream::of(handle)?)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtValueWait(
    address: *mut c_void,
    value: u64,
    flag: u32,
    handle: AclStream,
) -> AclError {
    call("aclrtValueWait", || Word::new(address.addr() as u64)?.wait(value, flag, &stream::of(handle)?))
}

/// `dst = dst op src`, element by element; `bytes` is the size of each.
pub(in crate::acl) unsafe extern "C" fn aclrtReduceAsync(
    dst: *mut c_void,
    src: *const c_void,
    bytes: u64,
    kind: u32,
    data_type: i32,
    handle: AclStream,
    reserve: *mut c_void,
) -> AclError {
    call("aclrtReduceAsync", || {
        if !reserve.is_null() {
            return refuse(
                codes::INVALID_PARAM,
                format!("reserve = {:#x} given, NULL wanted", reserve.addr()),
            );
        }
        let stream = stream::of(handle)?;
        Reduction::new(dst.cast(), src.cast_mut().cast(), bytes, kind, data_type)?.submit(&stream)
    })
}
