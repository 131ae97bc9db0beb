//! The table of cases.

use fastattention_cpu::DType::{self, Bf16, F16, F32};

use crate::case::Case;
use crate::case::Layout::{self, Dense, Gaps, HeadsFirst, Listed, Paged, PagedHeadsFirst};

const NONE: (Option<usize>, Option<usize>) = (None, None);
const CAUSAL: (Option<usize>, Option<usize>) = (None, Some(0));

fn case(why: &'static str, dtype: DType, slots: &[(usize, usize)], sizes: [usize; 4]) -> Case {
    let [heads, heads_k, dim, dim_v] = sizes;
    let (slots, window, layout) = (slots.to_vec(), NONE, Dense);
    Case { why, dtype, slots, heads, heads_k, dim, dim_v, window, layout, packed: false }
}

impl Case {
    fn window(mut self, left: Option<usize>, right: Option<usize>) -> Self {
        self.window = (left, right);
        self
    }

    fn causal(mut self) -> Self {
        self.window = CAUSAL;
        self
    }

    fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    fn packed(mut self) -> Self {
        self.packed = true;
        self
    }
}

/// Every way that rows, keys, masks, types and layouts take through the kernels.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("prefill, a panel and a bit", F16, &[(50, 70)], [2, 2, 64, 64]),
        case("prefill, several blocks of keys", F32, &[(40, 300)], [2, 1, 32, 32]),
        case("causal, square", F16, &[(150, 150)], [3, 3, 64, 64]).causal(),
        case("causal, more rows than keys: the first see none", Bf16, &[(60, 33)], [2, 2, 16, 16]).causal(),
        case("causal, chunk of a prompt", F16, &[(37, 390)], [2, 1, 48, 48]).causal(),
        case("causal, many heads of q on one", F32, &[(29, 140)], [8, 1, 24, 40]).causal(),
        case("window to both sides", F16, &[(200, 260)], [2, 2, 32, 32]).window(Some(40), Some(9)),
        case("window to the left, blocks that no row sees", F32, &[(130, 700)], [1, 1, 16, 16])
            .window(Some(20), Some(0)),
        case("window of the diagonal alone", F32, &[(70, 70)], [1, 1, 8, 8]).window(Some(0), Some(0)),
        case("window, more rows than keys", F32, &[(90, 40)], [1, 1, 8, 8]).window(Some(3), Some(2)),
        case("many blocks of rows", F16, &[(420, 64)], [8, 8, 8, 8]).causal(),
        case("keys cut for panels", F32, &[(20, 5000)], [1, 1, 16, 16]),
        case("keys cut for panels, window", F32, &[(20, 5000)], [2, 1, 16, 16]).window(Some(2500), Some(0)),
        case("decode, one row", F16, &[(1, 200)], [4, 4, 64, 64]).causal(),
        case("decode, keys cut", F16, &[(1, 1500)], [8, 2, 64, 64]).causal(),
        case("decode, keys cut, long rows", Bf16, &[(1, 1100)], [4, 1, 256, 256]).causal(),
        case("decode, 3 heads of q on one", F32, &[(1, 77)], [6, 2, 40, 24]).causal(),
        case("decode, 7 heads of q on one", F32, &[(1, 600)], [7, 1, 128, 128]).causal(),
        case("speculative, window", F16, &[(3, 1300)], [4, 1, 32, 32]).window(Some(600), Some(0)),
        case("few rows, no mask", Bf16, &[(5, 33)], [3, 1, 16, 16]),
        case("few rows, rows that see nothing", F32, &[(6, 3)], [2, 1, 16, 16]).causal(),
        case("few rows, some see other parts than others", F32, &[(16, 1024)], [1, 1, 8, 8])
            .window(Some(4), Some(0)),
        case("one row of each", F32, &[(1, 1)], [1, 1, 8, 8]),
        case("rows of one element", F32, &[(40, 40), (2, 40)], [1, 1, 1, 1]).packed(),
        case("odd rows", F16, &[(40, 50), (3, 50)], [2, 1, 37, 51]).causal().packed(),
        case("o wider than k", Bf16, &[(30, 90)], [2, 2, 16, 200]),
        case("no keys", F16, &[(4, 0), (30, 0)], [2, 1, 16, 16]).packed(),
        case("no rows", F16, &[(0, 7)], [2, 1, 16, 16]),
        case("no slots", F16, &[], [2, 1, 16, 16]),
        case("lengths of every kind, decode", F16, &[(1, 0), (1, 1), (1, 513), (1, 64)], [4, 2, 32, 32])
            .causal(),
        case("lengths of every kind, prefill", F32, &[(33, 0), (33, 1), (33, 129), (33, 33)], [2, 1, 16, 16])
            .causal(),
        case("pages in one list, ragged", F16, &[(3, 90), (3, 0), (3, 17), (3, 130)], [4, 2, 32, 32])
            .causal()
            .layout(Listed(16)),
        case("pages in one list, packed", Bf16, &[(30, 90), (0, 5), (1, 300)], [2, 1, 16, 24])
            .causal()
            .layout(Listed(7))
            .packed(),
        case(
            "packed, every kind",
            F16,
            &[(1, 90), (0, 5), (40, 40), (3, 0), (25, 130), (1, 1)],
            [4, 2, 32, 32],
        )
        .causal()
        .packed(),
        case("packed, gaps", F32, &[(17, 17), (1, 70)], [2, 2, 24, 16]).layout(Gaps).packed(),
    ];
    for layout in [HeadsFirst, Gaps, Paged(16), Paged(7), PagedHeadsFirst(128), PagedHeadsFirst(1)] {
        let slots = [(1, 170), (1, 33), (1, 600)];
        cases.push(case("decode in every layout", F16, &slots, [4, 2, 40, 24]).causal().layout(layout));
        cases.push(
            case("prefill in every layout", F16, &[(50, 170), (50, 33)], [4, 2, 40, 24])
                .causal()
                .layout(layout),
        );
    }
    for dim in (8..=256).step_by(8) {
        let dtype = [F16, Bf16, F32][dim / 8 % 3];
        cases.push(case("every head_dim, prefill", dtype, &[(18, 35)], [1, 1, dim, dim]));
        cases.push(case("every head_dim, decode", dtype, &[(1, 35)], [1 + dim / 8 % 5, 1, dim, dim]));
    }
    cases
}
