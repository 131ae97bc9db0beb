//! What a run counts.

/// What an instruction is to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `mma.sync.m8n8k4`: one is four products of 8 x 8 x 4.
    Mma,
    /// A load from shared memory.
    SharedLoad,
    /// A store to shared memory.
    SharedStore,
    /// A load from global memory.
    GlobalLoad,
    /// A store to global memory.
    GlobalStore,
    /// Everything else.
    Other,
}

/// Counts of one instruction of the text, over all warps of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionCount {
    /// Line of the PTX, from 1.
    pub line: u32,
    /// The line's text.
    pub text: String,
    /// What it is.
    pub kind: Kind,
    /// How often a warp executed it with at least one lane.
    pub executed: u64,
    /// Shared-memory wavefronts: what the banks need.
    pub wavefronts: u64,
    /// The fewest wavefronts that accesses of this width by these lanes can take.
    pub least_wavefronts: u64,
    /// Sectors of 32 bytes of global memory, each counted once an execution.
    pub sectors: u64,
}

/// Counts of a run, by instruction in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// One entry an instruction.
    pub instructions: Vec<InstructionCount>,
}

impl Counters {
    /// Warp instructions of that kind.
    #[must_use]
    pub fn executed(&self, kind: Kind) -> u64 {
        self.sum(kind, |count| count.executed)
    }

    /// Wavefronts of the accesses of that kind. For loads and stores of shared memory they are the profiler's
    /// `l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum` and `.._op_st.sum`.
    #[must_use]
    pub fn wavefronts(&self, kind: Kind) -> u64 {
        self.sum(kind, |count| count.wavefronts)
    }

    /// Sectors of global memory of that kind.
    #[must_use]
    pub fn sectors(&self, kind: Kind) -> u64 {
        self.sum(kind, |count| count.sectors)
    }

    /// Warp instructions of all kinds.
    #[must_use]
    pub fn warp_instructions(&self) -> u64 {
        self.instructions.iter().map(|count| count.executed).sum()
    }

    /// Accesses of shared memory that took more wavefronts than their width asks for.
    pub fn conflicts(&self) -> impl Iterator<Item = &InstructionCount> {
        self.instructions.iter().filter(|count| count.wavefronts > count.least_wavefronts)
    }

    fn sum(&self, kind: Kind, of: impl Fn(&InstructionCount) -> u64) -> u64 {
        self.instructions.iter().filter(|count| count.kind == kind).map(of).sum()
    }
}
