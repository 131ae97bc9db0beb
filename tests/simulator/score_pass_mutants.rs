//! Every flag and every barrier of `score_pass` is needed, and the machine reports the absence of each.

use fastattention::baseline::ScorePassTilingData;
use fastattention::kernels::operands::ScorePassOperands;
use fastattention::runtime::{Buffer, Stream};

use crate::mutation::{
    check, fault_of, kernel_name, kernel_text, load, outcomes, with_take, without_barriers,
    without_ring_edges, Family, Mutant,
};

/// The kernel's text in the order of its includes.
const SOURCES: &[&str] = &[
    "include/fa/arch.h",
    "include/fa/tiling_data.h",
    "kernels/families.h",
    "include/fa/copy.h",
    "include/fa/memory.h",
    "include/fa/row_copy.h",
    "include/fa/sync.h",
    "kernels/score_pass.cpp",
];

const RINGS: &[&str] = &["in_ring_", "out_ring_"];

const FAMILY: Family = Family {
    name: "SCORE_PASS",
    kernel_type: "kAivOnly",
    functions: &["score_pass<half, half>", "score_pass<half, float>"],
};

/// Tiles of 2 rows and 32 columns, seven of a core, with places for every buffer.
const TILING: ScorePassTilingData = ScorePassTilingData {
    num_heads: 1,
    rows: 7,
    cols: 50,
    pitch: 64,
    chunk: 32,
    tile_rows: 2,
    num_cores: 1,
    has_mask: 1,
    scale: 0.5,
    ub_x_offset_bytes: 0,
    ub_mask_offset_bytes: 512,
    ub_y_offset_bytes: 1024,
    ub_wide_offset_bytes: 2048,
    ub_wide_mask_offset_bytes: 2560,
};

/// The first fault that a mutant meets.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    [(0, 1), (0, 0), (1, 0)].into_iter().find_map(|(number, has_mask)| {
        let (device, module) = load(image);
        let [x, mask, y] = [2 * 7 * 64, 2 * 7 * 50, 4 * 7 * 64]
            .map(|bytes: usize| Buffer::from_slice(&device, &vec![0u8; bytes]).unwrap());
        let tiling = ScorePassTilingData { has_mask, ..TILING };
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let operands =
            ScorePassOperands { x: (&x).into(), mask: (&mask).into(), y: (&y).into(), tiling: &tiling };
        let args = operands.args().unwrap();
        fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
    })
}

/// The flag behind the clearing of UB, and its wait.
fn without_clear_flag(original: &str) -> Mutant {
    let text =
        original.replace("<AscendC::HardEvent::V_MTE2>(kClearedId);", "<AscendC::HardEvent::V_MTE2>(6);");
    let lines = text.lines().filter(|line| !line.contains("HardEvent::V_MTE2>(6)"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    assert_ne!(text, original);
    Mutant { what: "the flag behind the clearing".to_owned(), text }
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, RINGS));
    mutants.extend(without_barriers(&original));
    mutants.push(without_clear_flag(&original));
    let outcomes = outcomes(&mutants, &FAMILY, first_fault);
    assert_eq!(outcomes[0].1, None);
    check(&outcomes[1..], &[]);
}
