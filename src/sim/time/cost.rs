//! What an instruction costs its own core (dav-c220.md 5).

use super::bank::{self, Blocks};
use crate::sim::addr::Addr;
use crate::sim::instr::{Elem, Instr};
use crate::sim::machine::{Access, Touch};
use crate::sim::{Pipe, Space};
use crate::soc::{GmPath, LocalPath, Timing};

/// Cycles until the pipe takes the next instruction, and from then to the result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) occupancy: f64,
    pub(crate) latency: f64,
}

/// Operand of that name.
fn operand(instr: &Instr, name: &str) -> Option<u64> {
    let at = instr.op.operands.iter().position(|n| *n == name)?;
    (at < instr.num_args as usize).then(|| instr.args[at])
}

/// The first operand whose name is one of these.
fn any_operand(instr: &Instr, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| operand(instr, name))
}

/// Cost of an instruction that does not touch GM. `touched` are its accesses; M and V do without.
pub(crate) fn local(timing: &Timing, instr: &Instr, pipe: Pipe, touched: &[Touch]) -> Cost {
    match pipe {
        Pipe::M => cube(timing, instr),
        Pipe::V => vector(timing, instr),
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

/// Lanes that the widest operand has in a repeat, and repeats with at least one active lane.
fn repeats(instr: &Instr, size: usize) -> (usize, u64) {
    let lanes = 256 / size;
    if instr.regs.counter_mode {
        return (lanes, (instr.regs.mask[0] & 0xffff_ffff).div_ceil(lanes as u64));
    }
    (lanes, operand(instr, "repeat").unwrap_or(1) & 0xff)
}

/// Lanes up to the last active one, in normal mode.
fn active_lanes(instr: &Instr, lanes: usize) -> usize {
    if instr.regs.counter_mode {
        return lanes;
    }
    let mask = u128::from(instr.regs.mask[1]) << 64 | u128::from(instr.regs.mask[0]);
    lanes.min(128 - mask.leading_zeros() as usize)
}

fn vector(timing: &Timing, instr: &Instr) -> Cost {
    let op = timing.vector.op(instr.op.mnemonic);
    if instr.op.mnemonic == "copy_ubuf_to_ubuf" {
        let bytes = instr.args[3] * instr.args[4] * 32;
        return path_cost(&timing.local.ub_to_ub, bytes);
    }
    let narrow = |elem: Elem| elem.bytes().max(1);
    let src_size = narrow(instr.elem);
    let dst_size = if instr.elem_dst == Elem::None { src_size } else { narrow(instr.elem_dst) };
    let size = src_size.max(dst_size);
    let (lanes, repeats) = repeats(instr, size);
    let slope = if size >= 4 { op.b32 } else { op.b16 };
    let active = active_lanes(instr, lanes);
    let blocks = |at: &str, size: usize, strides: [&[&str]; 2]| {
        let addr = operand(instr, at).and_then(Addr::decode).filter(|a| a.space == Space::Ub)?;
        let stride = |names: &[&str]| any_operand(instr, names).map(|s| (s & 0xffff).cast_signed());
        Some(Blocks {
            start: addr.offset.div_euclid(32),
            block_stride: stride(strides[0]).unwrap_or(1),
            repeat_stride: stride(strides[1]).unwrap_or(8),
            count: (active * size).div_ceil(32) as i64,
        })
    };
    let reduces = instr.op.mnemonic.starts_with("vc") && operand(instr, "dstBlockStride").is_none();
    let dst = if reduces || instr.op.mnemonic.starts_with("vcmp") {
        None // Less than a block a repeat.
    } else {
        blocks("dst", dst_size, [&["dstBlockStride", "dstStride"], &["dstRepeatStride", "dstRepeatSize"]])
    };
    let one = [&["srcBlockStride", "srcStride"] as &[&str], &["srcRepeatStride", "srcRepeatSize"]];
    let two = |a: &'static [&'static str], b: &'static [&'static str]| [a, b];
    let sources: Vec<Blocks> = [
        (!matches!(instr.op.mnemonic, "vbrcb" | "vgather" | "vgatherb"))
            .then(|| blocks("src", src_size, one))
            .flatten(),
        blocks("src0", src_size, two(&["src0BlockStride"], &["src0RepeatStride"])),
        blocks("src1", src_size, two(&["src1BlockStride"], &["src1RepeatStride"])),
    ]
    .into_iter()
    .flatten()
    .collect();
    let busy = bank::cycles(dst, &sources, repeats, slope) + op.head as f64;
    Cost { occupancy: busy.max(timing.vector.min_occupancy as f64), latency: op.latency as f64 }
}

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
