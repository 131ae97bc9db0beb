//! Batch invariance: the bits of a row depend on its own sequence alone.

use fastattention::serving::{KvLayout, Mask};
use fastattention::{DType, Soc};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::device::is_host;
use fastattention_testkit::serving::{launch, results, ServingCase};
use half::f16;

use super::{case, serving};

const HEADS: u32 = 8;
const DIM: u32 = 64;

/// A launch of some rows at the end of some first keys of one of four sequences.
#[derive(Clone, Copy, Debug)]
struct Part {
    sequence: u64,
    keys: u32,
    rows: u32,
}

const fn part(sequence: u64, keys: u32, rows: u32) -> Part {
    Part { sequence, keys, rows }
}

/// Values of a sequence by key, so that a part of it has those of the whole: `[keys, heads, DIM]`.
fn values(sequence: u64, what: u64, keys: u32, heads: u32) -> Vec<f16> {
    let mut rng = fastrand::Rng::with_seed(sequence * 8 + what);
    (0..keys * heads * DIM).map(|_| f16::from_f32(rng.f32() * 4.0 - 2.0)).collect()
}

/// Bits of o and of lse of every row of every part, by part and row.
fn rows(parts: &[Part], kv: KvLayout, mask: Mask, soc: &str, is_invariant: bool) -> Vec<Vec<Vec<u8>>> {
    let lengths: Vec<u32> = parts.iter().map(|part| part.keys).collect();
    let mut case = ServingCase {
        rows: Some(parts.iter().map(|part| part.rows).collect()),
        is_batch_invariant: is_invariant,
        ..case(&lengths, kv)
    };
    case.base.seqlen_q = 600;
    (case.base.dtype, case.base.mask) = (DType::F16, mask);
    let tensors = case.tensors_of(|slot, case| {
        let Part { sequence, keys, rows } = parts[slot];
        let all = values(sequence, 0, 1000, HEADS);
        let row = (HEADS * DIM) as usize;
        // Rows sit on the last keys.
        let first = (keys - rows) as usize * row;
        let q = all[first..][..rows as usize * row].to_vec();
        let cache = |what| values(sequence, what, keys, case.num_heads_k);
        [q, cache(1), cache(2)]
    });
    let operator = serving(|config| {
        config.soc = Soc::by_name(soc).unwrap();
        config.threads = 1;
    });
    let out = launch(&operator, &case, &tensors).unwrap();
    for result in results(&case, &tensors, &out) {
        result.check().unwrap();
    }
    let all: u32 = parts.iter().map(|part| part.rows).sum();
    let mut first = 0;
    let mut bits = Vec::new();
    for part in parts {
        let of_row = |row: u32| {
            let at = (row * HEADS * DIM) as usize;
            let mut bits = bytemuck::cast_slice(&out.o[at..at + (HEADS * DIM) as usize]).to_vec();
            for head in 0..HEADS {
                bits.extend(out.lse[(head * all + row) as usize].to_ne_bytes());
            }
            bits
        };
        bits.push((first..first + part.rows).map(of_row).collect());
        first += part.rows;
    }
    bits
}

#[test]
fn bits_of_a_row_do_not_depend_on_the_batch() {
    let whole = part(0, 700, 600);
    let paged = |page_size: u32| KvLayout::paged(page_size, 4000 / page_size);
    for mask in [Mask::Causal, Mask::Window { left: Some(150), right: Some(0) }] {
        let run = |parts: &[Part], kv, soc| rows(parts, kv, mask, soc, true);
        let alone = run(&[whole], paged(128), "Ascend910B2").remove(0);
        // Others before, between and behind; another order; other pages, none; other numbers of cores.
        let others = [part(1, 900, 1), part(2, 64, 64), whole, part(3, 333, 17)];
        let mixed = run(&others, paged(16), "Ascend910B2").remove(2);
        assert_same(&mixed, &alone, &format!("{mask}, in a batch"));
        let mixed =
            run(&[whole, part(3, 1, 1), part(1, 900, 300)], KvLayout::padded(), "Ascend910B4").remove(0);
        assert_same(&mixed, &alone, &format!("{mask}, on another chip"));
        // The same rows in chunks, and the last one as a decode step.
        let chunks = [part(0, 139, 39), part(0, 400, 261), part(0, 699, 299), part(0, 700, 1)];
        let chunks = run(&chunks, paged(64), "Ascend910B2").concat();
        assert_same(&chunks, &alone, &format!("{mask}, in chunks"));
    }
}

/// Without the option the split of long keys depends on the batch, which the test above would see.
#[test]
fn the_option_is_needed() {
    // The host never splits by the batch.
    if is_host() {
        return;
    }
    let decode = part(0, 1000, 1);
    let run = |parts: &[Part], is_invariant| {
        rows(parts, KvLayout::paged(128, 40), Mask::Causal, "Ascend910B2", is_invariant).remove(0)
    };
    let batch = [decode, part(1, 900, 1), part(2, 640, 64)];
    assert_eq!(run(&[decode], true), run(&batch, true));
    assert_ne!(run(&[decode], false), run(&batch, false));
}
