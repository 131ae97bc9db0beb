//! All features of an append by pairs: in each shard each two levels of two features meet, with copies of the
//! host and rotations in f64 as the answer.

use fastattention::append::{Pairing, PlaceType, Report};
use fastattention::DType;
use fastattention_testkit::compare::assert_same;
use fastrand::Rng;

use super::rotary::{inputs, launch, Queries, Turned, POSITIONS};
use super::Cache::{self, Gaps, Nz, Padded, PaddedHeadsFirst, Paged, PagedHeadsFirst, Vllm};
use super::{append, run, wanted, Case, Rows};
use crate::cover::cover;

const DTYPES: [DType; 2] = [DType::F16, DType::Bf16];
const INTEGERS: [PlaceType; 2] = [PlaceType::I32, PlaceType::I64];
/// One, tails of tiles, more than there are cores, several tiles of a core.
const TOKENS: [usize; 5] = [1, 7, 33, 90, 260];
/// With most heads of q and elements of each they are near the most that UB takes.
const HEADS: [usize; 5] = [1, 2, 3, 8, 16];
/// Of K and V. What is rotated is a multiple of 16.
const DIMS: [[usize; 2]; 6] = [[16, 16], [64, 64], [80, 20], [128, 128], [96, 7], [256, 40]];
/// Keys of a page, or of a slot.
const PAGES: [usize; 4] = [1, 4, 16, 130];
const ROWS: [Rows; 5] = [Rows::Dense, Rows::Fused, Rows::HeadsFirst, Rows::Gaps, Rows::TokenGaps];
const PAIRINGS: [Option<Pairing>; 3] = [None, Some(Pairing::Halves), Some(Pairing::Adjacent)];
/// Parts of a head that are rotated.
const PARTS: [usize; 3] = [1, 2, 4];
/// Heads of q for each of K and V; 0: no q.
const GROUPS: [usize; 3] = [0, 1, 4];

/// What is wrong with one of the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Place,
    Position,
}
const WRONG: [Wrong; 3] = [Wrong::Nothing, Wrong::Place, Wrong::Position];

/// Levels of each feature, in the order in which [`Combination::new`] takes them.
const LEVELS: [usize; 19] = [
    DTYPES.len(),
    INTEGERS.len(), // places
    INTEGERS.len(), // positions
    TOKENS.len(),
    HEADS.len(),
    DIMS.len(),
    7, // layouts of the cache
    PAGES.len(),
    ROWS.len(), // of k and v
    PAIRINGS.len(),
    PARTS.len(),
    GROUPS.len(),
    ROWS.len(), // of q
    ROWS.len(), // of q_out
    2,          // q in place
    2,          // places that follow each other
    2,          // checked
    WRONG.len(),
    2, // another interleaving
];

/// Shards of the long run.
const SHARDS: u64 = 60;

#[derive(Clone, Copy, Debug)]
struct Combination {
    turned: Turned,
    /// Whether anything is rotated; else of `turned` only the case counts.
    is_rotated: bool,
    has_runs: bool,
    wrong: Wrong,
    interleaving: Option<u64>,
    seed: u64,
}

impl Combination {
    fn new(levels: &[usize], seed: u64) -> Self {
        let &[dtype, places, positions, tokens, heads, dims, cache, page, rows, pairing, part, group, from, to, own, runs, checked, wrong, turn] =
            levels
        else {
            unreachable!("a level of each feature")
        };
        let (tokens, heads, size) = (TOKENS[tokens], HEADS[heads], PAGES[page]);
        let cache = cache_of(cache, tokens.div_ceil(size) + 2, size);
        // On their way to vLLM's pages rotated rows take more of UB; too many heads are refused.
        let is_narrow = matches!(cache, Vllm { .. }) && PAIRINGS[pairing].is_some();
        let most = if is_narrow { 1024 / DIMS[dims].into_iter().max().unwrap_or(1) } else { usize::MAX };
        let heads = heads.min(most);
        let case = Case {
            dtype: DTYPES[dtype],
            place_type: INTEGERS[places],
            tokens,
            heads,
            dims: DIMS[dims],
            cache,
            rows: ROWS[rows],
            is_checked: checked == 1,
        };
        let case = supported(case);
        let to = (own == 0).then_some(ROWS[to]);
        let q = (GROUPS[group] > 0).then(|| Queries { heads: GROUPS[group] * heads, from: ROWS[from], to });
        let turned = Turned {
            case,
            pairing: PAIRINGS[pairing].unwrap_or(Pairing::Halves),
            dims: (case.dims[0] / PARTS[part]).next_multiple_of(16),
            q,
            position_type: INTEGERS[positions],
        };
        Self {
            turned,
            is_rotated: PAIRINGS[pairing].is_some(),
            has_runs: runs == 1,
            wrong: WRONG[wrong],
            interleaving: (turn == 1).then_some(seed),
            seed,
        }
    }

    /// Launches, and compares all that is written.
    fn check(&self) {
        let (case, rng) = (&self.turned.case, &mut Rng::with_seed(self.seed));
        let operator = append(|config| {
            config.threads = 1;
            config.seed = self.interleaving;
        });
        let mut inputs = inputs(&self.turned, rng);
        if self.has_runs {
            inputs.places = case.runs(rng);
        }
        let token = rng.usize(..case.tokens);
        match self.wrong {
            Wrong::Place => inputs.places[token] = case.cache.num_places() as i64,
            Wrong::Position => inputs.positions[token] = POSITIONS as i64,
            Wrong::Nothing => {}
        }
        let report = if self.is_rotated {
            launch(&operator, &self.turned, &inputs)
        } else {
            let rows = case.rows(rng);
            let left = run(&operator, case, &rows, &inputs.places);
            for (got, want) in left.caches.iter().zip(&wanted(case, &rows, &inputs.places)) {
                assert_same(got, want, &format!("{self:?}"));
            }
            left.report
        };
        let is_wrong = self.wrong == Wrong::Place || (self.is_rotated && self.wrong == Wrong::Position);
        let told = u64::from(is_wrong && case.is_checked);
        let tokens: Vec<usize> = report.mistakes.iter().map(|mistake| mistake.token).collect();
        assert_eq!((report.num_wrong, tokens), (told, vec![token; told as usize]), "{self:?}");
        assert_eq!(report == Report::default(), told == 0, "{self:?}");
    }
}

fn cache_of(layout: usize, pages: usize, size: usize) -> Cache {
    match layout {
        0 => Paged { pages, size },
        1 => PagedHeadsFirst { pages, size },
        2 => Padded { slots: pages, keys: size },
        3 => PaddedHeadsFirst { slots: pages, keys: size },
        4 => Nz { pages, size },
        5 => Vllm { pages, size },
        _ => Gaps { pages, size },
    }
}

/// The nearest case that is not refused; refusals have tests of their own.
fn supported(case: Case) -> Case {
    let is_whole = case.dims.iter().all(|dim| dim.is_multiple_of(16));
    match case.cache {
        Nz { pages, size } if !is_whole => Case { cache: PagedHeadsFirst { pages, size }, ..case },
        // Heads side by side, whatever lies between tokens.
        Nz { .. } | Vllm { .. } if !matches!(case.rows, Rows::Dense | Rows::Fused) => {
            Case { rows: Rows::Fused, ..case }
        }
        _ => case,
    }
}

fn check_shard(number: u64) -> usize {
    let rows = cover(&LEVELS, number);
    for (i, levels) in rows.iter().enumerate() {
        Combination::new(levels, number << 16 | i as u64).check();
    }
    rows.len()
}

#[test]
fn each_pair_of_features_is_right() {
    let count = check_shard(0);
    assert!(count >= 30, "{count} cases");
}

#[test]
#[ignore = "2 minutes: cargo test --test attention append::pairwise -- --ignored --nocapture"]
fn each_pair_of_features_is_right_in_all_shards() {
    let mut count = 0;
    for number in 0..SHARDS {
        count += check_shard(number);
        eprintln!("shard {number}: right, {count} cases so far");
    }
    assert!(count >= 2000, "{count} cases");
}
