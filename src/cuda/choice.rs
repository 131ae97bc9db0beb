//! Which kernel takes a problem, and how the decode kernels split the keys.
//!
//! **Kernel.** The rows of all heads of q that read one head of k and v are packed for decode. A block of
//! decode (8 or 16 rows) takes some 0.6 of the time of a block for many rows (128) on the same keys, modelled
//! on a V100: so decode is chosen where it has at most 3/2 as many blocks. One row, or a few of each of many
//! heads, are decode; a chunk of a prompt is not.
//!
//! **Groups.** A grid that does not fill the places of the device lasts as long as its longest block. There a
//! kernel with half the rows a block, whose two groups of warps take half of the keys each, has blocks of
//! half the length, which cost 1.2 of theirs (modelled on a V100). The one is chosen whose grid ends first
//! if a free place takes the next block.
//!
//! **Splits.** Decode is bound by memory, of which each multiprocessor gets an even share: so it lasts as
//! long as the multiprocessor with the most blocks reads. The number of splits is the one that makes this
//! the shortest ([`Splits::cost`]), of at most one for every 256 keys begun, below which starting a block and
//! joining the parts takes longer than reading the keys.
//!
//! So how the sums of a row are grouped, and with it their last bits, depends on the shape and on what the
//! device is (its multiprocessors, and the shared memory of each), of slots also on the slot's own length,
//! and on nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::kernels::{self, Kernel, MAX_GRID_YZ, MAX_PACKED_ROWS};
use super::DeviceFacts;
use crate::spec::Shape;

/// Kernels that take a problem: one, or two of which each takes the slots that are its.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    /// For many rows. Of slots: of those that have more than `few_rows`.
    pub(super) many: Option<&'static Kernel>,
    /// For few rows: decode.
    pub(super) few: Option<&'static Kernel>,
    /// The most rows of a sequence that `few` takes; 0 without it.
    pub(super) few_rows: u32,
}

/// Keys of a tile of one group of warps.
const TILE_KEYS: u32 = 64;
/// Cost of a tile of one group, and of one of each of two: fifths.
const TILE_COST: [u64; 2] = [5, 6];
/// Grids of more waves than this lose little at their end.
const MAX_WAVES_OF_GROUPS: u64 = 4;
/// Keys that are worth a block; a multiple of [`STEP_KEYS`].
pub(super) const MIN_KEYS_OF_SPLIT: u32 = 256;
/// More waves than this make nothing more even.
const MAX_WAVES_OF_SPLITS: u64 = 16;
/// Parts of a row that one warp joins sooner than the four of a block do, for the grid has fewer blocks then.
const PARTS_OF_WARP: u32 = 16;
/// Warps of a block.
pub(super) const WARPS: u32 = 4;
/// What a wave costs beside its keys (its blocks start and end together), what joining costs, and what each
/// part and each block that joins add to that: in bytes that memory gives a multiprocessor meanwhile,
/// modelled on a V100.
const WAVE_BYTES: u64 = 24 << 10;
const JOIN_BYTES: u64 = 16 << 10;
const JOIN_BYTES_OF_PART: u64 = 256;
const JOIN_BYTES_OF_BLOCK: u64 = 67;
/// Keys that the decode kernels step by; a split starts at a multiple.
const STEP_KEYS: u32 = 8;

impl Choice {
    fn of_many(kernel: &'static Kernel) -> Self {
        Self { many: Some(kernel), ..Self::default() }
    }

    fn of_few(kernel: &'static Kernel, few_rows: u32) -> Self {
        Self { few: Some(kernel), few_rows, ..Self::default() }
    }

    /// In the order of their launches.
    pub(super) fn kernels(self) -> impl Iterator<Item = &'static Kernel> {
        self.many.into_iter().chain(self.few)
    }
}

/// Heads of q that read one head of k and v.
fn group(shape: &Shape) -> u32 {
    shape.num_heads / shape.num_heads_k
}

fn packed_rows(shape: &Shape) -> u64 {
    u64::from(shape.seqlen_q) * u64::from(group(shape))
}

/// The kernel for a shape; `None` if its heads or head dims are refused.
pub(super) fn choose(shape: &Shape, facts: &DeviceFacts) -> Option<Choice> {
    let decode = decode_kernel(shape)?;
    let forward = kernels::forward(shape.head_dim.max(shape.head_dim_v))?;
    let packed = packed_rows(shape);
    let row_blocks = u64::from(shape.seqlen_q.div_ceil(forward.rows));
    let forward_blocks = u64::from(group(shape)) * row_blocks * u64::from(forward.column_blocks());
    let decode_blocks = packed.div_ceil(u64::from(decode.rows));
    let is_decode = packed <= MAX_PACKED_ROWS && 2 * decode_blocks <= 3 * forward_blocks;
    if is_decode {
        return Some(Choice::of_few(decode, shape.seqlen_q));
    }
    let grouped = kernels::grouped(forward).filter(|grouped| ends_first(shape, grouped, forward, facts));
    Some(Choice::of_many(grouped.unwrap_or(forward)))
}

/// The kernels for slots whose keys lie in pages, or end where device memory says: `None` if their heads or
/// head dims are refused. Which of them takes a slot of packed q depends on its own rows alone.
pub(super) fn for_slots(shape: &Shape, is_packed: bool) -> Option<Choice> {
    let decode = decode_kernel(shape)?;
    let many = kernels::paged(shape.head_dim.max(shape.head_dim_v))?;
    // As in `choose`, for rows that one block of the kernel for many holds.
    let counted = MAX_PACKED_ROWS / u64::from(group(shape));
    let most = u64::from(3 * decode.rows * many.column_blocks() / 2).min(counted);
    let most = u32::try_from(most).expect("a few dozen");
    if shape.seqlen_q <= most {
        return Some(Choice::of_few(decode, shape.seqlen_q));
    }
    let choice = Choice::of_many(many);
    // There may be slots of any rows.
    Some(if is_packed && most > 0 { Choice { few: Some(decode), few_rows: most, ..choice } } else { choice })
}

fn decode_kernel(shape: &Shape) -> Option<&'static Kernel> {
    if shape.num_heads_k == 0 || !shape.num_heads.is_multiple_of(shape.num_heads_k) {
        return None;
    }
    kernels::decode(shape.head_dim.max(shape.head_dim_v), packed_rows(shape))
}

/// Blocks that the device holds at a time.
fn places(kernel: &Kernel, facts: &DeviceFacts) -> u32 {
    let by_shared = facts.shared_bytes_per_multiprocessor / kernel.shared_bytes;
    facts.multiprocessors.saturating_mul(kernel.blocks.min(by_shared.max(1)))
}

fn ends_first(shape: &Shape, grouped: &Kernel, other: &Kernel, facts: &DeviceFacts) -> bool {
    let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
    let blocks = heads * u64::from(shape.seqlen_q.div_ceil(grouped.rows));
    // None where the batch is empty, however many rows it would have.
    (1..=MAX_WAVES_OF_GROUPS * u64::from(places(grouped, facts))).contains(&blocks)
        && end(shape, grouped, facts) < end(shape, other, facts)
}

/// When the last block ends, in the order of the kernels: heads within blocks of rows, the last rows first
/// where they have the most keys.
fn end(shape: &Shape, kernel: &Kernel, facts: &DeviceFacts) -> u64 {
    let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
    let row_blocks = shape.seqlen_q.div_ceil(kernel.rows);
    let step = TILE_KEYS * kernel.key_groups;
    let mut free: BinaryHeap<_> = (0..places(kernel, facts)).map(|_| Reverse(0)).collect();
    for block in 0..row_blocks {
        let block = if shape.limits().1.is_none() { block } else { row_blocks - 1 - block };
        let keys = shape.visible_keys(kernel.rows * block..(kernel.rows * (block + 1)));
        let steps = u64::from(keys.end.div_ceil(step) - keys.start / step);
        // One more for what a block does before and behind its keys.
        let cost = TILE_COST[kernel.key_groups as usize - 1] * (steps + 1);
        for _ in 0..heads {
            if let Some(Reverse(at)) = free.pop() {
                free.push(Reverse(at + cost));
            }
        }
    }
    free.into_iter().map(|Reverse(at)| at).max().unwrap_or(0)
}

/// Blocks of rows of one head of k and v, for a decode kernel.
pub(super) fn row_blocks(shape: &Shape, kernel: &Kernel) -> u32 {
    let blocks = packed_rows(shape).div_ceil(u64::from(kernel.rows));
    u32::try_from(blocks).expect("a decode kernel was chosen, so there are at most 2^20 rows")
}

/// How many parts, and how many keys each has at most, of slots in the longest: all but the last the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Splits {
    pub(super) count: u32,
    pub(super) keys: u32,
}

impl Splits {
    /// Of sequences that have the rows of `shape`, or, packed, up to so many and most often one.
    pub(super) fn new(shape: &Shape, is_packed: bool, kernel: &Kernel, facts: &DeviceFacts) -> Self {
        let heads = u64::from(shape.batch) * u64::from(shape.num_heads_k);
        let blocks = heads * u64::from(row_blocks(shape, kernel));
        let usual = if is_packed { &Shape { seqlen_q: 1, ..*shape } } else { shape };
        let keys = most_keys(shape, kernel);
        let most = keys.div_ceil(MIN_KEYS_OF_SPLIT).clamp(1, MAX_GRID_YZ);
        let filling = MAX_WAVES_OF_SPLITS * u64::from(places(kernel, facts)) / blocks.max(1);
        let most = u32::try_from(filling).unwrap_or(u32::MAX).clamp(1, most);
        let of = |count| {
            let keys_of_split = keys.div_ceil(count).max(1).next_multiple_of(STEP_KEYS);
            Self { count: keys.div_ceil(keys_of_split).max(1), keys: keys_of_split }
        };
        (1..=most).map(of).min_by_key(|splits| splits.cost(usual, kernel, facts)).unwrap_or(of(1))
    }

    /// Warps that join a row's parts.
    pub(super) fn warps_of_row(self) -> u32 {
        if self.count > PARTS_OF_WARP {
            WARPS
        } else {
            1
        }
    }

    /// Bytes that a multiprocessor's share of memory gives until the one with the most blocks has read them
    /// and the parts are joined. The first wave of blocks is dealt evenly to the multiprocessors, and one
    /// with less blocks than take all that memory gives lasts as long as if it had them. Later blocks go
    /// where places become free: whole multiprocessors at a time, for equal blocks end together. So a last
    /// wave that is not full lasts as long as one that is.
    fn cost(self, shape: &Shape, kernel: &Kernel, facts: &DeviceFacts) -> u64 {
        let multiprocessors = u64::from(facts.multiprocessors.max(1));
        let heads_k = u64::from(shape.batch) * u64::from(shape.num_heads_k);
        let blocks = heads_k * u64::from(row_blocks(shape, kernel)) * u64::from(self.count);
        let places = u64::from(places(kernel, facts));
        let waves = blocks.div_ceil(places.max(1));
        let of_one =
            if waves > 1 { waves * places / multiprocessors } else { blocks.div_ceil(multiprocessors) };
        let (dims, dims_v) = (u64::from(shape.head_dim), u64::from(shape.head_dim_v));
        // Of K and V, of the blocks on a multiprocessor: at least as many as those of whole head dims that
        // take all that memory gives.
        let least = 2 * u64::from(kernel.head_dim) * u64::from(kernel.blocks_for_memory);
        let columns = (of_one * (dims + dims_v)).max(least);
        let read = columns * u64::from(self.keys) * shape.dtype.size_bytes() as u64 + waves * WAVE_BYTES;
        if self.count == 1 {
            return read;
        }
        // Sums in f32, written and read.
        let parts = of_one * u64::from(kernel.rows) * dims_v * 8 + u64::from(self.count) * JOIN_BYTES_OF_PART;
        let rows = u64::from(shape.batch) * u64::from(shape.num_heads) * u64::from(shape.seqlen_q);
        let joining = rows * dims_v.div_ceil(64) * u64::from(self.warps_of_row()) / u64::from(WARPS);
        read + parts + JOIN_BYTES + joining * JOIN_BYTES_OF_BLOCK
    }
}

/// An upper bound of the keys that a block of packed rows walks over: those that its rows see, from a
/// multiple of a step on.
fn most_keys(shape: &Shape, kernel: &Kernel) -> u32 {
    let queries = (kernel.rows - 1) / group(shape) + 2;
    shape.widest(queries.min(shape.seqlen_q)).saturating_add(STEP_KEYS - 1).min(shape.seqlen_k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Mask, Problem};
    use crate::DType;

    fn shape(problem: Problem) -> Shape {
        problem.shape()
    }

    /// The name of the only kernel.
    fn only(choice: Choice) -> &'static str {
        let names: Vec<_> = choice.kernels().map(|kernel| kernel.text.name).collect();
        let [name] = names[..] else { panic!("one kernel expected: {names:?}") };
        name
    }

    fn name([seqlen_q, heads, heads_k, dim]: [u32; 4]) -> &'static str {
        let problem = Problem::new(DType::F16, [1, seqlen_q, heads, dim]).with_num_heads_k(heads_k);
        only(choose(&shape(problem.with_seqlen_k(4096)), &DeviceFacts::v100()).unwrap())
    }

    #[test]
    fn few_rows_are_decode() {
        for (sizes, want) in [
            ([1, 32, 32, 128], "flash_decode_f16_d128_r8"),
            ([1, 32, 2, 128], "flash_decode_f16_d128_r16"),
            ([8, 32, 32, 64], "flash_decode_f16_d64_r8"),
            ([16, 32, 32, 80], "flash_decode_f16_d128_r16"),
            ([17, 32, 32, 80], "flash_fwd_f16_d80"),
            // 24 rows of 8 heads: 12 blocks of 16 rows, against 8 of which each has one head.
            ([24, 32, 4, 128], "flash_decode_f16_d128_r16"),
            ([26, 32, 4, 128], "flash_fwd_f16_d128_g2"),
            // Two blocks for the columns: 3 blocks of 8 rows.
            ([24, 8, 8, 192], "flash_decode_f16_d256_r8"),
            ([25, 8, 8, 192], "flash_fwd_f16_d256"),
            ([2048, 32, 8, 8], "flash_fwd_f16_d32"),
            ([129, 32, 8, 96], "flash_fwd_f16_d96"),
            // 512 blocks of 65 steps of 5 in four waves; 1024 of half the rows would be more than four.
            ([2048, 32, 8, 128], "flash_fwd_f16_d128"),
            // 128 blocks of 65 steps of 5 in one wave, or 256 of 33 steps of 6 in two.
            ([512, 32, 8, 128], "flash_fwd_f16_d128"),
            ([64, 32, 8, 64], "flash_fwd_f16_d64_g2"),
        ] {
            assert_eq!(name(sizes), want, "{sizes:?}");
        }
    }

    /// docs/volta.md: 32 heads, causal. At 512 rows the longest of 128 blocks takes as long as all of the
    /// grid would without a mask; at 1024 there are enough.
    #[test]
    fn short_causal_grids_have_groups() {
        for (seqlen, dim, want) in [
            (512, 128, "flash_fwd_f16_d128_g2"),
            (512, 64, "flash_fwd_f16_d64_g2"),
            (512, 96, "flash_fwd_f16_d96"),
            (1024, 128, "flash_fwd_f16_d128"),
            (1024, 64, "flash_fwd_f16_d64"),
        ] {
            let problem = Problem::new(DType::F16, [1, seqlen, 32, dim]).with_mask(Mask::Causal);
            assert_eq!(only(choose(&shape(problem), &DeviceFacts::v100()).unwrap()), want);
        }
    }

    fn splits(problem: Problem) -> (u32, u32) {
        let shape = shape(problem);
        let kernel = choose(&shape, &DeviceFacts::v100()).unwrap().few.expect("decode");
        let splits = Splits::new(&shape, false, kernel, &DeviceFacts::v100());
        (splits.count, splits.keys)
    }

    /// By hand: 80 multiprocessors with 3 blocks of the kernel for 8 rows and head_dim 128, 2 of that for 16
    /// rows.
    #[test]
    fn splits_make_multiprocessors_read_alike() {
        let one = |heads, heads_k, keys| {
            Problem::new(DType::F16, [1, 1, heads, 128]).with_num_heads_k(heads_k).with_seqlen_k(keys)
        };
        assert_eq!(splits(one(32, 32, 32768)), (5, 6560)); // 160 blocks, 32768 / 5 = 6553.6
        assert_eq!(splits(one(32, 8, 32768)), (10, 3280)); // 80 blocks
        assert_eq!(splits(one(32, 2, 32768)), (79, 416)); // 160 / 2, 409.6; the last would have no key
        assert_eq!(splits(one(1, 1, 1000)), (4, 256)); // no less than 256 keys
        assert_eq!(splits(one(1, 1, 0)), (1, 8));
        // 64 x 15 blocks are four waves of 240; three parts would be 192 blocks, three on some
        // multiprocessors and two on others.
        assert_eq!(splits(Problem { batch: 8, ..one(32, 8, 8192) }), (15, 552));
        // 512 x 6 blocks are 12.8 waves, 512 would be 2.1.
        assert_eq!(splits(Problem { batch: 64, ..one(32, 8, 4096) }), (6, 688));
        // 80 columns of 128: one block a multiprocessor has too little of K and V under way, two have not.
        let narrow = Problem::new(DType::F16, [1, 1, 80, 80]).with_num_heads_k(16).with_seqlen_k(9584);
        assert_eq!(splits(narrow), (10, 960));
        // 1536 rows take longer to join than the parts would save.
        assert_eq!(splits(Problem { batch: 8, ..one(192, 16, 1114) }), (1, 1120));
        // A window of 1024 keys: two rows of 4 heads a block, 1025 keys and the 7 before a multiple of 8.
        let window = Mask::Window { left: Some(1023), right: Some(0) };
        let windowed = Problem { seqlen_q: 2, ..one(32, 8, 32768) }.with_mask(window);
        assert_eq!(splits(windowed), (5, 208));
    }

    /// A number of up to so many bits, as often a small as a large one.
    fn of_any_size(rng: &mut fastrand::Rng, bits: u32) -> u32 {
        let bits = rng.u32(1..=bits);
        rng.u32(0..1 << bits)
    }

    /// All keys have a split, and no split is without keys.
    #[test]
    fn splits_cover_the_keys() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let heads_k = rng.u32(1..=8);
            let sizes = [rng.u32(1..=4), rng.u32(1..=8), heads_k * rng.u32(1..=4), 8 * rng.u32(1..=32)];
            let mut problem = Problem::new(DType::F16, sizes).with_num_heads_k(heads_k);
            problem.seqlen_k = of_any_size(&mut rng, 29);
            let limit = |rng: &mut fastrand::Rng| rng.bool().then(|| of_any_size(rng, 31));
            let problem = problem.with_mask(Mask::Window { left: limit(&mut rng), right: limit(&mut rng) });
            let shape = shape(problem);
            let Some(kernel) = choose(&shape, &DeviceFacts::v100()).and_then(|choice| choice.few) else {
                continue;
            };
            let Splits { count, keys } = Splits::new(&shape, rng.bool(), kernel, &DeviceFacts::v100());
            let needed = u64::from(most_keys(&shape, kernel));
            assert!(keys % 8 == 0 && count >= 1, "{shape:?}");
            assert!(u64::from(count) * u64::from(keys) >= needed, "{shape:?}");
            assert!(count == 1 || u64::from(count - 1) * u64::from(keys) < needed, "{shape:?}");
            // The kernel's own words for a block of rows, for the queries that it can have.
            let group = shape.num_heads / shape.num_heads_k;
            for block in 0..row_blocks(&shape, kernel) {
                let first = block * kernel.rows / group;
                let last = ((block + 1) * kernel.rows).min(shape.seqlen_q * group).div_ceil(group);
                let seen = shape.visible_keys(first..last);
                assert!(u64::from(seen.end - seen.start / 8 * 8) <= needed, "{shape:?}");
            }
        }
    }
}
