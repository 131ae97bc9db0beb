//! The features and their levels, and the case that a combination of levels makes.

use fastattention::serving::{KvLayout, KvOrder, Mask, Problem};
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::serving::ServingCase;
use fastrand::Rng;

use super::strides::{of_cache, of_rows, Gap};

/// Which rows the slots have.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// The same number in all slots.
    Same(u32),
    /// Packed: one each.
    Decode,
    /// As many as keys.
    Prompts,
    Mixed,
    /// Few, or none; the class has room for more.
    Steps,
    /// More than a task has, and more than keys.
    Long,
}

#[derive(Clone, Copy, Debug)]
enum Lengths {
    Short,
    WithNone,
    /// On both sides of the ends of pages and units.
    Edges,
    Long,
    None,
}

/// Where operands lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allocations {
    Own,
    /// K and V are two parts of one, and so are the lists.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QRows {
    Dense,
    Gaps,
    /// One row for all heads.
    Repeated,
}

const fn window(left: u32, right: u32) -> Mask {
    Mask::Window { left: Some(left), right: Some(right) }
}

const DTYPES: [DType; 2] = [DType::F16, DType::Bf16];
const ROWS: [Rows; 8] = [
    Rows::Same(1),
    Rows::Same(4),
    Rows::Same(16),
    Rows::Decode,
    Rows::Prompts,
    Rows::Mixed,
    Rows::Steps,
    Rows::Long,
];
const LENGTHS: [Lengths; 5] =
    [Lengths::Short, Lengths::WithNone, Lengths::Edges, Lengths::Long, Lengths::None];
/// Keys of a page; 0: no pages.
const PAGE_SIZES: [u32; 8] = [0, 8, 16, 32, 64, 128, 256, 512];
const MASKS: [Mask; 7] = [
    Mask::None,
    Mask::Causal,
    window(0, 0),
    window(17, 0),
    window(40, 5),
    Mask::Window { left: None, right: Some(3) },
    Mask::Window { left: Some(130), right: None },
];
/// Of q, of k and v.
const HEADS: [(u32, u32); 7] = [(1, 1), (4, 4), (4, 2), (8, 2), (6, 1), (6, 3), (8, 1)];
const DIMS: [(u32, u32); 8] =
    [(16, 16), (32, 64), (64, 32), (80, 48), (128, 128), (192, 128), (256, 256), (48, 240)];
/// Room in the block table, and whether it is one list.
#[derive(Clone, Copy, Debug)]
enum Table {
    Needed,
    Wide,
    List,
    WideList,
}

const ORDERS: [KvOrder; 4] = [KvOrder::KeysFirst, KvOrder::HeadsFirst, KvOrder::Nz, KvOrder::Vllm];
const TABLES: [Table; 4] = [Table::Needed, Table::Wide, Table::List, Table::WideList];
const Q_ROWS: [QRows; 3] = [QRows::Dense, QRows::Gaps, QRows::Repeated];
const GAPS: [Gap; 3] = [Gap::None, Gap::Odd, Gap::Aligned];
const SCALES: [Option<f32>; 3] = [None, Some(0.3), Some(-0.05)];
const VALUES: [Values; 4] = [Values::Normal, Values::LargeLogits, Values::EqualScores, Values::Growing];
const ALLOCATIONS: [Allocations; 2] = [Allocations::Own, Allocations::Shared];

/// Levels of each feature, in the order in which [`Combination::new`] takes them.
pub(super) const LEVELS: [usize; 19] = [
    DTYPES.len(),
    ROWS.len(),
    LENGTHS.len(),
    PAGE_SIZES.len(),
    ORDERS.len(),
    TABLES.len(),
    Q_ROWS.len(),
    GAPS.len(), // of K and V
    GAPS.len(), // of o
    MASKS.len(),
    HEADS.len(),
    DIMS.len(),
    2, // lse
    2, // batch invariant
    2, // checked
    ALLOCATIONS.len(),
    SCALES.len(),
    VALUES.len(),
    2, // another interleaving
];

/// A case and what the testkit's cases do not have.
#[derive(Clone, Debug)]
pub(super) struct Combination {
    pub(super) case: ServingCase,
    pub(super) q_rows: QRows,
    pub(super) kv_gap: Gap,
    pub(super) o_gap: Gap,
    pub(super) want_lse: bool,
    pub(super) is_checked: bool,
    pub(super) allocations: Allocations,
    /// Of the order of pipes and cores.
    pub(super) interleaving: Option<u64>,
}

impl Combination {
    pub(super) fn new(levels: &[usize], seed: u64) -> Self {
        let &[dtype, rows, lengths, page, order, table, q, kv_gap, o_gap, mask, heads, dims, lse, own, checked, place, scale, values, turn] =
            levels
        else {
            unreachable!("a level of each feature")
        };
        let mut rng = Rng::with_seed(seed);
        let page_size = PAGE_SIZES[page];
        let lengths = lengths_of(LENGTHS[lengths], page_size, &mut rng);
        let (rows, most_rows) = rows_of(ROWS[rows], &lengths, &mut rng);
        let max_keys = lengths.iter().max().unwrap() + 7 * rng.u32(..2);
        let ((num_heads, num_heads_k), (head_dim, head_dim_v)) = (HEADS[heads], DIMS[dims]);
        let order = order_of(ORDERS[order], page_size, head_dim);
        let kv = layout_of(page_size, order, TABLES[table], &lengths, max_keys);
        let base = Case {
            dtype: DTYPES[dtype],
            score_dtype: DType::F32,
            batch: 1,
            num_heads,
            num_heads_k,
            head_dim,
            head_dim_v,
            seqlen_q: most_rows,
            seqlen_k: max_keys,
            mask: MASKS[mask],
            softmax_scale: SCALES[scale],
            values: VALUES[values],
            layout: Layout::Bsnd,
            seed: seed >> 1,
        };
        Self {
            case: ServingCase { base, rows, lengths, kv, is_batch_invariant: own == 1 },
            q_rows: Q_ROWS[q],
            kv_gap: GAPS[kv_gap],
            o_gap: GAPS[o_gap],
            want_lse: lse == 1,
            is_checked: checked == 1,
            allocations: ALLOCATIONS[place],
            interleaving: (turn == 1).then_some(seed),
        }
    }

    pub(super) fn problem(&self) -> Problem {
        let c = &self.case.base;
        let mut problem = self.case.problem();
        (problem.want_lse, problem.is_checked) = (self.want_lse, self.is_checked);
        let rows = problem.total_rows.unwrap_or(problem.rows);
        let own = |dim, gap| of_rows([rows, c.num_heads, dim], gap);
        problem.q_stride = match self.q_rows {
            QRows::Dense => None,
            QRows::Gaps => Some(own(c.head_dim, Gap::Odd)),
            QRows::Repeated => {
                Some(of_rows([rows, 1, c.head_dim], Gap::Aligned)).map(|[slot, row, _]| [slot, row, 0])
            }
        };
        let keys = self.case.kv.pages.map_or(c.seqlen_k, |pages| pages.page_size);
        if self.kv_gap != Gap::None {
            let strides = cache_shapes(&self.case).map(|shape| {
                let (is_by_head, gap) = order_and_gap(self.case.kv.order, self.kv_gap);
                let [heads, dim] = shape;
                of_cache([keys, heads, dim], is_by_head, gap)
            });
            (problem.k_stride, problem.v_stride) = (Some(strides[0]), Some(strides[1]));
        }
        if self.o_gap != Gap::None {
            problem.o_stride = Some(own(c.head_dim_v, self.o_gap));
        }
        problem
    }
}

/// Runs of elements of each key and elements of one, of k and v: heads, or their pieces.
pub(super) fn cache_shapes(case: &ServingCase) -> [[u32; 2]; 2] {
    let c = &case.base;
    let pieces = match case.kv.order {
        KvOrder::Nz => [16, 16],
        KvOrder::Vllm => [8, 1],
        _ => [c.head_dim, c.head_dim_v],
    };
    [(c.head_dim, pieces[0]), (c.head_dim_v, pieces[1])].map(|(dim, x)| [c.num_heads_k * dim / x, x])
}

/// Keys of a piece lie side by side.
pub(super) fn order_and_gap(order: KvOrder, gap: Gap) -> (bool, Gap) {
    match order {
        KvOrder::KeysFirst => (false, gap),
        KvOrder::HeadsFirst => (true, gap),
        _ => (true, gap.without_inner()),
    }
}

fn lengths_of(kind: Lengths, page_size: u32, rng: &mut Rng) -> Vec<u32> {
    let slots = match kind {
        Lengths::Long => rng.usize(1..=2),
        _ => rng.usize(1..=5),
    };
    let edge = if page_size == 0 || rng.bool() { 128 } else { page_size.min(256) };
    let one = |rng: &mut Rng| match kind {
        Lengths::Short => rng.u32(1..=40),
        Lengths::WithNone => rng.u32(0..=140) * u32::from(rng.bool()),
        Lengths::Edges => edge * rng.u32(1..=(280 / edge)) + rng.u32(..3) - 1,
        Lengths::Long => rng.u32(129..=330),
        Lengths::None => 0,
    };
    (0..slots).map(|_| one(rng)).collect()
}

/// Rows of each slot if they are packed, and the most that one may have.
fn rows_of(kind: Rows, lengths: &[u32], rng: &mut Rng) -> (Option<Vec<u32>>, u32) {
    let long = rng.usize(..lengths.len());
    let one = |(slot, &keys): (usize, &u32)| match kind {
        Rows::Same(rows) => rows,
        Rows::Decode => 1,
        Rows::Prompts => keys.min(60),
        Rows::Mixed => [0, 1, 4, rng.u32(..40)][rng.usize(..4)],
        Rows::Steps => [0, rng.u32(1..6)][rng.usize(..2)],
        Rows::Long if slot == long => rng.u32(70..110),
        Rows::Long => 1,
    };
    let rows: Vec<u32> = lengths.iter().enumerate().map(one).collect();
    let most = *rows.iter().max().unwrap();
    match kind {
        Rows::Same(_) => (None, most),
        Rows::Steps => (Some(rows), most + 50),
        _ => (Some(rows), most),
    }
}

fn layout_of(page_size: u32, order: KvOrder, table: Table, lengths: &[u32], max_keys: u32) -> KvLayout {
    let mut kv = KvLayout::padded();
    if page_size > 0 {
        let needed: u32 = lengths.iter().map(|keys| keys.div_ceil(page_size)).sum();
        kv = KvLayout::paged(page_size, needed + 2);
        let longest = max_keys.div_ceil(page_size);
        kv = match table {
            Table::Needed => kv,
            Table::Wide => kv.with_table_width(longest + 3),
            Table::List => kv.with_csr_table(needed.max(longest)),
            Table::WideList => kv.with_csr_table(needed + longest + 5),
        };
    }
    match order {
        KvOrder::HeadsFirst => kv.with_heads_first(),
        KvOrder::Nz => kv.with_nz(),
        KvOrder::Vllm => kv.with_vllm(),
        _ => kv,
    }
}

/// The order of pages, or that by heads where the kernel does not have it; refusals have tests of their own.
fn order_of(order: KvOrder, page_size: u32, head_dim: u32) -> KvOrder {
    match order {
        KvOrder::Nz if page_size == 0 => KvOrder::HeadsFirst,
        KvOrder::Vllm if page_size < 16 || head_dim > 128 => KvOrder::HeadsFirst,
        other => other,
    }
}
