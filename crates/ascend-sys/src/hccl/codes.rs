//! Result codes of the HCCL functions (acl-runtime.md 4.1).

use super::HcclResult;
use crate::bindings::hccl::*;
use crate::codes::codes;

codes! { HcclResult;
    /// Success.
    SUCCESS = HCCL_SUCCESS, "success";
    /// A wrong argument.
    PARA = HCCL_E_PARA, "parameter error";
    /// A null pointer.
    PTR = HCCL_E_PTR, "empty pointer";
    /// Out of memory, or a memory error.
    MEMORY = HCCL_E_MEMORY, "memory error";
    /// The library is at fault.
    INTERNAL = HCCL_E_INTERNAL, "internal error";
    /// Feature not supported.
    NOT_SUPPORT = HCCL_E_NOT_SUPPORT, "feature not supported";
    /// Something named does not exist.
    NOT_FOUND = HCCL_E_NOT_FOUND, "resource not found";
    /// Something is not available.
    UNAVAIL = HCCL_E_UNAVAIL, "resource unavailable";
    /// A system call failed.
    SYSCALL = HCCL_E_SYSCALL, "system call failed";
    /// A rank did not come, or did not answer.
    TIMEOUT = HCCL_E_TIMEOUT, "timeout";
    /// A file could not be opened.
    OPEN_FILE_FAILURE = HCCL_E_OPEN_FILE_FAILURE, "file open failed";
    /// Connecting to a rank failed.
    TCP_CONNECT = HCCL_E_TCP_CONNECT, "TCP connect failed";
    /// Connecting to a rank over RDMA failed.
    ROCE_CONNECT = HCCL_E_ROCE_CONNECT, "RoCE connect failed";
    /// A TCP transfer failed.
    TCP_TRANSFER = HCCL_E_TCP_TRANSFER, "TCP transfer failed";
    /// An RDMA transfer failed.
    ROCE_TRANSFER = HCCL_E_ROCE_TRANSFER, "RoCE transfer failed";
    /// An ACL call of the library failed.
    RUNTIME = HCCL_E_RUNTIME, "runtime call failed";
    /// A driver call of the library failed.
    DRV = HCCL_E_DRV, "driver call failed";
    /// A profiling call of the library failed.
    PROFILING = HCCL_E_PROFILING, "profiling call failed";
    /// A kernel of the library failed.
    CCE = HCCL_E_CCE, "CCE call failed";
    /// A network call of the library failed.
    NETWORK = HCCL_E_NETWORK, "network call failed";
    /// Worth another try.
    AGAIN = HCCL_E_AGAIN, "try again";
    /// Another rank failed.
    REMOTE = HCCL_E_REMOTE, "error of a remote rank";
    /// The communicator is suspended.
    SUSPENDING = HCCL_E_SUSPENDING, "communicator suspended";
}
