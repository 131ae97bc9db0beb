//! Every flag and every barrier of `shift_keys` is needed, and the machine reports the absence of each.

use fastattention::attention::{plan, Problem};
use fastattention::kernels::operands::ShiftKeysOperands;
use fastattention::runtime::{Buffer, Stream};
use fastattention::DType;
use half::f16;

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
    "include/fa/row_ops.h",
    "include/fa/row_tree_f16.h",
    "kernels/shift_keys.cpp",
];

const RINGS: &[&str] = &["in_ring_", "out_ring_", "mean_ring_"];

/// Synchronisation that something else covers today, or that this kernel includes and does not use.
const REDUNDANT: &[(&str, &str)] = &[
    ("if (!is_done())", "drain() of a row tree, which this kernel lacks"),
    (
        "after: AscendC::CompareScalar(bits_ub_",
        "Select has a barrier of its own before it reads the bits, which is not documented and not relied upon",
    ),
];

const FAMILY: Family = Family { name: "SHIFT_KEYS", kernel_type: "kAivOnly", functions: &["shift_keys"] };

/// Vector cores that run a mutant: few, so that each has several heads and every buffer is used again.
const CORES: u32 = 2;

/// The first fault that a mutant meets: three heads of several tiles, narrow ones and wide ones.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    [(300, 64), (100, 256), (600, 16)].into_iter().find_map(|(seqlen, head_dim)| {
        let (device, module) = load(image);
        let problem = Problem::new(DType::F16, [1, seqlen, 3, head_dim]).with_score_dtype(DType::F16);
        let mut shift = plan(&problem.with_shifted_keys(), device.soc()).unwrap().shift().unwrap().clone();
        shift.tiling.core_tiles = shift.tiling.num_tiles.div_ceil(CORES.into());
        let mut rng = fastrand::Rng::with_seed(3);
        let data: Vec<f16> = (0..seqlen * 3 * head_dim).map(|_| f16::from_f32(rng.f32() - 0.5)).collect();
        let k = Buffer::from_slice(&device, &data).unwrap();
        let shifted = Buffer::alloc(&device, usize::try_from(shift.bytes).unwrap()).unwrap();
        let args =
            ShiftKeysOperands { k: (&k).into(), shifted: (&shifted).into(), tiling: &shift.tiling }.args();
        let stream = Stream::new(&device).unwrap();
        let kernel = module.kernel(&kernel_name(index, 0)).unwrap();
        fault_of(kernel.launch(&stream, CORES, &args.unwrap()).and_then(|()| stream.synchronize()))
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
    check(&outcomes[1..], REDUNDANT);
}
