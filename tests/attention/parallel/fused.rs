//! Attention and the product behind it in one launch, against a launch of each: the same bits, without a
//! race, in any interleaving.

use fastattention::attention::{self, Mask};
use fastattention::matmul::{self, BLayout};
use fastattention::parallel::{plan_with, AttentionMatmul, Problem, Sequence, TilingAllReduce};
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::Candidate;
use fastattention::{DType, ErrorKind};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::device::device;
use half::{bf16, f16};

use crate::soc_of_devices;

use super::layer::{Layer, Values};
use super::{Buffers, Rank};

const SEEDS: [Option<u64>; 3] = [None, Some(1), Some(2)];

/// A layer of equally long sequences, its row blocks small enough for some of every kind.
struct Fused<T> {
    layer: Layer<T>,
    attention: attention::Plan,
    product: matmul::Plan,
}

impl<T: Values> Fused<T> {
    fn new(problem: Problem, block_m: u32, weight: BLayout) -> Self {
        let p = &problem;
        let batch = p.sequences.len() as u32;
        let Sequence { seqlen_q, seqlen_k } = p.sequences.iter().next().unwrap();
        let attention =
            attention::Problem::new(p.spec.dtype, [batch, seqlen_q, p.spec.num_heads, p.spec.head_dim])
                .with_seqlen_k(seqlen_k)
                .with_num_heads_k(p.spec.num_heads_k)
                .with_mask(p.spec.mask)
                .with_score_dtype(p.spec.score_dtype);
        let candidate =
            Candidate { block_m, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2, bundle_steps: 1 };
        let mnk = [batch * seqlen_q, p.hidden, p.in_features()];
        let product = matmul::Problem::new(p.spec.dtype, mnk).with_b_layout(weight);
        Self {
            attention: attention::plan_with(&attention, soc_of_devices(), candidate).unwrap(),
            product: matmul::plan(&product, soc_of_devices()).unwrap(),
            layer: Layer::new(problem, 21),
        }
    }

    /// o and the product, of one launch or of two.
    fn run(&self, operator: &AttentionMatmul, in_one: bool) -> [Vec<u8>; 2] {
        let device = operator.device();
        let shard = self.layer.shard(0);
        let upload = |values: &[T]| Buffer::from_slice(device, values).unwrap();
        let alloc = |bytes: u64| Buffer::alloc(device, bytes as usize).unwrap();
        let ([.., o, _], [_, _, c]) =
            (self.attention.shape().operand_bytes(), self.product.problem().operand_bytes());
        let [q, k, v, b] = [&shard.q, &shard.k, &shard.v, &shard.weight].map(|values| upload(values));
        let (o, c, workspace) = (alloc(o), alloc(c), alloc(self.attention.workspace_bytes()));
        let attention = attention::Args::new(&q, &k, &v, &o, &workspace);
        let product = matmul::Args::new(&o, &b, &c);
        let stream = Stream::new(device).unwrap();
        if in_one {
            operator.launch(&stream, (&self.attention, attention), (&self.product, product)).unwrap();
        } else {
            operator.attention().launch(&stream, &self.attention, attention).unwrap();
            operator.matmul().launch(&stream, &self.product, product).unwrap();
        }
        stream.synchronize().unwrap();
        [o, c].map(|buffer| {
            let mut bytes = vec![0; buffer.len_bytes()];
            buffer.copy_to_host(&mut bytes).unwrap();
            bytes
        })
    }

    /// Cores of the attention and of the product.
    fn num_cores(&self) -> [u32; 2] {
        [self.attention.num_cores(), self.product.num_cores()]
    }

    #[track_caller]
    fn check(&self) {
        let expected = self.run(&AttentionMatmul::new(&device(|config| config.seed = None)).unwrap(), false);
        for seed in SEEDS {
            let got = self.run(&AttentionMatmul::new(&device(|config| config.seed = seed)).unwrap(), true);
            assert_same(&got, &expected, &format!("seed {seed:?}: {}\n{}", self.attention, self.product));
        }
    }
}

#[test]
fn one_launch_gives_the_bits_of_two() {
    let problem = |shape, hidden| Problem::new(DType::F16, shape, hidden, 1);
    // Odd lengths, shared heads, more items than cores; a product for fewer cores than the attention has.
    let many = problem([3, 157, 6, 32], 96).with_num_heads_k(2).with_mask(Mask::Causal);
    let many = Fused::<f16>::new(many, 32, BLayout::Kn);
    assert_eq!((many.attention.num_items(), many.num_cores()[0]), (90, soc_of_devices().cube_cores));
    assert!(many.num_cores()[1] < soc_of_devices().cube_cores, "{}", many.product);
    many.check();
    // Fewer items than cores, and more tiles.
    let few = Fused::<f16>::new(problem([1, 41, 2, 48], 1500), 32, BLayout::Kn);
    assert_eq!(few.num_cores()[0], 4, "{}", few.attention);
    assert!(few.num_cores()[1] > 4, "{}", few.product);
    few.check();
    // A single item.
    Fused::<f16>::new(problem([1, 1, 1, 64], 33), 16, BLayout::Kn).check();
}

#[test]
fn types_masks_and_weights_of_the_two_kernels_are_those_of_the_one() {
    let window = Mask::Window { left: Some(40), right: Some(9) };
    let bf16_layer = Problem::new(DType::Bf16, [2, 75, 4, 64], 200, 1).with_mask(window);
    Fused::<bf16>::new(bf16_layer, 32, BLayout::Nk).check();
    let scores_f16 = Problem::new(DType::F16, [1, 130, 4, 32], 300, 1).with_score_dtype(DType::F16);
    Fused::<f16>::new(scores_f16.with_mask(Mask::Causal), 64, BLayout::Kn).check();
    // The first 30 of 70 rows see no key.
    let sequences = vec![Sequence { seqlen_q: 70, seqlen_k: 40 }; 2];
    let empty = Problem::new(DType::F16, [1, 1, 2, 32], 64, 1).with_mask(Mask::Causal);
    Fused::<f16>::new(empty.with_sequences(sequences), 16, BLayout::Kn).check();
}

#[test]
fn a_product_of_another_type_is_refused() {
    let fused = Fused::<f16>::new(Problem::new(DType::F16, [1, 20, 1, 32], 16, 1), 16, BLayout::Kn);
    let wide = matmul::Problem::new(DType::F16, [20, 16, 32]).with_dtype_out(DType::F32);
    let operator = AttentionMatmul::new(&device(|config| config.seed = None)).unwrap();
    let product = matmul::plan(&wide, operator.device().soc()).unwrap();
    let buffer = Buffer::alloc(operator.device(), 1 << 20).unwrap();
    let at = &buffer;
    let attention = attention::Args::new(at, at, at, at, at);
    let stream = Stream::new(operator.device()).unwrap();
    let product_args = matmul::Args::new(at, at, at);
    let error =
        operator.launch(&stream, (&fused.attention, attention), (&product, product_args)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        error.to_string(),
        "attention and matmul launch: a product with dtype = f16 and dtype_out = f32 given, f16 wanted for both, as dtype of \
         the attention is"
    );
}

/// Blocks with several attention launches, and with one or none; none has a race.
#[test]
fn blocks_of_any_number_of_launches_give_the_same_bits() {
    let lengths = [(300, 300), (70, 90), (70, 90), (40, 40)];
    let sequences = lengths.map(|(seqlen_q, seqlen_k)| Sequence { seqlen_q, seqlen_k });
    let problem = Problem::new(DType::F16, [1, 1, 4, 32], 64, 1).with_num_heads_k(2).with_mask(Mask::Causal);
    let layer = Layer::<f16>::new(problem.with_sequences(sequences.to_vec()), 9);
    let run = |seed, block_rows: &[u32]| {
        let plan = plan_with(&layer.problem, soc_of_devices(), block_rows).unwrap();
        let operator = TilingAllReduce::alone(&device(|config| config.seed = seed)).unwrap();
        let mut rank = Rank {
            buffers: Buffers::new(operator.device(), &layer, &plan, 0),
            stream: Stream::new(operator.device()).unwrap(),
            operator,
        };
        rank.launch(&plan).unwrap();
        rank.stream.synchronize().unwrap();
        let launches: Vec<usize> = plan.blocks().iter().map(|block| block.num_launches()).collect();
        (launches, rank.y())
    };
    let (launches, expected) = run(None, &[480]);
    assert_eq!(launches, [4]);
    layer.check(&expected).unwrap();
    for seed in SEEDS {
        let (launches, y) = run(seed, &[128, 242, 110]);
        assert!(launches.contains(&1) && launches.iter().any(|&count| count > 1), "{launches:?}");
        assert_same(&y, &expected, &format!("seed {seed:?}"));
    }
}
