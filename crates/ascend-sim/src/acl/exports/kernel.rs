//! Binaries, argument lists and launches.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use ascend_sys::{
    codes, AclArgsHandle, AclBinHandle, AclBinary, AclError, AclFuncHandle, AclParamHandle, AclStream,
    LaunchCfg, LoadOptions, PlaceHolderInfo,
};

use crate::acl::args::Given;
use crate::acl::border::{c_text, call, call_pointer, refuse, Out, Outcome};
use crate::acl::launch::{Binary, Function};
use crate::acl::{args, device, handles, launch, stream};

/// Most bytes of an image: what the addressing of its code reaches.
const MAX_IMAGE_BYTES: usize = 1 << 31;

/// An array that a C caller points to; `most`: entries that the function has a use for.
///
/// # Safety
/// `start` is null or points to `len` entries, readable during `'a`.
unsafe fn array<'a, T>(
    start: *const T,
    len: usize,
    most: usize,
    name: &str,
    count: &str,
) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return refuse(codes::INVALID_PARAM, format!("{name} = NULL given with {count} = {len}"));
    }
    if len > most {
        return refuse(codes::RT_PARAM_INVALID, format!("{count} = {len} given, at most {most} wanted"));
    }
    // SAFETY: not null, so `len` entries by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

pub(in crate::acl) unsafe extern "C" fn aclrtCreateBinary(data: *const c_void, len: usize) -> AclBinary {
    call_pointer("aclrtCreateBinary", std::ptr::null_mut(), || {
        // SAFETY: by the C signature.
        let data = unsafe { Given::new(data, len, "data") }?.at_most(MAX_IMAGE_BYTES, "dataLen")?;
        let mut copy = Vec::new();
        if copy.try_reserve_exact(len).is_err() {
            return refuse(
                codes::RT_MEMORY_ALLOCATION,
                format!("the host has no {len} bytes for the binary"),
            );
        }
        copy.extend_from_slice(data.bytes());
        handles::insert(Arc::new(Binary { data: copy }))
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtDestroyBinary(binary: AclBinary) -> AclError {
    call("aclrtDestroyBinary", || handles::take::<Binary>(binary).map(drop))
}

pub(in crate::acl) unsafe extern "C" fn aclrtBinaryLoad(
    binary: AclBinary,
    handle: *mut AclBinHandle,
) -> AclError {
    call("aclrtBinaryLoad", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(handle, "binHandle") }?;
        let binary = handles::get::<Binary>(binary)?;
        // SAFETY: whoever has a binary loaded vouches for its code, as with ACL.
        out.set(unsafe { launch::load_bytes(&*device::current()?, &binary.data) }?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtBinaryLoadFromFile(
    path: *const c_char,
    options: *mut LoadOptions,
    handle: *mut AclBinHandle,
) -> AclError {
    call("aclrtBinaryLoadFromFile", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(handle, "binHandle") }?;
        // SAFETY: null or a string, by the C signature.
        let path = unsafe { c_text(path, "binPath") }?;
        // SAFETY: null or valid, by the C signature.
        unsafe { check_options(options, &[1]) }?;
        // SAFETY: whoever has a binary loaded vouches for its code, as with ACL.
        out.set(unsafe { launch::load_file(&*device::current()?, path) }?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtBinaryLoadFromData(
    data: *const c_void,
    len: usize,
    options: *const LoadOptions,
    handle: *mut AclBinHandle,
) -> AclError {
    call("aclrtBinaryLoadFromData", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(handle, "binHandle") }?;
        // SAFETY: by the C signature.
        let data = unsafe { Given::new(data, len, "data") }?.at_most(MAX_IMAGE_BYTES, "length")?;
        // SAFETY: null or valid, by the C signature.
        unsafe { check_options(options, &[1, 2]) }?;
        // SAFETY: whoever has a binary loaded vouches for its code, as with ACL.
        out.set(unsafe { launch::load_bytes(&*device::current()?, data.bytes()) }?);
        Ok(())
    })
}

/// Most load options of a call: several times as many as any CANN has.
const MAX_OPTIONS: usize = 64;

/// Load options: LAZY_LOAD (1) and, not for files, MAGIC (2). They change nothing for a host image.
///
/// # Safety
/// `options` is null or points to options whose array holds `numOpt` entries.
unsafe fn check_options(options: *const LoadOptions, known: &[u32]) -> Outcome {
    if options.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so valid by this function's contract.
    let options = unsafe { options.read() };
    // SAFETY: null or `numOpt` entries, by this function's contract.
    let entries = unsafe { array(options.options, options.numOpt, MAX_OPTIONS, "options", "numOpt") }?;
    match entries.iter().find(|option| !known.contains(&option.type_)) {
        Some(option) => refuse(
            codes::INVALID_PARAM,
            format!("load option {} given, one of {known:?} wanted", option.type_),
        ),
        None => Ok(()),
    }
}

pub(in crate::acl) unsafe extern "C" fn aclrtBinaryUnLoad(handle: AclBinHandle) -> AclError {
    call("aclrtBinaryUnLoad", || launch::unload(handle))
}

pub(in crate::acl) unsafe extern "C" fn aclrtBinaryGetFunction(
    handle: AclBinHandle,
    name: *const c_char,
    function: *mut AclFuncHandle,
) -> AclError {
    call("aclrtBinaryGetFunction", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(function, "funcHandle") }?;
        // SAFETY: null or a string, by the C signature.
        let name = unsafe { c_text(name, "kernelName") }?;
        out.set(launch::function(handle, name)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsInit(
    function: AclFuncHandle,
    args: *mut AclArgsHandle,
) -> AclError {
    call("aclrtKernelArgsInit", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(args, "argsHandle") }?;
        out.set(args::init(handles::get::<Function>(function)?)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsInitByUserMem(
    function: AclFuncHandle,
    args: AclArgsHandle,
    memory: *mut c_void,
    size: usize,
) -> AclError {
    call("aclrtKernelArgsInitByUserMem", || {
        let function = handles::get::<Function>(function)?;
        // SAFETY: the memory is valid for `size` bytes while the list is used, by the C contract.
        unsafe { args::init_in(function, args, memory, size) }
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsGetMemSize(
    function: AclFuncHandle,
    user_size: usize,
    actual: *mut usize,
) -> AclError {
    call("aclrtKernelArgsGetMemSize", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(actual, "actualArgsSize") }?;
        handles::get::<Function>(function)?;
        // No system arguments here: the simulator supplies cross-core flags itself.
        out.set(user_size.checked_next_multiple_of(8).unwrap_or(usize::MAX));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsGetHandleMemSize(
    function: AclFuncHandle,
    size: *mut usize,
) -> AclError {
    call("aclrtKernelArgsGetHandleMemSize", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(size, "memSize") }?;
        handles::get::<Function>(function)?;
        out.set(args::HANDLE_BYTES);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsAppend(
    args: AclArgsHandle,
    param: *mut c_void,
    size: usize,
    handle: *mut AclParamHandle,
) -> AclError {
    call("aclrtKernelArgsAppend", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(handle, "paramHandle") }?;
        // SAFETY: by the C signature.
        let param = unsafe { Given::new(param, size, "param") }?;
        out.set(args::find(args)?.append(param)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsAppendPlaceHolder(
    args: AclArgsHandle,
    handle: *mut AclParamHandle,
) -> AclError {
    call("aclrtKernelArgsAppendPlaceHolder", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(handle, "paramHandle") }?;
        out.set(args::find(args)?.append_place_holder()?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsGetPlaceHolderBuffer(
    args: AclArgsHandle,
    handle: AclParamHandle,
    size: usize,
    buffer: *mut *mut c_void,
) -> AclError {
    call("aclrtKernelArgsGetPlaceHolderBuffer", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(buffer, "bufferAddr") }?;
        out.set(args::find(args)?.place_holder_buffer(handle, size)?);
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsParaUpdate(
    args: AclArgsHandle,
    handle: AclParamHandle,
    param: *mut c_void,
    size: usize,
) -> AclError {
    call("aclrtKernelArgsParaUpdate", || {
        // SAFETY: by the C signature.
        let param = unsafe { Given::new(param, size, "param") }?;
        args::find(args)?.update(handle, param)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtKernelArgsFinalize(args: AclArgsHandle) -> AclError {
    call("aclrtKernelArgsFinalize", || args::find(args)?.finalize())
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchKernel(
    function: AclFuncHandle,
    blocks: u32,
    args_data: *const c_void,
    args_size: usize,
    handle: AclStream,
) -> AclError {
    call("aclrtLaunchKernel", || launch_from_device(function, blocks, args_data, args_size, handle))
}

fn launch_from_device(
    function: AclFuncHandle,
    blocks: u32,
    args_data: *const c_void,
    args_size: usize,
    handle: AclStream,
) -> Outcome {
    let stream = stream::of(handle)?;
    let function = handles::get::<Function>(function)?;
    launch::check(&function, blocks)?;
    launch::launch_from_device(function, blocks, args_data.addr() as u64, args_size, &stream)
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchKernelV2(
    function: AclFuncHandle,
    blocks: u32,
    args_data: *const c_void,
    args_size: usize,
    cfg: *mut LaunchCfg,
    handle: AclStream,
) -> AclError {
    call("aclrtLaunchKernelV2", || {
        // SAFETY: null or valid, by the C signature.
        unsafe { launch::check_config(cfg) }?;
        launch_from_device(function, blocks, args_data, args_size, handle)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchKernelWithConfig(
    function: AclFuncHandle,
    blocks: u32,
    handle: AclStream,
    cfg: *mut LaunchCfg,
    args: AclArgsHandle,
    reserve: *mut c_void,
) -> AclError {
    call("aclrtLaunchKernelWithConfig", || {
        if !reserve.is_null() {
            return refuse(
                codes::INVALID_PARAM,
                format!("reserve = {:#x} given, NULL wanted", reserve.addr()),
            );
        }
        let stream = stream::of(handle)?;
        let function = handles::get::<Function>(function)?;
        launch::check(&function, blocks)?;
        // SAFETY: null or valid, by the C signature.
        unsafe { launch::check_config(cfg) }?;
        let args = args::find(args)?;
        // SAFETY: the memory of the list is valid, and no other thread writes to it, by the C contract.
        let packed = unsafe { args.pack(&function, &stream.device) }?;
        launch::launch(function, blocks, packed, &stream)
    })
}

pub(in crate::acl) unsafe extern "C" fn aclrtLaunchKernelWithHostArgs(
    function: AclFuncHandle,
    blocks: u32,
    handle: AclStream,
    cfg: *mut LaunchCfg,
    host_args: *mut c_void,
    args_size: usize,
    place_holders: *mut PlaceHolderInfo,
    num_place_holders: usize,
) -> AclError {
    call("aclrtLaunchKernelWithHostArgs", || {
        let stream = stream::of(handle)?;
        let function = handles::get::<Function>(function)?;
        launch::check(&function, blocks)?;
        // SAFETY: null or valid, by the C signature.
        unsafe { launch::check_config(cfg) }?;
        // SAFETY: by the C signature.
        let data =
            unsafe { Given::new(host_args, args_size, "hostArgs") }?.at_most(args::MAX_BYTES, "argsSize")?;
        let (name, count, most) = ("placeHolderArray", "placeHolderNum", function.num_slots());
        // SAFETY: null or an array of that many entries, by the C signature.
        let place_holders = unsafe { array(place_holders, num_place_holders, most, name, count) }?;
        let packed = args::pack_host_args(&data, function.num_slots(), place_holders, &stream.device)?;
        launch::launch(function, blocks, packed, &stream)
    })
}
