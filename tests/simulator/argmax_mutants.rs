//! Every flag and every barrier of `argmax` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::ArgmaxOperands;
use fastattention::layer::argmax::{plan, Problem};
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
    "kernels/argmax.cpp",
];

const RINGS: &[&str] = &["in_ring_", "out_ring_"];

const FAMILY: Family =
    Family { name: "ARGMAX", kernel_type: "kAivOnly", functions: &["argmax<half>", "argmax<float>"] };

/// The first fault that a mutant meets: several rows of one core in chunks with tails.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    [(0, DType::F16), (1, DType::F32)].into_iter().find_map(|(number, dtype)| {
        let (device, module) = load(image);
        let problem = Problem::new(dtype, [5, 1100]);
        let plan = plan(&problem, device.soc()).unwrap();
        let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
        let (x, indices) = (written(problem.x_bytes()), written(problem.index_bytes()));
        let mut tiling = plan.tiling_data();
        (tiling.num_cores, tiling.chunk) = (1, 512);
        let kernel = module.kernel(&kernel_name(index, number)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let operands = ArgmaxOperands { x: (&x).into(), index: (&indices).into(), tiling: &tiling };
        let args = operands.args().unwrap();
        fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
    })
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, RINGS));
    for flag in ["MTE2_V>(kFoundId);", "S_V>(kMaximaId);", "V_S>(kMaximaId);", "V_S>(kBitsId);"] {
        let call = format!("<AscendC::HardEvent::{flag}");
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
