//! Rates and latencies of a SoC: what the simulator's model time and the planner's estimates are made of.
//!
//! Every figure is in `cann.toml` with its source. Cycles are those of the AI core's clock. Fitted on
//! published measurements of the 910B series only; nothing here was measured by this project.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Timing of one SoC.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Launch, scalar unit and flags.
    pub control: Control,
    /// The Cube.
    pub cube: Cube,
    /// The vector unit.
    pub vector: Vector,
    /// Paths between on-chip memories.
    pub local: LocalPaths,
    /// Paths between GM and a core.
    pub gm: GmPaths,
    /// L2, as far as all SoCs have it alike.
    pub l2: L2Rules,
    /// HBM, as far as all SoCs have it alike.
    pub hbm: HbmRules,
    /// L2 and HBM, which all cores share. Given per SoC.
    #[serde(skip)]
    pub memory: SharedMemory,
}

/// Launch, scalar unit and flags, in cycles unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Microseconds of a task outside its cores: dispatch before the first one starts and completion after
    /// the last one has ended.
    pub launch_us: f64,
    /// Share of that which a launch by a graph takes.
    pub graph_launch_share: f64,
    /// Further ones of a kernel of Cube cores with vector cores.
    pub mix_launch_us: f64,
    /// Microseconds from the start of a core, or of an AIC with its AIVs, to that of the next one.
    pub core_start_us: f64,
    /// The scalar unit of a Cube core, from its start to the kernel's own code.
    pub aic_prologue: u64,
    /// The same of a vector core.
    pub aiv_prologue: u64,
    /// From the end of a block to the start of the next one on the same core.
    pub block_dispatch: u64,
    /// The scalar unit, for each instruction that it puts into a queue.
    pub issue: u64,
    /// The scalar unit, for each instruction that only sets a register.
    pub register: u64,
    /// The scalar unit, for a load from GM that its cache lacks.
    pub scalar_miss: u64,
    /// From the completion that a `set_flag` waits for to the end of the `wait_flag`.
    pub flag: u64,
    /// The same for a cross-core flag within a group (modes 1 and 2).
    pub cross_group: u64,
    /// The same for a cross-core flag of all cores (mode 0).
    pub cross_all: u64,
}

impl Control {
    /// Microseconds of a task outside its cores: of a kernel of Cube cores with vector cores, or of one kind
    /// of core.
    pub fn task_launch_us(&self, is_mix: bool) -> f64 {
        self.launch_us + if is_mix { self.mix_launch_us } else { 0.0 }
    }

    /// The scalar unit of a core, from its start to the kernel's own code.
    pub fn prologue(&self, is_aic: bool) -> u64 {
        if is_aic {
            self.aic_prologue
        } else {
            self.aiv_prologue
        }
    }

    /// Cycles from the start of a core to where it knows what to do: its prologue, and so many bytes of
    /// tiling data, which the scalar unit reads line by line of its cache.
    pub fn begin(&self, is_aic: bool, tiling_bytes: usize) -> f64 {
        let read =
            tiling_bytes.div_ceil(64) as u64 * self.scalar_miss + (tiling_bytes / 4) as u64 * self.register;
        (self.prologue(is_aic) + read) as f64
    }

    /// Microseconds from the start of the first of so many cores, or groups of an AIC and its AIVs, to that
    /// of the last one.
    pub fn starts_us(&self, cores: u32) -> f64 {
        f64::from(cores.saturating_sub(1)) * self.core_start_us
    }
}

/// The Cube: an instruction takes `head` + one cycle for each 16 x 16 x 16 product of 16-bit operands.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cube {
    /// Cycles of an instruction beyond its products.
    pub head: u64,
    /// From the last product to the result in L0C.
    pub latency: u64,
}

/// The vector unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Fewest cycles between two instructions.
    pub min_occupancy: u64,
    /// Instructions without published figures.
    pub other: VectorOp,
    /// By the name that the instruction set gives the rate: most often the mnemonic.
    pub ops: BTreeMap<String, VectorOp>,
}

impl Vector {
    /// The rate of that name.
    pub fn rate(&self, name: &str) -> Option<VectorOp> {
        self.ops.get(name).copied()
    }
}

/// One vector instruction: cycles of a repeat of 256 bytes without bank conflicts, and of its result.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorOp {
    /// Cycles of a repeat of 32-bit elements.
    pub b32: f64,
    /// Cycles of a repeat of 16-bit elements.
    pub b16: f64,
    /// Cycles of an instruction beyond its repeats.
    #[serde(default)]
    pub head: u64,
    /// From the last repeat to the result in UB.
    pub latency: u64,
}

/// A path between on-chip memories.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPath {
    /// Bytes moved in a cycle.
    pub bytes_per_cycle: f64,
    /// From the last byte read to the result.
    pub latency: u64,
}

/// Paths between on-chip memories.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPaths {
    /// Bytes of a row of all bank groups of L1: what a write takes there in one cycle.
    pub l1_row_bytes: u64,
    /// LoadData 2D, L1 to L0A.
    pub l1_to_l0a: LocalPath,
    /// LoadData 2D, L1 to L0B.
    pub l1_to_l0b: LocalPath,
    /// Latency of LoadData 3D, whose rates are those of 2D.
    pub load3d_latency: u64,
    /// L1 to the bias table.
    pub l1_to_bt: LocalPath,
    /// L1 to the fixpipe buffer.
    pub l1_to_fb: LocalPath,
    /// Fixpipe, L0C to L1.
    pub l0c_to_l1: LocalPath,
    /// DataCopy within UB.
    pub ub_to_ub: LocalPath,
}

/// A path between GM and a core. A transfer is cut into bursts, and these at the lines of L2, into requests.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GmPath {
    /// Bytes that the core's end moves in a cycle.
    pub bytes_per_cycle: f64,
    /// Fewest cycles between two requests.
    pub request: f64,
    /// Fewest cycles between two instructions.
    pub issue: u64,
    /// From a request to its answer from L2, with nobody else there.
    pub latency: u64,
}

/// Paths between GM and a core.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GmPaths {
    /// GM to UB.
    pub to_ub: GmPath,
    /// GM to L1 as it is.
    pub to_l1: GmPath,
    /// GM to L1 with the ND to NZ layout change.
    pub to_l1_nd2nz: GmPath,
    /// GM to L0A and L0B.
    pub to_l0: GmPath,
    /// UB to GM.
    pub from_ub: GmPath,
    /// L1 to GM.
    pub from_l1: GmPath,
    /// Fixpipe, L0C to GM.
    pub from_l0c: GmPath,
    /// Requests that one pipe of a core has under way at most.
    pub outstanding: usize,
    /// Bytes per cycle that one AIV gets from HBM.
    pub hbm_bytes_per_cycle: f64,
    /// Bytes per cycle that one AIC gets from HBM.
    pub aic_hbm_bytes_per_cycle: f64,
    /// Bytes per cycle of the ND to NZ layout change for a row that does not start at a block of 32 bytes.
    pub unaligned_nd2nz_bytes_per_cycle: f64,
}

/// What L2 does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct L2Rules {
    /// Time of a slice for a request, whatever its size, as a share of its time for a whole line.
    pub request_share: f64,
    /// Cycles after a read during which the same line is a conflict for another core.
    pub same_line_cycles: f64,
    /// Time of a port for such a read, or of HBM where L2 is left out, in times of a read without conflict.
    pub same_line_cost: f64,
}

/// What HBM does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HbmRules {
    /// Cost of a written byte, in read bytes.
    pub write_cost: f64,
    /// What a written byte costs beside that where a read drives it out of L2: the bus turns round.
    pub turn_cost: f64,
    /// Bytes that may wait for HBM, before what drives out more of them waits, too.
    pub write_back_bytes: f64,
    /// Fewest bytes that a request past L2 costs.
    pub past_l2_bytes: f64,
    /// Cycles that a read past L2 takes longer than a miss.
    pub past_l2_latency: u64,
}

/// L2 and HBM of one SoC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedMemory {
    /// GB/s that L2 gives to all cores reading together: what its ports let through.
    pub l2_read_gbps: f64,
    /// Ports of L2. AI core i has port i modulo their number.
    pub l2_ports: usize,
    /// GB/s of the slices of L2 together, for reads of whole lines.
    pub l2_slice_gbps: f64,
    /// Cost of a written line, in read lines.
    pub l2_write_cost: f64,
    /// Parts of L2 that work side by side; a line belongs to one of them.
    pub l2_slices: usize,
    /// Lines of a set.
    pub l2_ways: usize,
    /// GB/s of HBM, for reads; what a written byte costs is in [`HbmRules`].
    pub hbm_gbps: f64,
    /// GB/s at which L2 fills lines from HBM.
    pub hbm_fill_gbps: f64,
    /// Cycles that a miss adds to the latency of a hit.
    pub miss_latency: u64,
}
