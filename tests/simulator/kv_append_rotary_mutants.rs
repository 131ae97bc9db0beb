//! Every flag, every barrier and every check of a position of `kv_append_rotary` is needed, and the machine
//! reports the absence of each.

use fastattention::append::{plan, Pairing, Problem, Rotary};
use fastattention::kernels::operands::KvAppendRotaryOperands;
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
    "include/fa/row_ops.h",
    "kernels/kv_append_rotation.h",
    "include/fa/token_numbers.h",
    "kernels/kv_append_rows.h",
    "kernels/kv_append_rotary.cpp",
];

const FAMILY: Family =
    Family { name: "KV_APPEND_ROTARY", kernel_type: "kAivOnly", functions: &["kv_append_rotary<half>"] };

const TOKENS: u32 = 60;
const POSITIONS: u32 = 50;

/// The fault that a mutant meets on one core, which uses each buffer several times.
fn fault(image: &[u8], index: usize, pairing: Pairing, positions: &[i32]) -> Option<String> {
    fault_with(image, index, (KvLayout::paged(16, 10), pairing), positions)
}

/// The same of pages that lie so.
fn fault_with(
    image: &[u8],
    index: usize,
    (kv, pairing): (KvLayout, Pairing),
    positions: &[i32],
) -> Option<String> {
    let (device, module) = load(image);
    let cache = serving::Problem::new(DType::F16, [1, 1, 4, 64], 1, kv);
    let cache = cache.with_num_heads_k(2);
    let rotary = Rotary::new(pairing, 48, POSITIONS).with_q();
    let plan = plan(&Problem::new(TOKENS, &cache).with_rotary(rotary).checked(), device.soc()).unwrap();
    let (mut tiling, rotary_tiling) = (plan.tiling_data(), plan.rotary_tiling_data().unwrap());
    tiling.num_cores = 1;
    let zeros =
        |bytes: u64| Buffer::from_slice(&device, &vec![0u8; usize::try_from(bytes).unwrap()]).unwrap();
    let [k, v, k_cache, v_cache] = plan.operand_bytes().map(zeros);
    let [q, q_out] = plan.query_bytes().map(zeros);
    let table = zeros(plan.table_bytes());
    let places: Vec<u32> = (0..TOKENS).map(|token| token * 37 % 160).collect();
    let [places, positions] =
        [Buffer::from_slice(&device, &places), Buffer::from_slice(&device, positions)].map(Result::unwrap);
    let status = Buffer::alloc(&device, usize::try_from(plan.status_bytes()).unwrap()).unwrap();
    let operands = KvAppendRotaryOperands {
        q: (&q).into(),
        k: (&k).into(),
        v: (&v).into(),
        places: (&places).into(),
        positions: (&positions).into(),
        table: (&table).into(),
        q_out: (&q_out).into(),
        k_cache: (&k_cache).into(),
        v_cache: (&v_cache).into(),
        status: (&status).into(),
        tiling: &tiling,
        rotary_tiling: &rotary_tiling,
    };
    let (stream, args) = (Stream::new(&device).unwrap(), operands.args().unwrap());
    let kernel = module.kernel(&kernel_name(index, 0)).unwrap();
    fault_of(kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()))
}

/// Positions that the table has, in part one behind the other.
fn good() -> Vec<i32> {
    (0..TOKENS).map(|token| (token / 3 * 17 % (POSITIONS - 2) + token % 3) as i32).collect()
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = vec![Mutant { what: "nothing".into(), text: original.clone() }];
    mutants.extend(without_ring_edges(&original, &["ring_"]));
    for (what, argument) in
        [("flag of the status", "::V_MTE3>(0)"), ("flag of a buffer", "::V_MTE3>(static_cast<")]
    {
        let (text, count) =
            without(&original, |l| l.contains(argument).then(|| l.find("AscendC::")).flatten());
        assert_eq!(count, 2, "{what}: a set and a wait");
        mutants.push(Mutant { what: what.into(), text });
    }
    mutants.extend(without_barriers(&original));
    // The first position is none, so that a row of the table is written by V.
    let mut positions = good();
    positions[0] = -5;
    let outcomes = outcomes(&mutants, &FAMILY, |image, index| {
        let by = |pairing| fault(image, index, pairing, &positions);
        let in_pieces = (KvLayout::paged(16, 10).with_vllm(), Pairing::Halves);
        by(Pairing::Halves)
            .or_else(|| by(Pairing::Adjacent))
            .or_else(|| fault_with(image, index, in_pieces, &positions))
    });
    assert_eq!(outcomes[0].1, None, "the kernel itself");
    check(&outcomes[1..], &[("if (!is_done())", "of RowTree, which this kernel does not use")]);
}

/// Without a check of the position the kernel reads outside the table: before it, behind it, far behind it,
/// and in one copy with a row that is there.
#[test]
fn every_check_of_a_position_is_needed() {
    let original = kernel_text(SOURCES);
    let bounds = [
        ("position < 0 || ", ""),
        (" || position >= static_cast<int64_t>(r_.max_positions)", ""),
        ("min_u32(tokens, r_.max_positions - static_cast<uint32_t>(position))", "tokens"),
    ];
    let mut mutants = vec![Mutant { what: "nothing".into(), text: original.clone() }];
    for (bound, without) in bounds {
        assert_eq!(original.matches(bound).count(), 1, "{bound}");
        mutants.push(Mutant { what: bound.into(), text: original.replace(bound, without) });
    }
    let image = FAMILY.compile(&mutants.iter().enumerate().collect::<Vec<_>>());
    let last = POSITIONS as i32;
    for (wrong, needed) in
        [([3, -2], 1), ([3, i32::MIN], 1), ([3, last], 2), ([3, i32::MAX], 2), ([last - 1, last], 3)]
    {
        let mut positions = good();
        // Both of one tile.
        positions[0..2].copy_from_slice(&wrong);
        for (index, mutant) in mutants.iter().enumerate() {
            let fault = fault(&image, index, Pairing::Halves, &positions);
            let is_needed = index == needed || (needed == 3 && index == 2);
            assert_eq!(
                fault.is_some(),
                is_needed,
                "positions {wrong:?} without {:?}: {fault:?}",
                mutant.what
            );
        }
    }
}
