//! The functions of the 8.1.RC1 headers (`acl/acl.h`, `acl_base.h`, `acl_rt.h`, `hccl/hccl.h`) that the
//! simulator does not have. Each refuses the call, by name, in `aclGetRecentErrMsg`: with code 207000 where
//! it returns a code, and else with the value that its manual page gives for a failure.
//!
//! They are declared without parameters: in the C calling conventions of the supported systems the caller
//! passes and removes arguments, so that a function may leave them alone.

use std::ffi::c_void;
use std::ptr::null_mut;

use ascend_sys::{hccl, AclError};
use fastattention::sim::refuse_call;

use crate::prepare;

/// Exports functions that refuse the call.
macro_rules! refuse {
    ($($ret:ty { $($name:ident)* } => $value:expr;)*) => {
        $($(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> $ret {
                prepare();
                let _code = refuse_call(stringify!($name));
                $value
            }
        )*)*
    };
}

/// Exports functions that refuse the call with its code.
macro_rules! refuse_by_code {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> AclError {
                prepare();
                refuse_call(stringify!($name))
            }
        )*
    };
}

refuse_by_code! {
    aclDestroyDataBuffer
    aclGetTensorDescDimRange
    aclGetTensorDescDimV2
    aclSetTensorConst
    aclSetTensorDynamicInput
    aclSetTensorFormat
    aclSetTensorOriginFormat
    aclSetTensorOriginShape
    aclSetTensorPlaceMent
    aclSetTensorShape
    aclSetTensorShapeRange
    aclSetTensorStorageFormat
    aclSetTensorStorageShape
    aclSetTensorValueRange
    aclTransTensorDescFormat
    aclUpdateDataBuffer
    aclrtBinaryGetFunctionByEntry
    aclrtCmoAsync
    aclrtCtxGetSysParamOpt
    aclrtCtxSetSysParamOpt
    aclrtDestroyGroupInfo
    aclrtDeviceGetBareTgid
    aclrtDeviceTaskAbort
    aclrtFreePhysical
    aclrtGetAllGroupInfo
    aclrtGetDeviceSatMode
    aclrtGetDeviceUtilizationRate
    aclrtGetFunctionAddr
    aclrtGetGroupCount
    aclrtGetGroupInfoDetail
    aclrtGetMemUceInfo
    aclrtGetMemcpyDescSize
    aclrtGetOverflowStatus
    aclrtGetStreamOverflowSwitch
    aclrtGetSysParamOpt
    aclrtGetThreadLastTaskId
    aclrtHostRegister
    aclrtHostUnregister
    aclrtMallocForTaskScheduler
    aclrtMallocPhysical
    aclrtMapMem
    aclrtMemExportToShareableHandle
    aclrtMemGetAllocationGranularity
    aclrtMemImportFromShareableHandle
    aclrtMemSetPidToShareableHandle
    aclrtMemUceRepair
    aclrtMemcpyAsyncWithCondition
    aclrtMemcpyAsyncWithDesc
    aclrtProcessHostFunc
    aclrtReleaseMemAddress
    aclrtReserveMemAddress
    aclrtResetOverflowStatus
    aclrtSetDeviceSatMode
    aclrtSetExceptionInfoCallback
    aclrtSetGroup
    aclrtSetMemcpyDesc
    aclrtSetOpExecuteTimeOut
    aclrtSetOpExecuteTimeOutWithMs
    aclrtSetOpWaitTimeout
    aclrtSetStreamOverflowSwitch
    aclrtSetSysParamOpt
    aclrtSetTsDevice
    aclrtSubscribeHostFunc
    aclrtUnSubscribeHostFunc
    aclrtUnmapMem
}

refuse! {
    *mut c_void {
        aclCreateDataBuffer
        aclCreateTensorDesc
        aclGetDataBufferAddr
        aclGetTensorDescAddress
        aclGetTensorDescByIndex
        aclGetTensorDescName
        aclrtCreateGroupInfo
    } => null_mut();
    // Sizes and counts.
    usize {
        aclGetDataBufferSize
        aclGetDataBufferSizeV2
        aclGetTensorDescElementCount
        aclGetTensorDescNumDims
        aclGetTensorDescSize
    } => 0;
    // Data type, format, dimension: "undefined" is -1 in each.
    i64 {
        aclGetTensorDescDim
        aclGetTensorDescFormat
        aclGetTensorDescType
    } => -1;
    // Numbers of an exception, which no callback gets here.
    u32 {
        aclrtGetDeviceIdFromExceptionInfo
        aclrtGetErrorCodeFromExceptionInfo
        aclrtGetStreamIdFromExceptionInfo
        aclrtGetTaskIdFromExceptionInfo
        aclrtGetThreadIdFromExceptionInfo
    } => u32::MAX;
    () {
        aclAppLog
        aclDestroyTensorDesc
        aclSetTensorDescName
    } => ();
    hccl::HcclResult {
        HcclAlltoAll
        HcclAlltoAllV
        HcclAlltoAllVC
        HcclBatchSendRecv
        HcclCommInitClusterInfo
        HcclCommInitClusterInfoConfig
        HcclCreateSubCommConfig
        HcclReduce
        HcclScatter
    } => hccl::codes::NOT_SUPPORT;
}
