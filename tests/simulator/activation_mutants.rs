//! Every flag and every barrier of `activation` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::ActivationOperands;
use fastattention::layer::activation::{plan, Function, Problem};
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
    "include/fa/sync.h",
    "include/fa/copy.h",
    "include/fa/memory.h",
    "include/fa/row_copy.h",
    "kernels/activation.cpp",
];

const RINGS: &[&str] = &["in_ring_", "out_ring_"];

const FAMILY: Family = Family {
    name: "ACTIVATION",
    kernel_type: "kAivOnly",
    functions: &["activation<half>", "activation<float>"],
};

/// The first fault that a mutant meets: several tiles of one core.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    let cases = [
        (0, DType::F16, Function::Silu),
        (0, DType::F16, Function::GeluErf),
        (1, DType::F32, Function::GeluTanh),
    ];
    cases.into_iter().find_map(|(number, dtype, function)| {
        let (device, module) = load(image);
        let problem =
            Problem::new(function, dtype, [9, 200]).gated().with_strides(208, 200).with_up_stride(216);
        let plan = plan(&problem, device.soc()).unwrap();
        let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
        let [x, y] = problem.operand_bytes().map(written);
        let up = written(problem.up_bytes());
        let mut tiling = plan.tiling_data();
        (tiling.num_cores, tiling.tile_rows) = (1, 1);
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let operands =
            ActivationOperands { x: (&x).into(), up: (&up).into(), y: (&y).into(), tiling: &tiling };
        let args = operands.args().unwrap();
        fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
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
