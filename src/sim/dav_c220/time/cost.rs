//! What an instruction costs its own core (dav-c220.md 5).

use crate::sim::dav_c220::access::{Access, Elem, Instr, Pipe, Space, Touch};
use crate::soc::{GmPath, LocalPath, Timing};

/// Cycles until the pipe takes the next instruction, and from then to the result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) occupancy: f64,
    pub(crate) latency: f64,
}

/// Cost of an instruction of a pipe other than V that does not touch GM. `touched` are its accesses; M does without.
pub(crate) fn local(timing: &Timing, instr: &Instr, pipe: Pipe, touched: &[Touch]) -> Cost {
    match pipe {
        Pipe::M => cube(timing, instr),
        _ => path(timing, instr, touched),
    }
}

/// Operands m, k and n of a Cube instruction; the form with a bias table has an address more before them.
pub(crate) fn cube_extents(instr: &Instr) -> [u64; 3] {
    let first = if instr.num_args == 11 { 4 } else { 3 };
    [instr.args[first], instr.args[first + 1], instr.args[first + 2]]
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
pub(super) fn path_cost(path: &LocalPath, bytes: u64) -> Cost {
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
    if instr.op.mnemonic.starts_with("img2col") {
        cost.latency = local.load3d_latency as f64;
    }
    cost
}

/// The path of a transfer with GM.
pub(crate) fn gm_path(timing: &Timing, instr: &Instr, write: bool, core_side: Space) -> GmPath {
    let gm = &timing.gm;
    match (write, core_side) {
        (false, Space::L1) if instr.op.mnemonic.contains("nd2nz") => gm.to_l1_nd2nz,
        (false, Space::L1) => gm.to_l1,
        (false, Space::L0a | Space::L0b) => gm.to_l0,
        (false, _) => gm.to_ub,
        (true, Space::L0c) => gm.from_l0c,
        (true, Space::L1) => gm.from_l1,
        (true, _) => gm.from_ub,
    }
}
