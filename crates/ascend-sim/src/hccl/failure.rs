//! Why a communicator stopped, and the codes of two libraries that say so.

use ascend_sys::hccl::HcclResult;
use ascend_sys::{codes, AclError};
use serde::{Deserialize, Serialize};

use crate::acl::border::{Outcome, Refusal};

pub(super) use ascend_sys::hccl::codes as result;

/// The first thing that went wrong in a communicator. All ranks get it, and nothing runs after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    /// Ranks asked for different things.
    Mismatch,
    /// A rank did not come in time.
    Timeout,
    /// A rank's work was dropped, it destroyed its communicator, or its process ended.
    RankLost,
    /// The host has no memory for the data.
    NoMemory,
    /// A defect of the simulator.
    Defect,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) text: String,
}

impl Failure {
    /// The host has no memory for `bytes` bytes of data.
    pub(super) fn no_memory(bytes: usize) -> Failure {
        Failure {
            cause: Cause::NoMemory,
            text: format!("the host has no memory for {bytes} bytes of the data"),
        }
    }

    /// What HCCL functions return.
    pub(super) fn result(&self) -> HcclResult {
        match self.cause {
            Cause::Mismatch => result::PARA,
            Cause::Timeout => result::TIMEOUT,
            Cause::RankLost => result::REMOTE,
            Cause::NoMemory => result::MEMORY,
            Cause::Defect => result::INTERNAL,
        }
    }

    /// Refusal of a call.
    pub(super) fn of_call(&self) -> Refusal {
        Refusal { code: code_of(self.result()), text: self.text.clone() }
    }

    /// Refusal of a call to a communicator that has failed before.
    pub(super) fn of_later_call(&self, communicator: &str) -> Refusal {
        let text = format!("communicator {communicator} has failed: {}", self.text);
        Failure { cause: self.cause, text }.of_call()
    }

    /// Failure of the work on a stream.
    ///
    /// ASSUMPTION(hccl-stream-codes): the user guide names EI0002 (a rank did not come, also when it failed)
    /// and EI0005 (arguments differ), not the codes with which a stream then fails.
    pub(super) fn of_work(&self) -> Refusal {
        let (code, vendor) = match self.cause {
            Cause::Mismatch => (codes::RT_PARAM_INVALID, "EI0005: "),
            Cause::Timeout | Cause::RankLost => (codes::RT_FFTS_TIMEOUT, "EI0002: "),
            Cause::NoMemory => (codes::RT_MEMORY_ALLOCATION, ""),
            Cause::Defect => (codes::INTERNAL_ERROR, ""),
        };
        Refusal { code, text: format!("{vendor}{}", self.text) }
    }
}

/// HCCL's codes travel as they are through the border of the ACL functions, whose own codes begin at 100000.
fn code_of(result: HcclResult) -> AclError {
    AclError::try_from(result).unwrap_or(codes::INTERNAL_ERROR)
}

/// Refusal of a call with a code of HCCL.
pub(super) fn refusal(result: HcclResult, text: impl Into<String>) -> Refusal {
    Refusal { code: code_of(result), text: text.into() }
}

/// Refuses a call with a code of HCCL.
pub(super) fn refuse<T>(result: HcclResult, text: impl Into<String>) -> Outcome<T> {
    Err(refusal(result, text))
}

/// What an HCCL function returns for a refusal of any layer.
pub(super) fn result_of(code: AclError) -> HcclResult {
    match code {
        codes::RT_PARAM_INVALID | codes::INVALID_PARAM => result::PARA,
        codes::RT_INVALID_HANDLE => result::PTR,
        codes::INTERNAL_ERROR => result::INTERNAL,
        _ => HcclResult::try_from(code).ok().filter(|&own| own < 100_000).unwrap_or(result::RUNTIME),
    }
}
