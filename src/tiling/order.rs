//! In which order the work items of a launch are dealt to its cores, and which items those are.

use std::ops::Range;

use super::Shape;

/// What K and V of a group take at most of what the workspace leaves of L2, in quarters; q, o and the group that follows need the rest.
/// ASSUMPTION(group-share): not published. Fewer heads are read by more cores at once, more of them would push each other out.
const GROUP_QUARTERS: u64 = 3;

/// One work item: a row block of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkItem {
    /// Batch.
    pub batch: u32,
    /// Head of q.
    pub head: u32,
    /// Row block.
    pub block_m_index: u32,
}

/// Items of about the same cost, side by side in the order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Class {
    pub(super) positions: Range<u32>,
    /// A row block that stands for all.
    pub(super) block: u32,
}

/// A group's part of a launch.
#[derive(Clone, Debug)]
struct Group {
    first_head: u32,
    heads: u32,
    /// The group's first item, launched or not.
    base: u32,
    /// Those that are launched.
    items: Range<u32>,
    is_mirrored: bool,
}

impl Group {
    fn block(&self, item: u32) -> u32 {
        (item - self.base) / self.heads
    }

    /// Between the order of dealing and that of numbers, both ways.
    fn mirror(&self, items: Range<u32>) -> Range<u32> {
        if self.is_mirrored {
            let ends = self.items.start + self.items.end;
            ends - items.end..ends - items.start
        } else {
            items
        }
    }
}

/// Items are numbered group by group; in a group row block by row block; in a row block head by head, the heads of all batches in one
/// row. A launch deals its items from the last to the first, but every second group from its first to its last, back and forth over
/// the cores: see [`FlashFwdTilingData`](super::FlashFwdTilingData).
///
/// Cores that work at the same time are in one group, so K and V of that group are what L2 has to hold. Later row blocks see more
/// keys under a causal mask: costs fall in one group, rise in the next, and never jump, which is what keeps dealing back and forth even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) num_heads: u32,
    /// Heads of all batches.
    pub(super) heads: u32,
    pub(super) num_blocks_m: u32,
    /// Heads of a group; the last one may have fewer.
    pub(super) group_heads: u32,
    /// Items that are launched.
    pub(super) first_item: u32,
    pub(super) num_items: u32,
}

impl Order {
    /// All items, in groups whose K and V fit L2 beside the workspace. `Err` when items are too many to count.
    pub(super) fn new(shape: &Shape, block_m: u32) -> Result<Self, String> {
        let num_blocks_m = shape.seqlen_q.div_ceil(block_m);
        let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
        let items = u64::from(num_blocks_m) * heads;
        let too_many = |_| format!("{items} work items are more than {}", i32::MAX);
        let num_items = i32::try_from(items).map_err(too_many)?.unsigned_abs();
        // `limits::reasons` bounds them.
        let heads = u32::try_from(heads).unwrap_or(u32::MAX);
        Ok(Self {
            num_heads: shape.num_heads,
            heads,
            num_blocks_m,
            group_heads: heads,
            first_item: 0,
            num_items,
        })
    }

    /// The same items in groups of which each has as many heads as share its part of `l2_bytes`, in whole heads of k and v.
    pub(super) fn in_groups(self, shape: &Shape, l2_bytes: u64) -> Self {
        let fitting = l2_bytes / 4 * GROUP_QUARTERS / shape.head_k_bytes().max(1);
        let all = self.heads / shape.num_heads * shape.num_heads_k;
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, all.max(1));
        // Groups of equal size, not a small one at the end.
        let heads_k = all.div_ceil(all.div_ceil(fitting).max(1));
        Self { group_heads: heads_k * (shape.num_heads / shape.num_heads_k), ..self }
    }

    /// Some items in the order of the rows of o: batch by batch, row block by row block, head by head.
    pub(super) fn part(self, items: Range<u32>) -> Self {
        let num_items = items.end - items.start;
        Self { group_heads: self.num_heads, first_item: items.start, num_items, ..self }
    }

    /// Core groups that have work; one where there is none.
    pub(super) fn num_cores(&self, cores: u32) -> u32 {
        self.num_items.clamp(1, cores)
    }

    fn group_items(&self) -> u32 {
        self.group_heads * self.num_blocks_m
    }

    /// The groups that have items to launch.
    fn groups(&self) -> Range<u32> {
        match self.num_items {
            0 => 0..0,
            items => {
                self.first_item / self.group_items()..(self.first_item + items - 1) / self.group_items() + 1
            }
        }
    }

    fn group(&self, index: u32) -> Group {
        let first_head = index * self.group_heads;
        let heads = self.group_heads.min(self.heads - first_head);
        let base = index * self.group_items();
        let end = (base + heads * self.num_blocks_m).min(self.first_item + self.num_items);
        let is_mirrored = !(index - self.groups().start).is_multiple_of(2);
        Group { first_head, heads, base, items: self.first_item.max(base)..end, is_mirrored }
    }

    /// The item that is dealt at `position`.
    pub(super) fn item(&self, position: u32) -> WorkItem {
        let dealt = self.first_item + self.num_items - 1 - position;
        let group = self.group(dealt / self.group_items());
        let item = group.mirror(dealt..dealt + 1).start;
        let (block_m_index, head) = (group.block(item), group.first_head + (item - group.base) % group.heads);
        WorkItem { batch: head / self.num_heads, head: head % self.num_heads, block_m_index }
    }

    /// Heads whose k and v are read.
    pub(super) fn num_heads_read(&self) -> u32 {
        let groups = self.groups();
        self.heads.min(groups.end * self.group_heads) - groups.start * self.group_heads
    }

    /// The items of the `groups` groups that are dealt last, in at most `blocks` classes each.
    pub(super) fn classes(&self, blocks: u32, groups: u32) -> impl Iterator<Item = Class> {
        let order = *self;
        self.groups().take(groups as usize).flat_map(move |index| {
            let group = order.group(index);
            let (first, last) = (group.block(group.items.start), group.block(group.items.end - 1));
            let step = (last + 1 - first).div_ceil(blocks);
            (first..last + 1).step_by(step as usize).map(move |block| {
                let next = (last + 1).min(block + step);
                let start = group.items.start.max(group.base + block * group.heads);
                let dealt = group.mirror(start..group.items.end.min(group.base + next * group.heads));
                let end = order.first_item + order.num_items;
                Class { positions: end - dealt.end..end - dealt.start, block: block + (next - 1 - block) / 2 }
            })
        })
    }

    /// Positions of core `core` of `cores`, in its order.
    pub(super) fn positions(&self, core: u32, cores: u32) -> impl Iterator<Item = u32> {
        let (items, core, cores) = (u64::from(self.num_items), u64::from(core), u64::from(cores));
        let rounds = if core < cores { items.div_ceil(cores) } else { 0 };
        (0..rounds)
            .map(move |turn| turn * cores + if turn % 2 == 0 { core } else { cores - 1 - core })
            .filter(move |&position| position < items)
            .filter_map(|position| u32::try_from(position).ok())
    }
}
