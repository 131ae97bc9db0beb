//! Every flag and every barrier of `merge` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::MergeOperands;
use fastattention::merge::{plan, Problem};
use fastattention::runtime::{Buffer, Stream};
use fastattention::DType;

use crate::mutation::{
    check, fault_of, kernel_name, kernel_text, load, outcomes, with_take, without, without_barriers,
    without_ring_edges, Family, Mutant,
};

/// The kernel's text in the order of its includes.
const SOURCES: &[&str] = &[
    "include/fa/arch.h",
    "include/fa/tiling_data.h",
    "kernels/families.h",
    "include/fa/sync.h",
    "include/fa/copy.h",
    "include/fa/memory.h",
    "include/fa/row_ops.h",
    "kernels/merge.cpp",
];

const RINGS: &[&str] = &["lse_ring_", "part_ring_", "out_ring_"];

/// Synchronisation that something else covers today, or that this kernel includes and does not use.
const REDUNDANT: &[(&str, &str)] = &[
    (
        "free edge of lse_ring_",
        "the parts of the tile before are loaded later by the same pipe, and wait for V; a ring has both edges",
    ),
    ("if (!is_done())", "drain() of a row tree, which this kernel lacks"),
];

const FAMILY: Family = Family {
    name: "MERGE",
    kernel_type: "kAivOnly",
    functions: &["merge<half, half>", "merge<float, float>", "merge<float, half>"],
};

/// Types of the functions of [`FAMILY`]: with and without a sum of its own and a cast.
const TYPES: [(DType, DType); 3] =
    [(DType::F16, DType::F16), (DType::F32, DType::F32), (DType::F32, DType::F16)];

/// The first fault that a mutant meets: a source of five parts, several tiles of one core, the last one with
/// a tail.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    TYPES.iter().enumerate().find_map(|(number, &(dtype, dtype_out))| {
        let (device, module) = load(image);
        let problem = Problem::new(dtype, 5, [1, 300, 1, 128]).with_dtype_out(dtype_out);
        let plan = plan(&problem, device.soc()).unwrap();
        let [[o_bytes, lse_bytes]]: [_; 1] = plan.problem().source_bytes().try_into().unwrap();
        let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
        let (o_parts, lse_parts) = (written(o_bytes), written(lse_bytes));
        let [o, lse] = plan.problem().operand_bytes().map(|b| Buffer::alloc(&device, b as usize).unwrap());
        let mut tiling = plan.tiling_data(&[[o_parts.device_ptr(), lse_parts.device_ptr()]]).unwrap();
        (tiling.num_cores, tiling.tile_rows) = (1, tiling.tile_rows.min(32));
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let args = MergeOperands { o: (&o).into(), lse: (&lse).into(), tiling: &tiling }.args().unwrap();
        fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
    })
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, RINGS));
    let (text, count) =
        without(&original, |line| line.find("AscendC::").filter(|_| line.contains("(kClearedId);")));
    assert_eq!(count, 2, "kClearedId: a set and a wait");
    mutants.push(Mutant { what: "kClearedId".to_owned(), text });
    mutants.extend(without_barriers(&original));
    let outcomes = outcomes(&mutants, &FAMILY, first_fault);
    assert_eq!(outcomes[0].1, None);
    check(&outcomes[1..], REDUNDANT);
}
