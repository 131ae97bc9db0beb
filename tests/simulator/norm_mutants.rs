//! Every flag and every barrier of `norm` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::NormOperands;
use fastattention::layer::norm::{plan, Problem};
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
    "include/fa/row_copy.h",
    "include/fa/row_ops.h",
    "kernels/norm.cpp",
];

const RINGS: &[&str] = &["in_ring_", "out_ring_"];

const FAMILY: Family = Family {
    name: "NORM",
    kernel_type: "kAivOnly",
    functions: &["norm<half, half, half>", "norm<float, float, float>", "norm<half, float, float>"],
};

/// With tails and a residual, in one slice after the other, of f16 and of f32; and a bias on rows in chunks.
fn problems() -> [(usize, Problem); 4] {
    let wide = |problem: Problem| problem.with_weight_dtype(DType::F32).with_residual_dtype(DType::F32);
    [
        (0, Problem::rms(DType::F16, [40, 100], 1e-5).with_residual()),
        (1, Problem::layer(DType::F32, [20, 200], 1e-5).with_bias()),
        (0, Problem::layer(DType::F16, [3, 9000], 1e-5).with_bias().with_residual()),
        (2, wide(Problem::rms(DType::F16, [40, 100], 1e-5))),
    ]
}

/// The first fault that a mutant meets: several slices of one core, the last one with a tail.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    problems().into_iter().find_map(|(number, problem)| {
        let (device, module) = load(image);
        let plan = plan(&problem, device.soc()).unwrap();
        let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
        let [x, y] = problem.operand_bytes().map(written);
        let [r, h] = problem.residual_bytes().map(|bytes| written(bytes.max(4)));
        let weight = written(problem.weight_bytes());
        let mut tiling = plan.tiling_data();
        (tiling.num_cores, tiling.slice_rows) = (1, tiling.slice_rows.min(9));
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let operands = NormOperands {
            x: (&x).into(),
            r: (&r).into(),
            weight: (&weight).into(),
            bias: (&weight).into(),
            h: (&h).into(),
            y: (&y).into(),
            tiling: &tiling,
        };
        let args = operands.args().unwrap();
        fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
    })
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, RINGS));
    for flag in ["kClearedId", "kWeightsId"] {
        let call = format!("({flag});");
        let (text, count) =
            without(&original, |line| line.find("AscendC::").filter(|_| line.contains(&call)));
        assert_eq!(count, 2, "{flag}: a set and a wait");
        mutants.push(Mutant { what: flag.to_owned(), text });
    }
    mutants.extend(without_barriers(&original));
    let outcomes = outcomes(&mutants, &FAMILY, first_fault);
    assert_eq!(outcomes[0].1, None);
    check(&outcomes[1..], &[]);
}
