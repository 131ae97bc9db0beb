//! How Fixpipe lays its result out. dav-c220.md 3.6.

use super::transfer::{bad_operand, flag};
use crate::access::{Elem, Exec, FaultKind, Space, Stop};

/// How the result is laid out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    /// Row-major matrices: number, and distances in bytes of L0C and of the destination.
    Nd { count: u64, src_step: u64, dst_step: u64 },
    /// Strips of 16 columns (32 for 8-bit results).
    Nz,
    /// Strips of 8 columns (channelSplit of f32).
    Split,
}

/// Layout bits, and what each allows.
pub(super) fn layout(exec: &Exec<'_>, to: Space, unit_flag: bool, size: u64) -> Result<Layout, Stop> {
    let (n, m) = (exec.arg(3), exec.arg(4));
    let (split, nd) = (flag(exec, 10), flag(exec, 11));
    if nd {
        if to != Space::Gm || split {
            return Err(bad_operand(exec, 11, "0: NZ2ND goes to GM and without channelSplit"));
        }
        if m > 8192 {
            return Err(bad_operand(exec, 4, "0..=8192 with NZ2ND"));
        }
        return nd_layout(exec, size);
    }
    if split {
        let is_float = exec.instr.elem == Elem::F32 && exec.instr.elem_dst == Elem::F32;
        if !is_float || to != Space::Gm || unit_flag {
            return Err(bad_operand(exec, 10, "0: channelSplit takes F32 to F32 into GM without unitFlag"));
        }
        if n % 8 != 0 {
            return Err(bad_operand(exec, 3, "a multiple of 8 with channelSplit"));
        }
        return Ok(Layout::Split);
    }
    if n % 16 != 0 {
        return Err(bad_operand(exec, 3, "a multiple of 16 without NZ2ND"));
    }
    Ok(Layout::Nz)
}

/// `set_nd_para`: ndNum, srcNdStride in fractals of L0C, dstNdStride in elements.
fn nd_layout(exec: &Exec<'_>, size: u64) -> Result<Layout, Stop> {
    let para = exec.instr.regs.nd_para;
    let (count, src_step, dst_step) = (para & 0xffff, para >> 16 & 0xffff, para >> 32 & 0xffff);
    if count == 0 {
        return Err(Stop::fault(
            FaultKind::Operand,
            "ndNum of set_nd_para = 0; wanted at least 1 before a copy with NZ2ND",
        ));
    }
    if src_step > 512 {
        return Err(Stop::fault(
            FaultKind::Operand,
            format!("srcNdStride of set_nd_para = {src_step}; wanted 0..=512"),
        ));
    }
    Ok(Layout::Nd { count, src_step: src_step * 1024, dst_step: dst_step * size })
}
