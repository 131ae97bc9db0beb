//! What an instruction costs its own core (dav-c220.md 5).

use super::gm::GmWay;
use super::vector::VectorCosts;
use crate::access::{Access, Addr, Elem, Instr, Rate, Space, Stop, Touch};
use ascend_soc::{LocalPath, Timing};

/// Cycles until the pipe takes the next instruction, and from then to the result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) occupancy: f64,
    pub(crate) latency: f64,
}

/// Operands m, k and n of a Cube instruction.
pub(crate) fn cube_extents(instr: &Instr) -> [u64; 3] {
    let first = 3 + usize::from(has_bias(instr));
    [instr.args[first], instr.args[first + 1], instr.args[first + 2]]
}

/// The costs of the instructions of one kernel.
#[derive(Debug)]
pub(crate) struct Costs {
    timing: &'static Timing,
    vector: VectorCosts,
}

impl Costs {
    pub(crate) fn new(timing: &'static Timing) -> Self {
        Self { timing, vector: VectorCosts::new(timing) }
    }

    /// Cost of an instruction that does not touch GM. `touched` are its accesses; only those of transfers
    /// count.
    ///
    /// # Errors
    /// When the SoC's description has no rate for it.
    pub(crate) fn of(&mut self, instr: &Instr, touched: &[Touch]) -> Result<Cost, Stop> {
        Ok(match instr.op.rate {
            Rate::Vector { entry, operands } => self.vector.cost(instr, entry, operands)?,
            Rate::Cube => cube(self.timing, instr),
            Rate::Path | Rate::PathNd2nz | Rate::PathLoad3d => path(self.timing, instr, touched),
            Rate::PathUb => path_ub(self.timing, instr),
            Rate::Scalar => {
                let mnemonic = instr.op.mnemonic;
                return Err(Stop::Defect(format!("{mnemonic} is queued at a rate of the scalar unit")));
            }
        })
    }
}

/// Does the instruction of the Cube have a bias table, whose address comes before the extents?
pub(crate) fn has_bias(instr: &Instr) -> bool {
    instr.op.rate == Rate::Cube && instr.num_args == 11
}

/// `mad`: products of 16 x 16 x 16; f32 takes four cycles for each (cube_k 4), int8 half a cycle.
fn cube(timing: &Timing, instr: &Instr) -> Cost {
    let [m, k, n] = cube_extents(instr);
    let blocks = |extent: u64| extent.div_ceil(16) as f64;
    let products = blocks(m) * blocks(n) * blocks(k);
    let cycles = match instr.elem {
        Elem::F32 => 4.0 * products,
        Elem::S8 | Elem::U8 => blocks(m) * blocks(n) * k.div_ceil(32) as f64,
        _ => products,
    };
    Cost { occupancy: timing.cube.head as f64 + cycles, latency: timing.cube.latency as f64 }
}

/// A transfer of `bytes` on a path.
fn path_cost(path: &LocalPath, bytes: u64) -> Cost {
    Cost { occupancy: (bytes as f64 / path.bytes_per_cycle).max(1.0), latency: path.latency as f64 }
}

/// Transfers between on-chip memories, and fills: by the bytes that they write.
fn path(timing: &Timing, instr: &Instr, touched: &[Touch]) -> Cost {
    let Some(to) = touched.iter().find(|t| t.access != Access::Read).map(|t| t.addr.space) else {
        return Cost { occupancy: 1.0, latency: 0.0 };
    };
    let written = touched.iter().filter(|t| t.access != Access::Read);
    let bytes = written.map(|t| t.len * t.count).sum();
    let local = &timing.local;
    let mut cost = match to {
        Space::L0a => path_cost(&local.l1_to_l0a, bytes),
        Space::L0b => path_cost(&local.l1_to_l0b, bytes),
        Space::Bt => path_cost(&local.l1_to_bt, bytes),
        Space::Fb => path_cost(&local.l1_to_fb, bytes),
        Space::L1 => path_cost(&local.l0c_to_l1, bytes),
        Space::Ub | Space::L0c | Space::Gm => path_cost(&local.ub_to_ub, bytes),
    };
    if instr.op.rate == Rate::PathLoad3d {
        cost.latency = local.load3d_latency as f64;
    }
    cost
}

/// A copy within UB, by the bursts that its operands name: it is known without executing it.
fn path_ub(timing: &Timing, instr: &Instr) -> Cost {
    path_cost(&timing.local.ub_to_ub, instr.args[3] * instr.args[4] * 32)
}

/// How a transfer with GM goes.
pub(crate) fn gm_way(timing: &Timing, instr: &Instr, write: bool, core_side: Space) -> GmWay {
    let gm = &timing.gm;
    let is_nd2nz = instr.op.rate == Rate::PathNd2nz;
    let path = match (write, core_side) {
        (false, Space::L1) if is_nd2nz => gm.to_l1_nd2nz,
        (false, Space::L1) => gm.to_l1,
        (false, Space::L0a | Space::L0b) => gm.to_l0,
        (false, _) => gm.to_ub,
        (true, Space::L0c) => gm.from_l0c,
        (true, Space::L1) => gm.from_l1,
        (true, _) => gm.from_ub,
    };
    GmWay {
        path,
        write,
        unaligned: is_nd2nz.then_some(gm.unaligned_nd2nz_bytes_per_cycle),
        hbm_bytes_per_cycle: match core_side {
            Space::Ub => gm.hbm_bytes_per_cycle,
            _ => gm.aic_hbm_bytes_per_cycle,
        },
        // Source or destination, whichever lies in GM.
        is_past_l2: instr.args[..2].iter().any(|raw| Addr::is_past_l2(*raw)),
    }
}
