//! The HCCL functions: names and signatures written once.
//!
//! All exist in the 8.1.RC1 headers. `optional` ones are absent from older libraries, and nothing depends on
//! them. Collectives return when their work is queued on the stream. Creating a communicator is collective,
//! and waits.

use std::ffi::{c_char, c_void};

use super::types::*;
use crate::table::{check_signatures, define_table};
use crate::AclStream;

/// Calls a macro with the list of functions; tokens after its name are passed before the list.
#[doc(hidden)]
#[macro_export]
macro_rules! hccl_functions {
    ($callback:ident $($prefix:tt)*) => {
        $callback! { $($prefix)*
            required {
                HcclGetRootInfo(root_info: *mut HcclRootInfo) -> HcclResult;
                HcclCommInitRootInfo(
                    num_ranks: u32, root_info: *const HcclRootInfo, rank: u32, comm: *mut HcclComm) -> HcclResult;
                HcclCommInitAll(num_devices: u32, devices: *mut i32, comms: *mut HcclComm) -> HcclResult;
                HcclCommDestroy(comm: HcclComm) -> HcclResult;
                HcclGetRankSize(comm: HcclComm, num_ranks: *mut u32) -> HcclResult;
                HcclGetRankId(comm: HcclComm, rank: *mut u32) -> HcclResult;
                HcclGetCommName(comm: HcclComm, name: *mut c_char) -> HcclResult;
                HcclGetCommAsyncError(comm: HcclComm, error: *mut HcclResult) -> HcclResult;
                HcclGetErrorString(code: HcclResult) -> *const c_char;
                HcclAllReduce(
                    send: *mut c_void, recv: *mut c_void, count: u64, data_type: HcclDataType, op: HcclReduceOp,
                    comm: HcclComm, stream: AclStream) -> HcclResult;
                HcclReduceScatter(
                    send: *mut c_void, recv: *mut c_void, recv_count: u64, data_type: HcclDataType,
                    op: HcclReduceOp, comm: HcclComm, stream: AclStream) -> HcclResult;
                HcclAllGather(
                    send: *mut c_void, recv: *mut c_void, send_count: u64, data_type: HcclDataType,
                    comm: HcclComm, stream: AclStream) -> HcclResult;
                HcclBroadcast(
                    buffer: *mut c_void, count: u64, data_type: HcclDataType, root: u32, comm: HcclComm,
                    stream: AclStream) -> HcclResult;
                HcclSend(
                    buffer: *mut c_void, count: u64, data_type: HcclDataType, dest_rank: u32, comm: HcclComm,
                    stream: AclStream) -> HcclResult;
                HcclRecv(
                    buffer: *mut c_void, count: u64, data_type: HcclDataType, src_rank: u32, comm: HcclComm,
                    stream: AclStream) -> HcclResult;
                HcclBarrier(comm: HcclComm, stream: AclStream) -> HcclResult;
            }
            optional {
                HcclCommInitRootInfoConfig(
                    num_ranks: u32, root_info: *const HcclRootInfo, rank: u32, config: *const HcclCommConfig,
                    comm: *mut HcclComm) -> HcclResult;
            }
        }
    };
}

hccl_functions!(define_table(HcclTable, "The HCCL functions."));
hccl_functions!(check_signatures(hccl, hccl));
