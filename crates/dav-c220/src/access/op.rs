//! What the machine knows of an intrinsic by its name.

use super::{Exec, Instr, Pipe, Registers, Stop};

/// What the dispatcher does with an intrinsic.
#[derive(Clone, Copy)]
pub(crate) enum Dispatch {
    /// Queued on a pipe and executed in the pipe's order.
    Queued(Pipe, Semantic),
    /// Executed by the scalar unit at once; changes registers that later instructions capture.
    Register(fn(&mut Registers, &Instr)),
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
    /// An instruction of the vector unit, by its repeats and the blocks of its operands: an entry of
    /// `timing.vector.ops`, or `timing.vector.other` where it says that no figure is published.
    Vector { entry: Option<&'static str>, operands: &'static VectorOperands },
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

/// The operands of a vector instruction: their names, and what they say about its repeats. Numbers are places
/// in the list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorOperands {
    /// In CANN's order.
    pub(crate) names: &'static [&'static str],
    /// How many repeats; `None`: one.
    pub(crate) repeat: Option<usize>,
    /// What is written block by block. Results of less than a block a repeat are not.
    pub(crate) dst: Option<Strided>,
    /// What is read block by block, and not element by element or one block for many repeats.
    pub(crate) sources: &'static [Strided],
}

/// An address and its strides, in blocks: from block to block (`None`: 1) and from repeat to repeat (`None`:
/// 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strided {
    pub(crate) address: usize,
    pub(crate) block_stride: Option<usize>,
    pub(crate) repeat_stride: Option<usize>,
}

impl Strided {
    /// Both strides are operands.
    pub(crate) const fn new(address: usize, block_stride: usize, repeat_stride: usize) -> Strided {
        Strided { address, block_stride: Some(block_stride), repeat_stride: Some(repeat_stride) }
    }

    /// Block lies behind block.
    pub(crate) const fn dense(address: usize) -> Strided {
        Strided { address, block_stride: None, repeat_stride: None }
    }

    /// Block lies behind block within a repeat.
    pub(crate) const fn by_repeats(address: usize, repeat_stride: usize) -> Strided {
        Strided { address, block_stride: None, repeat_stride: Some(repeat_stride) }
    }
}

impl OpInfo {
    /// An instruction of the vector unit, at the rate that is listed under its own name.
    pub(crate) const fn vector(
        mnemonic: &'static str,
        operands: &'static VectorOperands,
        source: &'static str,
        run: Semantic,
    ) -> OpInfo {
        let rate = Rate::Vector { entry: Some(mnemonic), operands };
        OpInfo { mnemonic, dispatch: Dispatch::Queued(Pipe::V, run), operands: operands.names, source, rate }
    }

    /// A transfer or a fill, of a pipe.
    pub(crate) const fn transfer(
        mnemonic: &'static str,
        pipe: Pipe,
        run: Semantic,
        operands: &'static [&'static str],
        source: &'static str,
    ) -> OpInfo {
        OpInfo { mnemonic, dispatch: Dispatch::Queued(pipe, run), operands, source, rate: Rate::Path }
    }

    /// The same at another rate.
    pub(crate) const fn at(self, rate: Rate) -> OpInfo {
        OpInfo { rate, ..self }
    }

    /// The same vector instruction at the rate that is listed under another name.
    pub(crate) const fn like(self, entry: &'static str) -> OpInfo {
        self.rated(Some(entry))
    }

    /// The same vector instruction, of whose rate no figure is published.
    pub(crate) const fn unpublished(self) -> OpInfo {
        self.rated(None)
    }

    const fn rated(self, entry: Option<&'static str>) -> OpInfo {
        let Rate::Vector { operands, .. } = self.rate else { return self };
        self.at(Rate::Vector { entry, operands })
    }
}

impl std::fmt::Debug for OpInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mnemonic)
    }
}
