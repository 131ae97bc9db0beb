//! Instructions of the scalar unit that set registers (`dav-c220.md` 3.10).

use crate::access::{AtomicOp, Dispatch, Elem, Instr, OpInfo, Rate, Registers, Stop};

/// An instruction that sets registers.
const fn set(
    mnemonic: &'static str,
    operands: &'static [&'static str],
    run: fn(&mut Registers, &Instr) -> Result<(), Stop>,
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
fn update_atomic(regs: &mut Registers) {
    regs.atomic = match (regs.atomic_op, regs.atomic_elem) {
        (Some(op), elem) if elem != Elem::None => Some((op, elem)),
        _ => None,
    };
}

/// Defines a function that chooses the atomic operation or element type.
macro_rules! atomic {
    ($($name:ident: $field:ident = $value:expr;)*) => {$(
        fn $name(regs: &mut Registers, _: &Instr) -> Result<(), Stop> {
            regs.$field = $value;
            update_atomic(regs);
            Ok(())
        }
    )*};
}

atomic! {
    atomic_add: atomic_op = Some(AtomicOp::Add);
    atomic_max: atomic_op = Some(AtomicOp::Max);
    atomic_min: atomic_op = Some(AtomicOp::Min);
    atomic_f32: atomic_elem = Elem::F32;
    atomic_f16: atomic_elem = Elem::F16;
    atomic_bf16: atomic_elem = Elem::Bf16;
    atomic_s32: atomic_elem = Elem::S32;
    atomic_s16: atomic_elem = Elem::S16;
    atomic_s8: atomic_elem = Elem::S8;
}

fn atomic_none(regs: &mut Registers, _: &Instr) -> Result<(), Stop> {
    regs.atomic_op = None;
    regs.atomic_elem = Elem::None;
    update_atomic(regs);
    Ok(())
}

fn vector_mask(regs: &mut Registers, instr: &Instr) -> Result<(), Stop> {
    regs.mask = [instr.args[1], instr.args[0]];
    Ok(())
}

fn mask_norm(regs: &mut Registers, _: &Instr) -> Result<(), Stop> {
    regs.counter_mode = false;
    Ok(())
}

fn mask_count(regs: &mut Registers, _: &Instr) -> Result<(), Stop> {
    regs.counter_mode = true;
    Ok(())
}

/// Defines a function that stores operand 0 in a register.
macro_rules! store {
    ($($name:ident)*) => {$(
        fn $name(regs: &mut Registers, instr: &Instr) -> Result<(), Stop> {
            regs.$name = instr.args[0];
            Ok(())
        }
    )*};
}

store! { ctrl fmatrix nd_para quant_pre fpc padding l3d_rpt mov_pad_val }

/// The overload for `half` holds the scale itself. It is kept as the f32 of the same value in the low word,
/// where the u64 form has its f32 scale, so that `vconv_deq` sees one form.
fn deqscale(regs: &mut Registers, instr: &Instr) -> Result<(), Stop> {
    regs.deqscale = instr.args[0];
    if instr.elem == Elem::F16 {
        let [low, high, ..] = instr.args[0].to_le_bytes();
        regs.deqscale = u64::from(half::f16::from_le_bytes([low, high]).to_f32().to_bits());
    }
    Ok(())
}

pub(crate) static OPS: &[OpInfo] = &[
    set("set_vector_mask", &["mask1", "mask0"], vector_mask),
    set("set_mask_norm", &[], mask_norm),
    set("set_mask_count", &[], mask_count),
    set("set_atomic_add", &[], atomic_add),
    set("set_atomic_max", &[], atomic_max),
    set("set_atomic_min", &[], atomic_min),
    set("set_atomic_none", &[], atomic_none),
    set("set_atomic_f32", &[], atomic_f32),
    set("set_atomic_f16", &[], atomic_f16),
    set("set_atomic_bf16", &[], atomic_bf16),
    set("set_atomic_s32", &[], atomic_s32),
    set("set_atomic_s16", &[], atomic_s16),
    set("set_atomic_s8", &[], atomic_s8),
    set("set_ctrl", &["config"], ctrl),
    set("set_fmatrix", &["config"], fmatrix),
    set("set_nd_para", &["config"], nd_para),
    set("set_quant_pre", &["config"], quant_pre),
    set("set_fpc", &["config"], fpc),
    set("set_padding", &["config"], padding),
    set("set_l3d_rpt", &["config"], l3d_rpt),
    set("set_mov_pad_val", &["config"], mov_pad_val),
    set("set_deqscale", &["config"], deqscale),
];
