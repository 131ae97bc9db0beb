//! Every flag and every barrier of `embedding` is needed, and the machine reports the absence of each.

use fastattention::kernels::operands::EmbeddingOperands;
use fastattention::layer::embedding::{plan, Problem};
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
    "include/fa/token_numbers.h",
    "kernels/embedding.cpp",
];

const FAMILY: Family = Family { name: "EMBEDDING", kernel_type: "kAivOnly", functions: &["embedding<half>"] };

/// The fault that a mutant meets: several tiles of one core, and ids that the table does not have.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    let (device, module) = load(image);
    let problem = Problem::new(DType::F16, 60, [5, 200]).checked();
    let plan = plan(&problem, device.soc()).unwrap();
    let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
    let [table, y] = problem.operand_bytes().map(written);
    let ids: Vec<i32> = (0..60).map(|i| i % 7 - 1).collect();
    let (ids, status) = (Buffer::from_slice(&device, &ids).unwrap(), written(plan.status_bytes()));
    let mut tiling = plan.tiling_data();
    (tiling.num_cores, tiling.tile_tokens) = (1, 2);
    let kernel = module.kernel(&kernel_name(index, 0)).unwrap();
    let stream = Stream::new(&device).unwrap();
    let operands = EmbeddingOperands {
        table: (&table).into(),
        ids: (&ids).into(),
        y: (&y).into(),
        status: (&status).into(),
        tiling: &tiling,
    };
    let args = operands.args().unwrap();
    fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".to_owned(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, &["ring_"]));
    for (flag, what) in [("(kFilledId);", "kFilledId"), ("V_MTE3>(0);", "flag of the status")] {
        let (text, count) = without(&original, |line| line.find("AscendC::").filter(|_| line.contains(flag)));
        assert_eq!(count, 2, "{what}: a set and a wait");
        mutants.push(Mutant { what: what.to_owned(), text });
    }
    mutants.extend(without_barriers(&original));
    let outcomes = outcomes(&mutants, &FAMILY, first_fault);
    assert_eq!(outcomes[0].1, None);
    check(&outcomes[1..], &[]);
}
