//! Every flag and every barrier of `matmul` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::MatmulOperands;
use fastattention::matmul::{plan_with, Axis, BLayout, L1Halves, Problem, Tiling};
use fastattention::runtime::{Buffer, Stream};
use fastattention::DType;

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
    "include/fa/mmad.h",
    "include/fa/sync.h",
    "kernels/matmul_tiles.h",
    "kernels/matmul_kernel.h",
    "kernels/matmul.cpp",
];

/// Of each operand in L1, of both in L0, of tiles in L0C.
const RINGS: &[&str] = &["ring_", "l0_ring_", "l0c_ring_"];

const FAMILY: Family = Family {
    name: "MATMUL",
    kernel_type: "kAicOnly",
    functions: &["matmul<half, half>", "matmul<half, float>"],
};

/// Several tiles of one core with several chunks and steps each: both layouts, B past L2, sums added to C.
fn problems() -> [(usize, Problem, Tiling); 3] {
    let shape = [40, 200, 150];
    let tiling = Tiling {
        block: [48, 64],
        tile: [48, 64, 16],
        step_k: [2; 2],
        l1_buffers: 2,
        l1_halves: L1Halves::Buffers,
        l0_buffers: 2,
        l0c_buffers: 2,
        unit_flag: false,
        swizzle: 1,
        swizzle_axis: Axis::M,
        num_cores: 1,
        b_past_l2: false,
    };
    let rows = Problem::new(DType::F16, [8, 600, 200]).with_dtype_out(DType::F32).with_b_layout(BLayout::Nk);
    [
        (0, Problem::new(DType::F16, shape), tiling),
        (0, Problem::new(DType::F16, shape).with_b_layout(BLayout::Nk), Tiling { l1_buffers: 1, ..tiling }),
        (
            1,
            rows.with_accumulation(),
            Tiling { b_past_l2: true, block: [16, 176], tile: [16, 176, 64], step_k: [1, 2], ..tiling },
        ),
    ]
}

/// The first fault that a mutant meets.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    problems().into_iter().find_map(|(number, problem, tiling)| {
        let (device, module) = load(image);
        let plan = plan_with(&problem, device.soc(), tiling).unwrap();
        let [a, b, c] = problem
            .operand_bytes()
            .map(|bytes| Buffer::from_slice(&device, &vec![0u8; usize::try_from(bytes).unwrap()]).unwrap());
        let tiling = plan.tiling_data();
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let args = MatmulOperands { a: (&a).into(), b: (&b).into(), c: (&c).into(), tiling: &tiling };
        let launched = kernel.launch(&stream, plan.num_cores(), &args.args().unwrap());
        fault_of(launched.and_then(|()| stream.synchronize()))
    })
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, RINGS));
    mutants.extend(without_barriers(&original));
    let outcomes = outcomes(&mutants, &FAMILY, first_fault);
    assert_eq!(outcomes[0].1, None);
    check(&outcomes[1..], &[]);
}
