//! Result codes of the HCCL functions (acl-runtime.md 4.1).

use super::HcclResult;
use crate::driver::codes::codes;

codes! { HcclResult;
    /// Success.
    SUCCESS = 0, "success";
    /// A wrong argument.
    PARA = 1, "parameter error";
    /// A null pointer.
    PTR = 2, "empty pointer";
    /// Out of memory, or a memory error.
    MEMORY = 3, "memory error";
    /// The library is at fault.
    INTERNAL = 4, "internal error";
    /// Feature not supported.
    NOT_SUPPORT = 5, "feature not supported";
    /// Something named does not exist.
    NOT_FOUND = 6, "resource not found";
    /// Something is not available.
    UNAVAIL = 7, "resource unavailable";
    /// A system call failed.
    SYSCALL = 8, "system call failed";
    /// A rank did not come, or did not answer.
    TIMEOUT = 9, "timeout";
    /// A file could not be opened.
    OPEN_FILE_FAILURE = 10, "file open failed";
    /// Connecting to a rank failed.
    TCP_CONNECT = 11, "TCP connect failed";
    /// Connecting to a rank over RDMA failed.
    ROCE_CONNECT = 12, "RoCE connect failed";
    /// A TCP transfer failed.
    TCP_TRANSFER = 13, "TCP transfer failed";
    /// An RDMA transfer failed.
    ROCE_TRANSFER = 14, "RoCE transfer failed";
    /// An ACL call of the library failed.
    RUNTIME = 15, "runtime call failed";
    /// A driver call of the library failed.
    DRV = 16, "driver call failed";
    /// A profiling call of the library failed.
    PROFILING = 17, "profiling call failed";
    /// A kernel of the library failed.
    CCE = 18, "CCE call failed";
    /// A network call of the library failed.
    NETWORK = 19, "network call failed";
    /// Worth another try.
    AGAIN = 20, "try again";
    /// Another rank failed.
    REMOTE = 21, "error of a remote rank";
    /// The communicator is suspended.
    SUSPENDING = 22, "communicator suspended";
}
