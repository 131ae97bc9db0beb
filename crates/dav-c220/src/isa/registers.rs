//! Instructions of the scalar unit that set registers (`dav-c220.md` 3.10).

use crate::access::{AtomicOp, Dispatch, Elem, Instr, OpInfo, Rate, Registers};

/// An instruction that sets registers.
const fn set(
    mnemonic: &'static str,
    operands: &'static [&'static str],
    run: fn(&mut Registers, &Instr),
) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Register(run),
        operands,
        source: "dav-c220.md 3.10",
        rate: Rate::Scalar,
    }
}

/// Stores of MTE3 and FIX become read-modify-write once both the operation and the type are chosen.
fn atomic(regs: &mut Registers, op: Option<AtomicOp>, elem: Elem) {
    (regs.atomic_op, regs.atomic_elem) = (op, elem);
    regs.atomic = match (op, elem) {
        (Some(op), elem) if elem != Elem::None => Some((op, elem)),
        _ => None,
    };
}

fn atomic_op(regs: &mut Registers, op: AtomicOp) {
    atomic(regs, Some(op), regs.atomic_elem);
}

fn atomic_elem(regs: &mut Registers, elem: Elem) {
    atomic(regs, regs.atomic_op, elem);
}

/// The overload for `half` holds the scale itself. It is kept as the f32 of the same value in the low word,
/// where the u64 form has its f32 scale, so that `vconv_deq` sees one form.
fn deqscale(regs: &mut Registers, instr: &Instr) {
    regs.deqscale = instr.args[0];
    if instr.elem == Elem::F16 {
        let [low, high, ..] = instr.args[0].to_le_bytes();
        regs.deqscale = u64::from(half::f16::from_le_bytes([low, high]).to_f32().to_bits());
    }
}

pub(crate) static OPS: &[OpInfo] = &[
    set("set_vector_mask", &["mask1", "mask0"], |regs, i| regs.mask = [i.args[1], i.args[0]]),
    set("set_mask_norm", &[], |regs, _| regs.counter_mode = false),
    set("set_mask_count", &[], |regs, _| regs.counter_mode = true),
    set("set_atomic_add", &[], |regs, _| atomic_op(regs, AtomicOp::Add)),
    set("set_atomic_max", &[], |regs, _| atomic_op(regs, AtomicOp::Max)),
    set("set_atomic_min", &[], |regs, _| atomic_op(regs, AtomicOp::Min)),
    set("set_atomic_none", &[], |regs, _| atomic(regs, None, Elem::None)),
    set("set_atomic_f32", &[], |regs, _| atomic_elem(regs, Elem::F32)),
    set("set_atomic_f16", &[], |regs, _| atomic_elem(regs, Elem::F16)),
    set("set_atomic_bf16", &[], |regs, _| atomic_elem(regs, Elem::Bf16)),
    set("set_atomic_s32", &[], |regs, _| atomic_elem(regs, Elem::S32)),
    set("set_atomic_s16", &[], |regs, _| atomic_elem(regs, Elem::S16)),
    set("set_atomic_s8", &[], |regs, _| atomic_elem(regs, Elem::S8)),
    set("set_ctrl", &["config"], |regs, i| regs.ctrl = i.args[0]),
    set("set_fmatrix", &["config"], |regs, i| regs.fmatrix = i.args[0]),
    set("set_nd_para", &["config"], |regs, i| regs.nd_para = i.args[0]),
    set("set_quant_pre", &["config"], |regs, i| regs.quant_pre = i.args[0]),
    set("set_fpc", &["config"], |regs, i| regs.fpc = i.args[0]),
    set("set_padding", &["config"], |regs, i| regs.padding = i.args[0]),
    set("set_l3d_rpt", &["config"], |regs, i| regs.l3d_rpt = i.args[0]),
    set("set_mov_pad_val", &["config"], |regs, i| regs.mov_pad_val = i.args[0]),
    set("set_deqscale", &["config"], deqscale),
];
