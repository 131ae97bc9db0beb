//! Register instructions: each sets its register and nothing else.

use super::*;
use crate::access::{AtomicOp, Registers};

pub(super) const COVERED: &[&str] = &[
    "set_vector_mask",
    "set_mask_norm",
    "set_mask_count",
    "set_atomic_add",
    "set_atomic_max",
    "set_atomic_min",
    "set_atomic_none",
    "set_atomic_f32",
    "set_atomic_f16",
    "set_atomic_bf16",
    "set_atomic_s32",
    "set_atomic_s16",
    "set_atomic_s8",
    "set_ctrl",
    "set_fmatrix",
    "set_nd_para",
    "set_quant_pre",
    "set_fpc",
    "set_padding",
    "set_l3d_rpt",
    "set_mov_pad_val",
    "set_deqscale",
];

fn set(name: &str, args: &[u64]) -> Registers {
    let mut core = TestCore::new();
    core.run(name, Elem::U64, Elem::None, args).unwrap();
    core.regs
}

#[test]
fn values_go_to_their_register_only() {
    let start = Registers::at_entry(true);
    let v = 0x1234_5678_9abc_def0;
    assert_eq!(set("set_ctrl", &[v]), Registers { ctrl: v, ..start });
    assert_eq!(set("set_fmatrix", &[v]), Registers { fmatrix: v, ..start });
    assert_eq!(set("set_nd_para", &[v]), Registers { nd_para: v, ..start });
    assert_eq!(set("set_quant_pre", &[v]), Registers { quant_pre: v, ..start });
    assert_eq!(set("set_fpc", &[v]), Registers { fpc: v, ..start });
    assert_eq!(set("set_padding", &[v]), Registers { padding: v, ..start });
    assert_eq!(set("set_l3d_rpt", &[v]), Registers { l3d_rpt: v, ..start });
    assert_eq!(set("set_mov_pad_val", &[v]), Registers { mov_pad_val: v, ..start });
    assert_eq!(set("set_deqscale", &[v]), Registers { deqscale: v, ..start });
    assert_eq!(set("set_vector_mask", &[7, 9]), Registers { mask: [9, 7], ..start });
    assert_eq!(set("set_mask_count", &[]), Registers { counter_mode: true, ..start });
}

#[test]
fn mask_mode_returns_to_normal() {
    let mut core = TestCore::new();
    core.run("set_mask_count", Elem::None, Elem::None, &[]).unwrap();
    assert!(core.regs.counter_mode);
    core.run("set_mask_norm", Elem::None, Elem::None, &[]).unwrap();
    assert!(!core.regs.counter_mode);
}

#[test]
fn atomic_mode_needs_operation_and_type_in_any_order() {
    let ops = [("add", AtomicOp::Add), ("max", AtomicOp::Max), ("min", AtomicOp::Min)];
    let types = [
        ("f32", Elem::F32),
        ("f16", Elem::F16),
        ("bf16", Elem::Bf16),
        ("s32", Elem::S32),
        ("s16", Elem::S16),
        ("s8", Elem::S8),
    ];
    for (op_name, op) in ops {
        for (elem_name, elem) in types {
            let mut core = TestCore::new();
            let mut run = |name: &str| {
                core.run(&format!("set_atomic_{name}"), Elem::None, Elem::None, &[]).unwrap();
                core.regs.atomic
            };
            assert_eq!(run(op_name), None);
            assert_eq!(run(elem_name), Some((op, elem)));
            assert_eq!(run("none"), None);
            assert_eq!(run(elem_name), None, "`none` forgets the operation");
            assert_eq!(run(op_name), Some((op, elem)));
        }
    }
}
