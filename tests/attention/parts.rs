//! A plan launched in parts: items one by one, row blocks, single batches, and cuts in the middle of all of
//! these.

use fastattention::attention::{plan_with, Args, FlashAttention, Plan};
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::{Candidate, Mask};
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::data::{operands, problem};
use fastattention_testkit::device::attention;
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
    operator: &'a FlashAttention,
    inputs: [Buffer; 3],
    plan: Plan,
}

impl Launcher<'_> {
    /// o and lse after launches of these plans.
    fn run(&self, plans: &[Plan]) -> Vec<u8> {
        let device = self.operator.device();
        let [.., o_bytes, lse_bytes] = self.plan.shape().operand_bytes();
        let [o, lse] =
            [o_bytes, lse_bytes].map(|n| Buffer::from_slice(device, &vec![UNTOUCHED; n as usize]).unwrap());
        let workspace = Buffer::alloc(device, self.plan.workspace_bytes() as usize).unwrap();
        let stream = Stream::new(device).unwrap();
        let [q, k, v] = &self.inputs;
        for plan in plans {
            let args = Args::new(q, k, v, &o, &workspace).with_lse(&lse);
            self.operator.launch(&stream, plan, args).unwrap();
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
    let operator = attention(|_| {});
    let candidate =
        Candidate { block_m: 32, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2, bundle_steps: 1 };
    for (mask, layout) in [
        (Mask::None, Layout::Bsnd),
        (Mask::Causal, Layout::Bnsd),
        (Mask::Window { left: Some(40), right: Some(9) }, Layout::Gaps),
    ] {
        let case = case(mask, layout);
        let problem = problem(&case);
        let plan = plan_with(&problem, operator.device().soc(), candidate).unwrap();
        let inputs = operands::<f16>(&case).map(|o| Buffer::from_slice(operator.device(), &o.data).unwrap());
        let launcher = Launcher { operator: &operator, inputs, plan: plan.clone() };
        let whole = launcher.run(std::slice::from_ref(&plan));
        assert_eq!(plan.num_blocks_m(), 5);

        // 3 batches of 5 row blocks of 4 heads.
        let ragged = [0, 1, 11, 12, 13, 39, 55, 60];
        for cuts in
            [(0..=60).collect::<Vec<u64>>(), (0..=60).step_by(4).collect(), vec![0, 60], ragged.to_vec()]
        {
            let mut parts: Vec<Plan> =
                cuts.windows(2).map(|cut| plan.part(cut[0]..cut[1]).unwrap()).collect();
            assert_same(&launcher.run(&parts), &whole, &format!("{mask}: bits"));
            parts.reverse();
            assert_same(&launcher.run(&parts), &whole, &format!("{mask}: bits"));
        }

        // Of one part alone, the rest is as it was: row blocks 1 and 2 of batch 1, but for head 3 in the
        // second one.
        let alone = launcher.run(&[plan.part(24..31).unwrap()]);
        let [.., o_bytes, _] = plan.shape().operand_bytes();
        let stride = plan.shape().o_stride;
        for batch in 0..3u64 {
            for (row, head) in (0..150u64).flat_map(|row| (0..4u64).map(move |head| (row, head))) {
                let at = 2 * (batch * stride[0] + row * stride[1] + head * stride[2]) as usize;
                let at_lse = o_bytes as usize + 4 * ((batch * 4 + head) * 150 + row) as usize;
                for bytes in [at..at + 64, at_lse..at_lse + 4] {
                    let given = &alone[bytes.clone()];
                    if batch == 1 && (32..if head == 3 { 64 } else { 96 }).contains(&row) {
                        assert_same(given, &whole[bytes], &format!("{mask}: row {row} of head {head}"));
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

/// Many keys, of which rows see few, so that K and V are more than L2 holds and the work is little.
#[test]
fn groups_of_heads_give_the_bits_of_single_items() {
    let operator = attention(|_| {});
    let mask = Mask::Window { left: Some(70), right: Some(9) };
    let soc = operator.device().soc();
    let case = Case {
        batch: 2,
        num_heads: 3,
        num_heads_k: 3,
        // K and V of two heads fit L2, those of three do not.
        seqlen_k: u32::try_from(soc.l2_bytes / 500).unwrap(),
        head_dim: 32,
        ..case(mask, Layout::Bsnd)
    };
    let candidate =
        Candidate { block_m: 16, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2, bundle_steps: 1 };
    let plan = plan_with(&problem(&case), soc, candidate).unwrap();
    // The second of three groups has a head of each batch.
    assert_eq!((plan.group_heads(), plan.num_items()), (2, 60), "{plan}");
    let inputs = operands::<f16>(&case).map(|o| Buffer::from_slice(operator.device(), &o.data).unwrap());
    let launcher = Launcher { operator: &operator, inputs, plan: plan.clone() };
    let items: Vec<Plan> = (0..60).map(|item| plan.part(item..item + 1).unwrap()).collect();
    assert_same(&launcher.run(&items), &launcher.run(&[plan]), "one item at a time");
}

#[test]
fn parts_that_do_not_exist_are_refused() {
    let operator = attention(|_| {});
    let plan =
        fastattention::attention::plan(&problem(&case(Mask::None, Layout::Bsnd)), operator.device().soc())
            .unwrap();
    let items = u64::from(plan.num_blocks_m()) * 12;
    for given in [0..items + 1, 1..1, items..u64::MAX, u64::from(u32::MAX) + 1..u64::from(u32::MAX) + 2] {
        let text =
            format!("part of a plan: items = {given:?} given, at least one item inside 0..{items} wanted");
        assert_eq!(plan.part(given).unwrap_err().to_string(), text);
    }
}
