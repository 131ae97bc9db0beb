//! What the machine knows of an intrinsic by its name.

use super::{Exec, Instr, Pipe, Registers, Stop};

/// What the dispatcher does with an intrinsic.
#[derive(Clone, Copy)]
pub(crate) enum Dispatch {
    /// Queued on a pipe and executed in the pipe's order.
    Queued(Pipe, Semantic),
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
    /// Names of the operands in CANN's order, for reports; also fixes their number (the last ones may be
    /// optional).
    pub(crate) operands: &'static [&'static str],
    /// Where the semantics come from.
    pub(crate) source: &'static str,
    /// What it costs in model time.
    pub(crate) rate: Rate,
}

/// What an instruction does, once it executes.
pub(crate) type Semantic = fn(&mut Exec<'_>, &Instr) -> Result<(), Stop>;

/// What an instruction costs in model time: the class that tells how, and where its rate stands in the SoC's
/// description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// An instruction of the scalar unit: `timing.control`.
    Scalar,
    /// An instruction of the vector unit, by its repeats: an entry of `timing.vector.ops`, or
    /// `timing.vector.other` where it says that no figure is published.
    Vector { entry: Option<&'static str>, banks: Banks },
    /// An instruction of the Cube, by its products: `timing.cube`.
    Cube,
    /// A transfer or a fill, by the memories that it touches: `timing.local`, `timing.gm`.
    Path,
    /// The same where data change from ND to NZ on the way from GM.
    PathNd2nz,
    /// The same with the latency of LoadData 3D.
    PathLoad3d,
    /// A copy within UB, by the bursts that its operands name.
    PathUb,
}

/// Which operands of a vector instruction compete for banks of UB, block by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Banks {
    All,
    /// The result of a repeat is less than a block.
    Sources,
    /// Sources are read element by element, or one block for many repeats.
    Destination,
}

impl OpInfo {
    /// An instruction of the vector unit, at the rate that is listed under its own name.
    pub(crate) const fn vector(
        mnemonic: &'static str,
        operands: &'static [&'static str],
        source: &'static str,
        run: Semantic,
    ) -> OpInfo {
        let rate = Rate::Vector { entry: Some(mnemonic), banks: Banks::All };
        OpInfo { mnemonic, dispatch: Dispatch::Queued(Pipe::V, run), operands, source, rate }
    }

    /// The same at another rate.
    pub(crate) const fn at(self, rate: Rate) -> OpInfo {
        OpInfo { rate, ..self }
    }

    /// The same vector instruction at the rate that is listed under another name.
    pub(crate) const fn like(self, entry: &'static str) -> OpInfo {
        self.at(Rate::Vector { entry: Some(entry), banks: Banks::All })
    }

    /// The same vector instruction, of whose rate no figure is published.
    pub(crate) const fn unpublished(self) -> OpInfo {
        self.at(Rate::Vector { entry: None, banks: Banks::All })
    }
}

impl std::fmt::Debug for OpInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mnemonic)
    }
}
