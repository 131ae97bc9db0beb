//! Every flag, the barrier and every check of `kv_append` is needed, and the machine reports the absence of
//! each.

use fastattention::append::{plan, Problem};
use fastattention::kernels::operands::KvAppendOperands;
use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{self, KvLayout};
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
    "include/fa/token_numbers.h",
    "kernels/kv_append_rows.h",
    "kernels/kv_append.cpp",
];

const FAMILY: Family = Family { name: "KV_APPEND", kernel_type: "kAivOnly", functions: &["kv_append<half>"] };

/// The fault that a mutant meets on one core, which uses each buffer several times.
fn fault(image: &[u8], index: usize, places: &[i32]) -> Option<String> {
    let (device, module) = load(image);
    let cache = serving::Problem::new(DType::F16, [1, 1, 2, 64], 1, KvLayout::paged(16, 10));
    let plan = plan(&Problem::new(60, &cache).checked(), device.soc()).unwrap();
    let mut tiling = plan.tiling_data();
    tiling.num_cores = 1;
    let [k, v, k_cache, v_cache] = plan
        .operand_bytes()
        .map(|bytes| Buffer::from_slice(&device, &vec![0u8; usize::try_from(bytes).unwrap()]).unwrap());
    let places = Buffer::from_slice(&device, places).unwrap();
    let status = Buffer::alloc(&device, usize::try_from(plan.status_bytes()).unwrap()).unwrap();
    let operands = KvAppendOperands {
        k: (&k).into(),
        v: (&v).into(),
        places: (&places).into(),
        k_cache: (&k_cache).into(),
        v_cache: (&v_cache).into(),
        status: (&status).into(),
        tiling: &tiling,
    };
    let (stream, args) = (Stream::new(&device).unwrap(), operands.args().unwrap());
    let kernel = module.kernel(&kernel_name(index, 0)).unwrap();
    fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
}

/// Places in any order, no two the same.
fn good() -> Vec<i32> {
    (0..60).map(|token| token * 37 % 160).collect()
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".into(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, &["ring_"]));
    let (text, count) =
        without(&original, |l| l.contains("::V_MTE3>(0)").then(|| l.find("AscendC::")).flatten());
    assert_eq!(count, 2, "a set and a wait");
    mutants.push(Mutant { what: "flag of the status".into(), text });
    mutants.extend(without_barriers(&original));
    let outcomes = outcomes(&mutants, &FAMILY, |image, index| fault(image, index, &good()));
    assert_eq!(outcomes[0].1, None, "the kernel itself");
    check(&outcomes[1..], &[]);
}

/// Without a check of the place the kernel writes outside the cache: before it, behind it, far behind it.
#[test]
fn every_check_of_a_place_is_needed() {
    let original = kernel_text(SOURCES);
    let bounds = ["place >= 0 && ", " && place < static_cast<int64_t>(t_.num_places)"];
    let mut mutants = vec![Mutant { what: "nothing".into(), text: original.clone() }];
    for bound in bounds {
        assert_eq!(original.matches(bound).count(), 1, "{bound}");
        mutants.push(Mutant { what: bound.into(), text: original.replace(bound, "") });
    }
    let image = FAMILY.compile(&mutants.iter().enumerate().collect::<Vec<_>>());
    for (wrong, needed) in [(-2, 1), (i32::MIN, 1), (160, 2), (i32::MAX, 2)] {
        let mut places = good();
        places[31] = wrong;
        let faults = [0, 1, 2].map(|index| fault(&image, index, &places));
        for (index, fault) in faults.iter().enumerate() {
            assert_eq!(
                fault.is_some(),
                index == needed,
                "place {wrong} without {:?}: {fault:?}",
                mutants[index].what
            );
        }
    }
}
