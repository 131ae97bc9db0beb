//! Every flag and every barrier of `flash_fwd` is needed, and the machine reports the absence of each.
//!
//! A mutant is the kernel's own text with one thing taken out: the full or the free edge of a ring (both its
//! set and its wait, so that flags still balance), one cross-core flag, or one barrier. Each must be reported
//! as a race or as a use of data that was never written, in the default order, by one of the problems of
//! [`cases`]. What a mutant survives for a good reason is listed in [`REDUNDANT`].

use fastattention::attention::{plan_with, Problem};
use fastattention::kernels::operands::FlashFwdOperands;
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::mask::{m_mask, MASK_DIM};
use fastattention::tiling::{Candidate, Mask};
use fastattention::DType;
use half::f16;

use crate::mutation::{
    call, check, fault_of, kernel_name, kernel_text as text_of, load, outcomes, with_take, without,
    without_barriers, without_cross_flags, without_ring_edges, Family, Mutant,
};

/// The kernel's text in the order of its includes.
const SOURCES: &[&str] = &[
    "include/fa/arch.h",
    "include/fa/tiling_data.h",
    "kernels/families.h",
    "include/fa/sync.h",
    "include/fa/seqlen.h",
    "include/fa/copy.h",
    "include/fa/mmad.h",
    "include/fa/mask.h",
    "include/fa/memory.h",
    "include/fa/row_ops.h",
    "kernels/flash_fwd_workspace.h",
    "kernels/flash_fwd_cube.h",
    "include/fa/row_tree_f16.h",
    "kernels/flash_fwd_state.h",
    "kernels/flash_fwd_bundle.h",
    "kernels/flash_fwd_softmax_f32.h",
    "kernels/flash_fwd_softmax_f16.h",
    "kernels/flash_fwd_vector.h",
    "kernels/flash_fwd.cpp",
];

const RINGS: &[&str] = &[
    "q_ring_",
    "k_ring_",
    "v_ring_",
    "p_ring_",
    "l0_ring_",
    "l0c_ring_",
    "load_ring",
    "mask_ring",
    "out_ring",
    "lse_ring_",
];
/// Buffers lent to another pipe, and the methods of the way there and of the way back.
const LOAN: &str = "store_loan_";
const LOAN_EDGES: [(&str, [&str; 2]); 2] = [("full", ["lend", "await"]), ("free", ["give_back", "reclaim"])];
/// Flags that stand alone.
const FLAGS: [&str; 3] = ["V_S", "S_V", "MTE3_MTE2"];
const CROSS_FLAGS: &[&str] = &["kQkReady", "kSoftmaxReady", "kPvReady"];

/// Synchronisation that something else covers today, and why it stays.
const REDUNDANT: &[(&str, &str)] = &[
    ("full edge of q_ring_", "K is copied by the same pipe later and its flag covers Q; a ring has both edges"),
    ("full edge of v_ring_", "P is copied by the same pipe later and its flag covers V; a ring has both edges"),
    (
        "after: AscendC::And(right_bits",
        "Select has a barrier of its own before it reads the bits, which is not documented and not relied upon",
    ),
];

/// Groups that run a mutant: few, so that each has several items and every buffer is used again.
const CORES: u32 = 2;

fn kernel_text() -> String {
    text_of(SOURCES)
}

fn mutants() -> Vec<Mutant> {
    let original = with_take(&kernel_text());
    let mut mutants = without_ring_edges(&original, RINGS);
    for (edge, [first, second]) in LOAN_EDGES {
        let (text, count) = without(&original, |l| call(l, LOAN, first).or_else(|| call(l, LOAN, second)));
        assert_eq!(count, 2, "{LOAN}: {first} and {second}");
        mutants.push(Mutant { what: format!("{edge} edge of {LOAN}"), text });
    }
    for event in FLAGS {
        let calls = ["Set", "Wait"].map(|call| format!("AscendC::{call}Flag<AscendC::HardEvent::{event}>("));
        let (text, count) = without(&original, |l| calls.iter().find_map(|call| l.find(call)));
        assert!(count >= 2, "{event}: a set and a wait");
        mutants.push(Mutant { what: format!("flag {event}"), text });
    }
    mutants.extend(without_cross_flags(&original, CROSS_FLAGS));
    mutants.extend(without_barriers(&original));
    mutants
}

const FAMILY: Family = Family {
    name: "FLASH_FWD",
    kernel_type: "kMixAic1Aiv2",
    functions: &["flash_fwd<half, float>", "flash_fwd<half, half>"],
};

/// Types of scores of the functions of [`FAMILY`], each with a softmax of its own.
const SCORES: [DType; 2] = [DType::F32, DType::F16];

/// Problems that reach every statement: both diagonals apart and in one slice, two L0C tiles by rows and by
/// columns, small tiles, rows that see no key, more chunks of P in a step than L1 has buffers for them.
fn cases(scores: DType) -> Vec<(Problem, Candidate)> {
    let problem = |shape, seqlen_k, mask| {
        Problem::new(DType::F16, shape)
            .with_seqlen_k(seqlen_k)
            .with_mask(mask)
            .with_lse()
            .with_score_dtype(scores)
    };
    let window = |left, right| Mask::Window { left: Some(left), right: Some(right) };
    let tiling = |block_m, block_n, chunk_n, num_stages, preload| Candidate {
        block_m,
        block_n,
        chunk_n,
        num_stages,
        preload,
        bundle_steps: 1,
    };
    // Longer rows of f32 do not fit UB.
    let widest = if scores == DType::F16 { 1024 } else { 512 };
    vec![
        (problem([1, 300, 2, 64], 900, window(500, 30)), tiling(128, 256, 128, 3, 2)),
        (problem([1, 260, 2, 256], 700, Mask::None), tiling(128, 256, 128, 2, 1)),
        (problem([1, 40, 3, 48], 330, Mask::Causal), tiling(16, 64, 64, 3, 2)),
        (problem([1, 500, 2, 64], 60, Mask::Causal), tiling(256, 128, 128, 2, 1)),
        (problem([1, 150, 2, 64], 300, window(20, 10)), tiling(64, 128, 128, 3, 2)),
        (problem([1, 300, 1, 64], 1100, Mask::None), tiling(256, 512, 256, 2, 1)),
        (problem([1, 300, 1, 64], 1500, Mask::Causal), tiling(256, widest, 128, 2, 1)),
        // Bundles whose rows grow; the last one of an item is short.
        (problem([1, 150, 2, 64], 1100, Mask::None), bundles(tiling(128, 256, 128, 2, 1), 3)),
        (problem([1, 200, 2, 160], 700, window(300, 100)), bundles(tiling(64, 256, 256, 3, 2), 2)),
        // Short items, so that the Cube is soon two ahead.
        (with_shifted_keys(problem([1, 300, 2, 64], 150, Mask::None)), tiling(64, 128, 128, 3, 2)),
    ]
}

fn bundles(candidate: Candidate, bundle_steps: u32) -> Candidate {
    Candidate { bundle_steps, ..candidate }
}

/// Where there is a kernel for it.
fn with_shifted_keys(problem: Problem) -> Problem {
    if problem.spec.score_dtype == DType::F16 {
        problem.with_shifted_keys()
    } else {
        problem
    }
}

/// The first fault that a mutant meets over all problems.
fn first_fault(image: &[u8], index: usize) -> Option<String> {
    (0..SCORES.len()).find_map(|number| fault_with(image, index, number))
}

fn fault_with(image: &[u8], index: usize, number: usize) -> Option<String> {
    let (kernel, scores) = (kernel_name(index, number), SCORES[number]);
    for (problem, candidate) in cases(scores) {
        let (device, module) = load(image);
        let plan = plan_with(&problem, device.soc(), candidate).unwrap();
        let mut tiling = plan.tiling_data();
        tiling.num_cores = CORES;
        // Every maximum that grows is taken.
        tiling.headroom = 0.0;
        let mut rng = fastrand::Rng::with_seed(3);
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        let mut random = |bytes: u64| {
            let data: Vec<f16> = (0..bytes / 2).map(|_| f16::from_f32(rng.f32() - 0.5)).collect();
            Buffer::from_slice(&device, &data).unwrap()
        };
        // Shifted keys are any keys with rows behind them.
        let k = plan.shift().map_or(k, |shift| shift.bytes);
        let (q, k, v) = (random(q), random(k), random(v));
        let alloc = |bytes: u64| Buffer::alloc(&device, usize::try_from(bytes).unwrap()).unwrap();
        let (o, lse, workspace) = (alloc(o), alloc(lse), alloc(plan.workspace_bytes()));
        let mask = Buffer::from_slice(&device, &m_mask(MASK_DIM)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let args = FlashFwdOperands {
            q: (&q).into(),
            k: (&k).into(),
            v: (&v).into(),
            mask: (&mask).into(),
            o: (&o).into(),
            lse: (&lse).into(),
            workspace: (&workspace).into(),
            tiling: &tiling,
        };
        let args = args.args().unwrap();
        let kernel = module.kernel(&kernel).unwrap();
        let fault = fault_of(kernel.launch(&stream, CORES, &args).and_then(|()| stream.synchronize()));
        if fault.is_some() {
            return fault;
        }
    }
    None
}

#[test]
fn the_kernel_itself_meets_no_fault() {
    let original = Mutant { what: "nothing".to_owned(), text: kernel_text() };
    assert_eq!(first_fault(&FAMILY.compile(&[(0, &original)]), 0), None);
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let mutants = mutants();
    check(&outcomes(&mutants, &FAMILY, first_fault), REDUNDANT);
}
