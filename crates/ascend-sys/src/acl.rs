//! The ACL functions: names and signatures written once.
//!
//! `required` functions exist in the 8.1.RC1 headers and are enough for the crate; `optional` ones came
//! later, or are marked as experimental there (those of graphs, `aclmdlRI...`), and are found by name, never
//! by version (acl-runtime.md 1.1, 1.3).

use std::ffi::{c_char, c_void};

use super::table::{check_signatures, define_table};
use super::types::*;

/// Calls a macro with the list of functions; tokens after its name are passed before the list.
#[doc(hidden)]
#[macro_export]
macro_rules! acl_functions {
    ($callback:ident $($prefix:tt)*) => {
        $callback! { $($prefix)*
            required {
                aclInit(config_path: *const c_char) -> AclError;
                aclFinalize() -> AclError;
                aclGetRecentErrMsg() -> *const c_char;
                aclrtGetLastError(level: u32) -> AclError;
                aclrtPeekAtLastError(level: u32) -> AclError;
                aclrtGetVersion(major: *mut i32, minor: *mut i32, patch: *mut i32) -> AclError;
                aclrtGetDeviceCount(count: *mut u32) -> AclError;
                aclrtSetDevice(device: i32) -> AclError;
                aclrtResetDevice(device: i32) -> AclError;
                aclrtResetDeviceForce(device: i32) -> AclError;
                aclrtGetDevice(device: *mut i32) -> AclError;
                aclrtGetSocName() -> *const c_char;
                aclrtGetRunMode(mode: *mut u32) -> AclError;
                aclGetDeviceCapability(device: u32, info: i32, value: *mut i64) -> AclError;
                aclrtSynchronizeDevice() -> AclError;
                aclrtSynchronizeDeviceWithTimeout(timeout_ms: i32) -> AclError;
                aclrtDeviceCanAccessPeer(can: *mut i32, device: i32, peer: i32) -> AclError;
                aclrtDeviceEnablePeerAccess(peer: i32, flags: u32) -> AclError;
                aclrtDeviceDisablePeerAccess(peer: i32) -> AclError;
                aclrtCreateContext(context: *mut AclContext, device: i32) -> AclError;
                aclrtDestroyContext(context: AclContext) -> AclError;
                aclrtSetCurrentContext(context: AclContext) -> AclError;
                aclrtGetCurrentContext(context: *mut AclContext) -> AclError;
                aclrtCreateStream(stream: *mut AclStream) -> AclError;
                aclrtCreateStreamWithConfig(stream: *mut AclStream, priority: u32, flag: u32) -> AclError;
                aclrtDestroyStream(stream: AclStream) -> AclError;
                aclrtDestroyStreamForce(stream: AclStream) -> AclError;
                aclrtSynchronizeStream(stream: AclStream) -> AclError;
                aclrtSynchronizeStreamWithTimeout(stream: AclStream, timeout_ms: i32) -> AclError;
                aclrtStreamQuery(stream: AclStream, status: *mut u32) -> AclError;
                aclrtStreamWaitEvent(stream: AclStream, event: AclEvent) -> AclError;
                aclrtSetStreamFailureMode(stream: AclStream, mode: u64) -> AclError;
                aclrtStreamAbort(stream: AclStream) -> AclError;
                aclrtCreateEvent(event: *mut AclEvent) -> AclError;
                aclrtCreateEventWithFlag(event: *mut AclEvent, flag: u32) -> AclError;
                aclrtCreateEventExWithFlag(event: *mut AclEvent, flag: u32) -> AclError;
                aclrtDestroyEvent(event: AclEvent) -> AclError;
                aclrtRecordEvent(event: AclEvent, stream: AclStream) -> AclError;
                aclrtResetEvent(event: AclEvent, stream: AclStream) -> AclError;
                aclrtQueryEventStatus(event: AclEvent, status: *mut u32) -> AclError;
                aclrtQueryEventWaitStatus(event: AclEvent, status: *mut u32) -> AclError;
                aclrtSynchronizeEvent(event: AclEvent) -> AclError;
                aclrtSynchronizeEventWithTimeout(event: AclEvent, timeout_ms: i32) -> AclError;
                aclrtEventElapsedTime(ms: *mut f32, start: AclEvent, end: AclEvent) -> AclError;
                aclrtEventGetTimestamp(event: AclEvent, timestamp: *mut u64) -> AclError;
                aclrtMalloc(ptr: *mut *mut c_void, size: usize, policy: u32) -> AclError;
                aclrtFree(ptr: *mut c_void) -> AclError;
                aclrtMallocHost(ptr: *mut *mut c_void, size: usize) -> AclError;
                aclrtFreeHost(ptr: *mut c_void) -> AclError;
                aclrtMemcpy(
                    dst: *mut c_void, dest_max: usize, src: *const c_void, count: usize, kind: u32) -> AclError;
                aclrtMemcpyAsync(
                    dst: *mut c_void, dest_max: usize, src: *const c_void, count: usize, kind: u32,
                    stream: AclStream) -> AclError;
                aclrtMemcpy2d(
                    dst: *mut c_void, dst_pitch: usize, src: *const c_void, src_pitch: usize, width: usize,
                    height: usize, kind: u32) -> AclError;
                aclrtMemcpy2dAsync(
                    dst: *mut c_void, dst_pitch: usize, src: *const c_void, src_pitch: usize, width: usize,
                    height: usize, kind: u32, stream: AclStream) -> AclError;
                aclrtMemset(ptr: *mut c_void, max_count: usize, value: i32, count: usize) -> AclError;
                aclrtMemsetAsync(
                    ptr: *mut c_void, max_count: usize, value: i32, count: usize, stream: AclStream) -> AclError;
                aclrtGetMemInfo(attr: u32, free: *mut usize, total: *mut usize) -> AclError;
                aclrtPointerGetAttributes(ptr: *const c_void, attributes: *mut PtrAttributes) -> AclError;
                aclrtCreateBinary(data: *const c_void, len: usize) -> AclBinary;
                aclrtDestroyBinary(binary: AclBinary) -> AclError;
                aclrtBinaryLoad(binary: AclBinary, handle: *mut AclBinHandle) -> AclError;
                aclrtBinaryLoadFromFile(
                    path: *const c_char, options: *mut LoadOptions, handle: *mut AclBinHandle) -> AclError;
                aclrtBinaryUnLoad(handle: AclBinHandle) -> AclError;
                aclrtBinaryGetFunction(
                    handle: AclBinHandle, name: *const c_char, function: *mut AclFuncHandle) -> AclError;
                aclrtKernelArgsInit(function: AclFuncHandle, args: *mut AclArgsHandle) -> AclError;
                aclrtKernelArgsInitByUserMem(
                    function: AclFuncHandle, args: AclArgsHandle, memory: *mut c_void, size: usize) -> AclError;
                aclrtKernelArgsGetMemSize(
                    function: AclFuncHandle, user_size: usize, actual: *mut usize) -> AclError;
                aclrtKernelArgsGetHandleMemSize(function: AclFuncHandle, size: *mut usize) -> AclError;
                aclrtKernelArgsAppend(
                    args: AclArgsHandle, param: *mut c_void, size: usize, handle: *mut AclParamHandle) -> AclError;
                aclrtKernelArgsAppendPlaceHolder(args: AclArgsHandle, handle: *mut AclParamHandle) -> AclError;
                aclrtKernelArgsGetPlaceHolderBuffer(
                    args: AclArgsHandle, handle: AclParamHandle, size: usize, buffer: *mut *mut c_void) -> AclError;
                aclrtKernelArgsParaUpdate(
                    args: AclArgsHandle, handle: AclParamHandle, param: *mut c_void, size: usize) -> AclError;
                aclrtKernelArgsFinalize(args: AclArgsHandle) -> AclError;
                aclrtLaunchKernel(
                    function: AclFuncHandle, blocks: u32, args_data: *const c_void, args_size: usize,
                    stream: AclStream) -> AclError;
                aclrtLaunchKernelWithConfig(
                    function: AclFuncHandle, blocks: u32, stream: AclStream, cfg: *mut LaunchCfg,
                    args: AclArgsHandle, reserve: *mut c_void) -> AclError;
            }
            optional {
                aclrtBinaryLoadFromData(
                    data: *const c_void, len: usize, options: *const LoadOptions,
                    handle: *mut AclBinHandle) -> AclError;
                aclrtLaunchKernelV2(
                    function: AclFuncHandle, blocks: u32, args_data: *const c_void, args_size: usize,
                    cfg: *mut LaunchCfg, stream: AclStream) -> AclError;
                aclrtLaunchKernelWithHostArgs(
                    function: AclFuncHandle, blocks: u32, stream: AclStream, cfg: *mut LaunchCfg,
                    host_args: *mut c_void, args_size: usize, place_holders: *mut PlaceHolderInfo,
                    num_place_holders: usize) -> AclError;
                aclrtLaunchHostFunc(stream: AclStream, func: AclHostFunc, args: *mut c_void) -> AclError;
                aclmdlRICaptureBegin(stream: AclStream, mode: u32) -> AclError;
                aclmdlRICaptureGetInfo(stream: AclStream, status: *mut u32, model: *mut AclModelRi) -> AclError;
                aclmdlRICaptureEnd(stream: AclStream, model: *mut AclModelRi) -> AclError;
                aclmdlRIExecuteAsync(model: AclModelRi, stream: AclStream) -> AclError;
                aclmdlRIDestroy(model: AclModelRi) -> AclError;
            }
        }
    };
}

acl_functions!(define_table(AclTable, "The ACL functions."));
acl_functions!(check_signatures(acl, later));
