//! Functions that this crate does not call and that other people's programs do: the simulator has them, the
//! drop-in library exports them. Levels as in [`super::AclTable`]; a program finds them by linking or by
//! `dlsym`.

use std::ffi::{c_char, c_void};

use super::table::{check_signatures, define_table};
use super::types::*;

/// Calls a macro with the list of functions, as `acl_functions` does.
#[doc(hidden)]
#[macro_export]
macro_rules! client_functions {
    ($callback:ident $($prefix:tt)*) => {
        $callback! { $($prefix)*
            required {
                aclDataTypeSize(data_type: i32) -> usize;
                aclFloat16ToFloat(value: u16) -> f32;
                aclFloatToFloat16(value: f32) -> u16;
                aclsysGetCANNVersion(package: u32, version: *mut CannVersion) -> AclError;
                aclGetCannAttributeList(attributes: *mut *const i32, count: *mut usize) -> AclError;
                aclGetCannAttribute(attribute: i32, value: *mut i32) -> AclError;
                aclrtQueryDeviceStatus(device: i32, status: *mut u32) -> AclError;
                aclrtQueryEvent(event: AclEvent, status: *mut u32) -> AclError;
                aclrtStreamGetId(stream: AclStream, id: *mut i32) -> AclError;
                aclrtCreateStreamConfigHandle() -> *mut StreamConfig;
                aclrtDestroyStreamConfigHandle(config: *mut StreamConfig) -> AclError;
                aclrtSetStreamConfigOpt(
                    config: *mut StreamConfig, attribute: u32, value: *const c_void, size: usize) -> AclError;
                aclrtCreateStreamV2(stream: *mut AclStream, config: *const StreamConfig) -> AclError;
                aclrtSubscribeReport(thread: u64, stream: AclStream) -> AclError;
                aclrtUnSubscribeReport(thread: u64, stream: AclStream) -> AclError;
                aclrtLaunchCallback(
                    func: AclHostFunc, user_data: *mut c_void, block_type: u32, stream: AclStream) -> AclError;
                aclrtProcessReport(timeout_ms: i32) -> AclError;
                aclrtMallocAlign32(ptr: *mut *mut c_void, size: usize, policy: u32) -> AclError;
                aclrtMallocCached(ptr: *mut *mut c_void, size: usize, policy: u32) -> AclError;
                aclrtMallocWithCfg(
                    ptr: *mut *mut c_void, size: usize, policy: u32, cfg: *mut MallocConfig) -> AclError;
                aclrtMallocHostWithCfg(ptr: *mut *mut c_void, size: u64, cfg: *mut MallocConfig) -> AclError;
                aclrtMemFlush(ptr: *mut c_void, size: usize) -> AclError;
                aclrtMemInvalidate(ptr: *mut c_void, size: usize) -> AclError;
            }
            optional {
                aclsysGetVersionStr(package: *mut c_char, version: *mut c_char) -> AclError;
                aclsysGetVersionNum(package: *mut c_char, version: *mut i32) -> AclError;
                aclrtGetDeviceInfo(device: u32, attribute: u32, value: *mut i64) -> AclError;
                aclrtCheckArchCompatibility(soc: *const c_char, compatible: *mut i32) -> AclError;
                aclrtCtxGetCurrentDefaultStream(stream: *mut AclStream) -> AclError;
                aclrtDeviceGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) -> AclError;
                aclrtGetResInCurrentThread(kind: u32, value: *mut u32) -> AclError;
                aclrtGetErrorVerbose(device: i32, info: *mut ErrorInfo) -> AclError;
                aclrtStreamGetPriority(stream: AclStream, priority: *mut u32) -> AclError;
                aclrtStreamGetFlags(stream: AclStream, flags: *mut u32) -> AclError;
                aclrtValueWrite(address: *mut c_void, value: u64, flag: u32, stream: AclStream) -> AclError;
                aclrtValueWait(address: *mut c_void, value: u64, flag: u32, stream: AclStream) -> AclError;
                aclrtReduceAsync(
                    dst: *mut c_void, src: *const c_void, bytes: u64, kind: u32, data_type: i32, stream: AclStream,
                    reserve: *mut c_void) -> AclError;
                aclrtCreateNotify(notify: *mut AclNotify, flag: u64) -> AclError;
                aclrtDestroyNotify(notify: AclNotify) -> AclError;
                aclrtGetNotifyId(notify: AclNotify, id: *mut u32) -> AclError;
                aclrtRecordNotify(notify: AclNotify, stream: AclStream) -> AclError;
                aclrtWaitAndResetNotify(notify: AclNotify, stream: AclStream, timeout_s: u32) -> AclError;
                aclmdlRICaptureThreadExchangeMode(mode: *mut u32) -> AclError;
                aclmdlRIExecute(model: AclModelRi, timeout_ms: i32) -> AclError;
            }
        }
    };
}

client_functions!(define_table(ClientTable, "The ACL functions that this crate does not call."));
client_functions!(check_signatures(acl, later));
