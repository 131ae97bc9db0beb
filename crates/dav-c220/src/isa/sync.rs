//! Synchronisation inside a core and between cores. The machine itself carries these out.

use crate::access::{Dispatch, OpInfo, Rate};

const fn op(
    mnemonic: &'static str,
    dispatch: Dispatch,
    operands: &'static [&'static str],
    source: &'static str,
) -> OpInfo {
    OpInfo { mnemonic, dispatch, operands, source, rate: Rate::Scalar }
}

pub(crate) static OPS: &[OpInfo] = &[
    op("set_flag", Dispatch::SetFlag, &["pipe", "tpipe", "event"], "dav-c220.md 4.1"),
    op("wait_flag", Dispatch::WaitFlag, &["pipe", "tpipe", "event"], "dav-c220.md 4.1"),
    op("pipe_barrier", Dispatch::PipeBarrier, &["pipe"], "dav-c220.md 4.1"),
    op("ffts_cross_core_sync", Dispatch::CrossCoreSet, &["pipe", "config"], "dav-c220.md 4.3"),
    op("wait_flag_dev", Dispatch::CrossCoreWait, &["flag_id"], "dav-c220.md 4.3"),
    // ASSUMPTION(scalar-cache): the scalar data cache is taken as coherent, so its maintenance has no
    // effect.
    op("dcci", Dispatch::NoEffect, &["dst", "entire", "type"], "dav-c220.md 3.10"),
    op("dsb", Dispatch::NoEffect, &["kind"], "dav-c220.md 3.10"),
];
