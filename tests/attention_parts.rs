//! A plan launched in parts: every row block for itself, runs of them, single batches.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of a test; small tensors")]

mod common;

use common::cases::{Case, Layout, Values};
use common::data::{operands, problem};
use common::run::Bench;
use fastattention::attention::{plan_with, Args, Plan};
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::{Candidate, Mask};
use fastattention::DType;
use half::f16;

const UNTOUCHED: u8 = 0xA5;

fn case(mask: Mask, layout: Layout) -> Case {
    Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch: 3,
        num_heads: 4,
        num_heads_k: 2,
        head_dim: 64,
        head_dim_v: 32,
        seqlen_q: 150,
        seqlen_k: 190,
        mask,
        softmax_scale: None,
        values: Values::Normal,
        layout,
        seed: 7,
    }
}

struct Launcher<'a> {
    bench: &'a Bench,
    inputs: [Buffer; 3],
    plan: Plan,
}

impl Launcher<'_> {
    /// o and lse after launches of these plans.
    fn run(&self, plans: &[Plan]) -> Vec<u8> {
        let device = self.bench.operator.device();
        let [.., o_bytes, lse_bytes] = self.plan.shape().operand_bytes();
        let [o, lse] =
            [o_bytes, lse_bytes].map(|n| Buffer::from_slice(device, &vec![UNTOUCHED; n as usize]).unwrap());
        let workspace = Buffer::alloc(device, self.plan.workspace_bytes() as usize).unwrap();
        let stream = Stream::new(device).unwrap();
        let [q, k, v] = &self.inputs;
        for plan in plans {
            let args = Args {
                q: q.into(),
                k: k.into(),
                v: v.into(),
                o: (&o).into(),
                lse: Some((&lse).into()),
                workspace: (&workspace).into(),
            };
            self.bench.operator.launch(&stream, plan, args).unwrap();
        }
        stream.synchronize().unwrap();
        let mut bytes = vec![0; (o_bytes + lse_bytes) as usize];
        let (of_o, of_lse) = bytes.split_at_mut(o_bytes as usize);
        o.copy_to_host(of_o).unwrap();
        lse.copy_to_host(of_lse).unwrap();
        bytes
    }
}

#[test]
fn parts_give_the_bits_of_the_whole_and_leave_the_rest() {
    let bench = Bench::new(|_| {});
    let candidate = Candidate { block_m: 32, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2 };
    for (mask, layout) in [
        (Mask::None, Layout::Bsnd),
        (Mask::Causal, Layout::Bnsd),
        (Mask::Window { left: Some(40), right: Some(9) }, Layout::Gaps),
    ] {
        let case = case(mask, layout);
        let problem = problem(&case);
        let plan = plan_with(&problem, bench.operator.device().soc(), candidate).unwrap();
        let inputs =
            operands::<f16>(&case).map(|o| Buffer::from_slice(bench.operator.device(), &o.data).unwrap());
        let launcher = Launcher { bench: &bench, inputs, plan: plan.clone() };
        let whole = launcher.run(std::slice::from_ref(&plan));
        assert_eq!(plan.num_blocks_m(), 5);

        let rows = (0..3).flat_map(|b| (0..5).map(move |i| (b..b + 1, i..i + 1)));
        let ragged = [(0..1, 0..3), (0..1, 3..5), (1..2, 0..5), (2..3, 0..1), (2..3, 1..5)];
        let columns = [(0..3, 2..5), (0..3, 0..2)];
        for parts in [rows.collect::<Vec<_>>(), ragged.to_vec(), columns.to_vec()] {
            let parts: Vec<Plan> =
                parts.into_iter().map(|(batches, blocks)| plan.part(batches, blocks).unwrap()).collect();
            assert!(launcher.run(&parts) == whole, "{mask}: bits differ");
        }

        // Of one part alone, the other rows are as they were.
        let alone = launcher.run(&[plan.part(1..2, 1..3).unwrap()]);
        let [.., o_bytes, _] = plan.shape().operand_bytes();
        let stride = plan.shape().o_stride;
        for batch in 0..3u64 {
            for (row, head) in (0..150u64).flat_map(|row| (0..4u64).map(move |head| (row, head))) {
                let at = 2 * (batch * stride[0] + row * stride[1] + head * stride[2]) as usize;
                let at_lse = o_bytes as usize + 4 * ((batch * 4 + head) * 150 + row) as usize;
                for bytes in [at..at + 64, at_lse..at_lse + 4] {
                    let given = &alone[bytes.clone()];
                    if batch == 1 && (32..96).contains(&row) {
                        assert!(given == &whole[bytes], "{mask}: row {row} of head {head}");
                    } else {
                        assert!(
                            given.iter().all(|&b| b == UNTOUCHED),
                            "{mask}: batch {batch}, row {row} was written"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn parts_that_do_not_exist_are_refused() {
    let bench = Bench::new(|_| {});
    let plan = fastattention::attention::plan(
        &problem(&case(Mask::None, Layout::Bsnd)),
        bench.operator.device().soc(),
    )
    .unwrap();
    let refusal = |batches, blocks| plan.part(batches, blocks).unwrap_err().to_string();
    let blocks = plan.num_blocks_m();
    assert_eq!(refusal(0..4, 0..1), "part of a plan: batches = 0..4, wanted some of 0..3");
    assert_eq!(refusal(1..1, 0..1), "part of a plan: batches = 1..1, wanted some of 0..3");
    assert_eq!(
        refusal(0..1, 0..blocks + 1),
        format!("part of a plan: blocks_m = 0..{}, wanted some of 0..{blocks}", blocks + 1)
    );
}
