//! Synchronisation inside a core and between cores. The machine itself carries these out.

use crate::access::{Dispatch, OpInfo, Rate};

pub(crate) static OPS: &[OpInfo] = &[
    OpInfo {
        mnemonic: "set_flag",
        dispatch: Dispatch::SetFlag,
        operands: &["pipe", "tpipe", "event"],
        source: "dav-c220.md 4.1",
        rate: Rate::Scalar,
    },
    OpInfo {
        mnemonic: "wait_flag",
        dispatch: Dispatch::WaitFlag,
        operands: &["pipe", "tpipe", "event"],
        source: "dav-c220.md 4.1",
        rate: Rate::Scalar,
    },
    OpInfo {
        mnemonic: "pipe_barrier",
        dispatch: Dispatch::PipeBarrier,
        operands: &["pipe"],
        source: "dav-c220.md 4.1",
        rate: Rate::Scalar,
    },
    OpInfo {
        mnemonic: "ffts_cross_core_sync",
        dispatch: Dispatch::CrossCoreSet,
        operands: &["pipe", "config"],
        source: "dav-c220.md 4.3",
        rate: Rate::Scalar,
    },
    OpInfo {
        mnemonic: "wait_flag_dev",
        dispatch: Dispatch::CrossCoreWait,
        operands: &["flag_id"],
        source: "dav-c220.md 4.3",
        rate: Rate::Scalar,
    },
    // ASSUMPTION(scalar-cache): the scalar data cache is taken as coherent, so its maintenance has no
    // effect.
    OpInfo {
        mnemonic: "dcci",
        dispatch: Dispatch::NoEffect,
        operands: &["dst", "entire", "type"],
        source: "dav-c220.md 3.10",
        rate: Rate::Scalar,
    },
    OpInfo {
        mnemonic: "dsb",
        dispatch: Dispatch::NoEffect,
        operands: &["kind"],
        source: "dav-c220.md 3.10",
        rate: Rate::Scalar,
    },
];
