//! What the tests of the data movements share, and the check that each instruction has an oracle.

use super::*;
use crate::isa::harness::TestCore;
use crate::isa::{fixpipe, img2col, mmad, mte_gm_l1, mte_gm_ub, mte_l1_l0};

/// Instructions that a test compares with an oracle of its own, or whose fault it asserts.
const COVERED: &[&str] = &[
    "copy_gm_to_ubuf",
    "copy_ubuf_to_gm",
    "copy_ubuf_to_ubuf",
    "copy_gm_to_ubuf_align_b8",
    "copy_gm_to_ubuf_align_b16",
    "copy_gm_to_ubuf_align_b32",
    "copy_ubuf_to_gm_align_b8",
    "copy_ubuf_to_gm_align_b16",
    "copy_ubuf_to_gm_align_b32",
    "copy_gm_to_cbuf",
    "copy_cbuf_to_gm",
    "copy_gm_to_cbuf_multi_nd2nz_b8",
    "copy_gm_to_cbuf_multi_nd2nz_b16",
    "copy_gm_to_cbuf_multi_nd2nz_b32s",
    "load_gm_to_cbuf",
    "load_gm_to_ca",
    "load_gm_to_cb",
    "load_cbuf_to_ca",
    "load_cbuf_to_cb",
    "load_cbuf_to_ca_transpose",
    "load_cbuf_to_cb_transpose",
    "copy_cbuf_to_bt",
    "copy_cbuf_to_fbuf",
    "create_cbuf_matrix",
    "create_cbuf_matrix_bf16",
    "create_ca_matrix",
    "create_ca_matrix_bf16",
    "create_cb_matrix",
    "create_cb_matrix_bf16",
    "img2colv2_cbuf_to_ca",
    "img2colv2_cbuf_to_cb",
    "mad",
    "copy_matrix_cc_to_gm",
    "copy_matrix_cc_to_cbuf",
];

#[test]
fn every_instruction_has_an_oracle() {
    let families = [mte_gm_ub::OPS, mte_gm_l1::OPS, mte_l1_l0::OPS, img2col::OPS, mmad::OPS, fixpipe::OPS];
    let mut names: Vec<&str> = families.iter().flat_map(|ops| ops.iter()).map(|op| op.mnemonic).collect();
    for name in &names {
        assert!(COVERED.contains(name), "{name} has no oracle");
        assert!(crate::isa::find(name).is_some(), "{name} is not in the machine's table");
        // A mnemonic in the list but in no test file would be a lie of this list.
        let sources = [
            include_str!("mte_gm_ub_tests.rs"),
            include_str!("mte_gm_l1_tests.rs"),
            include_str!("mte_l1_l0_tests.rs"),
            include_str!("img2col_tests.rs"),
            include_str!("mmad_tests.rs"),
            include_str!("fixpipe_tests.rs"),
        ];
        let quoted = format!("\"{name}\"");
        assert!(sources.iter().any(|text| text.contains(&quoted)), "no test runs {name}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COVERED.len());
}

pub(in super::super) fn random_bytes(rng: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.u8(..)).collect()
}

/// GM with these bytes; its device address.
pub(in super::super) fn gm_with(core: &TestCore, data: &[u8]) -> u64 {
    let base = core.memory.alloc(data.len() as u64).unwrap();
    core.memory.find(base).unwrap().write(base, data);
    base
}

pub(in super::super) fn gm_bytes(core: &TestCore, base: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    core.memory.find(base).unwrap().read(base, &mut out);
    out
}

/// Asserts a fault's class and that its text contains `part`.
pub(in super::super) fn expect_fault(result: Result<(), Stop>, kind: FaultKind, part: &str) {
    match result {
        Err(Stop::Fault(fault)) => {
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.detail.contains(part), "{} lacks {part:?}", fault.detail);
        }
        other => panic!("wanted {kind:?} ({part}), got {other:?}"),
    }
}

pub(in super::super) fn expect_unsupported(result: Result<(), Stop>, part: &str) {
    match result {
        Err(Stop::Unsupported(what)) => assert!(what.detail.contains(part), "{} lacks {part:?}", what.detail),
        other => panic!("wanted Unsupported ({part}), got {other:?}"),
    }
}
