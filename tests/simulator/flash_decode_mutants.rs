//! Every flag and every barrier of `flash_decode` is needed, and the machine reports the absence of each
//! ([`crate::mutation`]), by one of the problems of [`cases`].

use fastattention::kernels::operands::FlashDecodeOperands;
use fastattention::runtime::{Buffer, Schedule, Stream};
use fastattention::serving::{plan, KvLayout, Mask, Problem};
use fastattention::DType;
use half::f16;

use crate::mutation::{
    check, fault_of, kernel_name, kernel_text, load, outcomes, with_take, without_barriers,
    without_cross_flags, without_ring_edges, Family, Mutant,
};

/// The kernel's text in the order of its includes.
const SOURCES: &[&str] = &[
    "include/fa/arch.h",
    "include/fa/tiling_data.h",
    "kernels/families.h",
    "include/fa/sync.h",
    "include/fa/copy.h",
    "include/fa/kv_cache.h",
    "include/fa/mmad.h",
    "include/fa/memory.h",
    "include/fa/row_ops.h",
    "kernels/flash_decode_work.h",
    "kernels/flash_decode_cube.h",
    "kernels/flash_decode_output.h",
    "kernels/flash_decode_rest.h",
    "kernels/flash_decode_vector.h",
    "kernels/flash_decode.cpp",
];

const RINGS: &[&str] = &[
    "q_ring_",
    "kv_ring_",
    "p_ring_",
    "l0_ring_",
    "l0c_ring_",
    "s_ring_",
    "o_ring_",
    "prob_ring_",
    "leave_ring_",
    "rest_ring_",
    "load_ring_",
];
const CROSS_FLAGS: &[&str] =
    &["kDecodeQkReady", "kDecodeSoftmaxReady", "kDecodePvReady", "kDecodePartsReady"];

/// Synchronisation that something else covers today, and why it stays.
const REDUNDANT: &[(&str, &str)] = &[
    (
        "full edge of q_ring_",
        "K is copied by the same pipe later and its flag covers Q; a ring has both edges",
    ),
    (
        "full edge of p_ring_",
        "V is copied by the same pipe later and its flag covers P; a ring has both edges",
    ),
];

const FAMILY: Family =
    Family { name: "FLASH_DECODE", kernel_type: "kMixAic1Aiv2", functions: &["flash_decode<half>"] };

/// Problems that reach every statement, their lengths, and the groups that run them: several steps and
/// pieces, a single step, parts, tails, rows that see no key, empty slots one after the other on a core,
/// wrong pages and rows, vector cores that combine rows of two tasks, and windows. The groups are few, so
/// that every buffer is used again. Last: `row_starts`, if q is packed.
fn cases() -> Vec<(Problem, Vec<i32>, u32, Vec<i32>)> {
    let with = |problem: Problem| problem.with_num_heads_k(2).with_mask(Mask::Causal).with_lse();
    let problem = |shape: [u32; 4], max_keys, kv| with(Problem::new(DType::F16, shape, max_keys, kv));
    let packed = with(Problem::packed(DType::F16, [200, 8, 64], [4, 150], 400, KvLayout::padded()));
    let packed = packed.with_mask(Mask::Window { left: Some(30), right: Some(5) }).checked();
    let mut many = vec![0; 14];
    many.extend([2000, 1, 70, 3, 700, 900]);
    let mut short = vec![0, -1];
    short.extend([77; 24]);
    vec![
        (problem([20, 3, 8, 64], 2000, KvLayout::paged(16, 400)).checked(), many, 7, vec![]),
        (problem([1, 2, 12, 256], 1700, KvLayout::padded()), vec![1700], 2, vec![]),
        (problem([1, 16, 8, 128], 700, KvLayout::paged(128, 6)), vec![700], 2, vec![]),
        (problem([26, 1, 2, 32], 77, KvLayout::paged(64, 30)).checked(), short, 2, vec![]),
        (problem([1, 1, 2, 32], 77, KvLayout::padded()), vec![77], 2, vec![]),
        (
            problem([4, 1, 2, 32], 100, KvLayout::paged(16, 30).with_csr_table(27)).checked(),
            vec![100, 77, 0, 90],
            2,
            vec![],
        ),
        (problem([2, 2, 4, 128], 300, KvLayout::paged(64, 9).with_nz()), vec![300, 129], 2, vec![]),
        (problem([2, 1, 8, 128], 700, KvLayout::paged(32, 40).with_vllm()), vec![700, 129], 2, vec![]),
        (packed, vec![400, 33, 90, 10], 3, vec![0, 150, 150, 190, 170]),
    ]
}

/// The first fault that a mutant meets over all problems.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    for (problem, lengths, cores, row_starts) in cases() {
        let (device, module) = load(image);
        let plan = plan(&problem, device.soc()).unwrap();
        let mut tiling = plan.tiling_data();
        tiling.num_cores = cores;
        let mut rng = fastrand::Rng::with_seed(3);
        let [q, k, v, o] = plan.operand_bytes();
        let mut random = |bytes: u64| {
            let data: Vec<f16> = (0..bytes / 2).map(|_| f16::from_f32(rng.f32() - 0.5)).collect();
            Buffer::from_slice(&device, &data).unwrap()
        };
        let (q, k, v) = (random(q), random(k), random(v));
        let alloc = |bytes: u64| Buffer::alloc(&device, usize::try_from(bytes).unwrap().max(1)).unwrap();
        let (o, lse, workspace) = (alloc(o), alloc(plan.lse_bytes()), alloc(plan.workspace_bytes()));
        let status = alloc(32 * u64::from(problem.slots));
        // Pages one after the other, and some that there are not.
        let table: Vec<i32> = (-2..).take(usize::try_from(plan.table_bytes() / 4).unwrap().max(1)).collect();
        let table = Buffer::from_slice(&device, &table).unwrap();
        // Of a list: so many for each slot, the last beyond it.
        let page_starts: Vec<i32> = (0..).step_by(7).take(problem.slots as usize + 1).collect();
        let page_starts = Buffer::from_slice(&device, &page_starts).unwrap();
        let lengths = Buffer::from_slice(&device, &lengths).unwrap();
        let row_starts =
            if row_starts.is_empty() { alloc(0) } else { Buffer::from_slice(&device, &row_starts).unwrap() };
        let stream = Stream::new(&device).unwrap();
        let args = FlashDecodeOperands {
            q: (&q).into(),
            k: (&k).into(),
            v: (&v).into(),
            row_starts: (&row_starts).into(),
            lengths: (&lengths).into(),
            block_table: (&table).into(),
            page_starts: (&page_starts).into(),
            o: (&o).into(),
            lse: (&lse).into(),
            status: (&status).into(),
            workspace: (&workspace).into(),
            tiling: &tiling,
        };
        let args = args.args().unwrap();
        let kernel = module.kernel(&kernel_name(index, 0)).unwrap().with_schedule(Schedule::Batch);
        let fault = fault_of(kernel.launch(&stream, cores, &args).and_then(|()| stream.synchronize()));
        if fault.is_some() {
            return fault;
        }
    }
    None
}

#[test]
fn the_kernel_itself_meets_no_fault() {
    let original = Mutant { what: "nothing".to_owned(), text: kernel_text(SOURCES) };
    assert_eq!(first_fault(&FAMILY.compile(&[(0, &original)]), 0), None);
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let original = with_take(&kernel_text(SOURCES));
    let mut mutants = without_ring_edges(&original, RINGS);
    mutants.extend(without_cross_flags(&original, CROSS_FLAGS));
    mutants.extend(without_barriers(&original));
    check(&outcomes(&mutants, &FAMILY, first_fault), REDUNDANT);
}
