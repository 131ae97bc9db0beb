//! What the machine knows of an intrinsic by its name.

use super::{Exec, Instr, Pipe, Registers, Stop};

/// What the dispatcher does with an intrinsic.
#[derive(Clone, Copy)]
pub(crate) enum Dispatch {
    /// Queued on a pipe and executed in the pipe's order.
    Queued(Pipe, fn(&mut Exec<'_>, &Instr) -> Result<(), Stop>),
    /// Executed by the scalar unit at once; changes registers that later instructions capture.
    Register(fn(&mut Registers, &Instr) -> Result<(), Stop>),
    /// `set_flag(src_pipe, dst_pipe, event)`.
    SetFlag,
    /// `wait_flag(src_pipe, dst_pipe, event)`.
    WaitFlag,
    /// `pipe_barrier(pipe)`.
    PipeBarrier,
    /// `ffts_cross_core_sync(pipe, config)`.
    CrossCoreSet,
    /// `wait_flag_dev(flag_id)`.
    CrossCoreWait,
    /// Scalar instruction without effect on what is modelled (cache maintenance).
    NoEffect,
}

/// One entry of the ISA table.
pub(crate) struct OpInfo {
    /// CANN's name.
    pub(crate) mnemonic: &'static str,
    /// What happens on dispatch.
    pub(crate) dispatch: Dispatch,
    /// Names of the operands in CANN's order, for reports; also fixes their number (the last ones may be optional).
    pub(crate) operands: &'static [&'static str],
    /// Where the semantics come from.
    pub(crate) source: &'static str,
}

impl std::fmt::Debug for OpInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mnemonic)
    }
}
