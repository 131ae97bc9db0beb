//! In which order the work items of a launch are dealt to its cores, and which items those are.

use std::ops::Range;

use super::Shape;

/// What K and V of a group take at most of what the workspace leaves of L2, in quarters; q, o and the group
/// that follows need the rest. ASSUMPTION(group-share): not published. Fewer heads are read by more cores at
/// once, more of them would push each other out.
const GROUP_QUARTERS: u64 = 3;

/// Into how many parts an item of the last round may be cut, and the fewest rows of a part: the Cube is slow
/// with fewer.
const TAIL_PARTS: [u32; 2] = [4, 2];
const TAIL_ROWS: u32 = 64;

/// One work item: a row block of one head, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkItem {
    /// Batch.
    pub batch: u32,
    /// Head of q.
    pub head: u32,
    /// First row of q.
    pub first_row: u32,
    /// Rows of q.
    pub num_rows: u32,
}

impl WorkItem {
    /// Rows of q.
    pub fn rows(&self) -> Range<u32> {
        self.first_row..self.first_row + self.num_rows
    }
}

/// Items of about the same cost, dealt one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Class {
    pub(super) positions: Range<u32>,
    /// Rows of an item that stands for all.
    pub(super) rows: Range<u32>,
}

/// A group's part of a launch.
#[derive(Clone, Debug)]
struct HeadGroup {
    first_head: u32,
    heads: u32,
    /// The group's first item, launched or not.
    base: u32,
    /// Those that are launched.
    items: Range<u32>,
    is_mirrored: bool,
}

impl HeadGroup {
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

/// Items are numbered group by group; in a group row block by row block; in a row block head by head, the
/// heads of all batches in one row. A launch deals its items from the last to the first, but every second
/// group from its first to its last, back and forth over the cores: see
/// [`FlashFwdTilingData`](super::FlashFwdTilingData).
///
/// Cores that work at the same time are in one group, so K and V of that group are what L2 has to hold. Later
/// row blocks see more keys under a causal mask: costs fall in one group, rise in the next, and never jump,
/// which is what keeps dealing back and forth even.
///
/// When the items of the last round are few, each of them is cut into parts of equal rows for cores that
/// would have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) num_heads: u32,
    /// Heads of all batches.
    pub(super) heads: u32,
    seqlen_q: u32,
    block_m: u32,
    pub(super) num_blocks_m: u32,
    /// Heads of a group; the last one may have fewer.
    pub(super) group_heads: u32,
    /// Items that are launched.
    pub(super) first_item: u32,
    pub(super) num_items: u32,
    /// Parts of an item of the last round; 1 when they are not cut.
    pub(super) tail_parts: u32,
    cube_cores: u32,
    /// Core groups that have work; one where there is none.
    pub(super) num_cores: u32,
}

impl Order {
    /// All items, as one group. `Err` when they are too many to count.
    pub(super) fn new(shape: &Shape, block_m: u32, cube_cores: u32) -> Result<Self, String> {
        let num_blocks_m = shape.seqlen_q.div_ceil(block_m);
        let heads = u64::from(shape.batch) * u64::from(shape.num_heads);
        let items = u64::from(num_blocks_m) * heads;
        let too_many = |_| format!("{items} work items are more than {}", i32::MAX);
        let num_items = i32::try_from(items).map_err(too_many)?.unsigned_abs();
        // `limits::reasons` bounds them.
        let heads = u32::try_from(heads).unwrap_or(u32::MAX);
        let order = Self {
            num_heads: shape.num_heads,
            heads,
            seqlen_q: shape.seqlen_q,
            block_m,
            num_blocks_m,
            group_heads: heads,
            first_item: 0,
            num_items,
            tail_parts: 1,
            cube_cores,
            num_cores: 1,
        };
        Ok(order.dealing(0..num_items))
    }

    /// These items.
    fn dealing(self, items: Range<u32>) -> Self {
        let num_items = items.end - items.start;
        let tail = num_items % self.cube_cores;
        let cuts = |parts: &u32| tail * parts <= self.cube_cores && self.block_m >= parts * TAIL_ROWS;
        let tail_parts = TAIL_PARTS.into_iter().find(cuts).unwrap_or(1);
        Self { first_item: items.start, num_items, ..self }.with_tail_parts(tail_parts)
    }

    pub(super) fn with_tail_parts(self, tail_parts: u32) -> Self {
        let tail = self.num_items % self.cube_cores;
        let dealt = self.num_items.saturating_add(tail * (tail_parts - 1));
        Self { tail_parts, num_cores: dealt.clamp(1, self.cube_cores), ..self }
    }

    /// Launches of a multiple of so many items keep all cores busy to the end.
    pub(super) fn even_items(&self) -> u32 {
        if self.block_m >= 2 * TAIL_ROWS && self.cube_cores >= 2 {
            self.cube_cores / 2
        } else {
            self.cube_cores
        }
    }

    /// The same items in groups of which each has as many heads as share its part of `l2_bytes`, in whole
    /// heads of k and v.
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
        Self { group_heads: self.num_heads, ..self.dealing(items) }
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

    /// Groups that have items to launch.
    pub(super) fn num_groups(&self) -> u32 {
        let groups = self.groups();
        groups.end - groups.start
    }

    fn group(&self, index: u32) -> HeadGroup {
        let first_head = index * self.group_heads;
        let heads = self.group_heads.min(self.heads - first_head);
        let base = index * self.group_items();
        let end = (base + heads * self.num_blocks_m).min(self.first_item + self.num_items);
        let is_mirrored = !(index - self.groups().start).is_multiple_of(2);
        HeadGroup { first_head, heads, base, items: self.first_item.max(base)..end, is_mirrored }
    }

    /// Items that are dealt whole.
    fn whole_items(&self) -> u32 {
        if self.tail_parts == 1 {
            self.num_items
        } else {
            self.num_items - self.num_items % self.cube_cores
        }
    }

    /// Items and parts of items that are dealt.
    pub(super) fn num_positions(&self) -> u32 {
        let whole = self.whole_items();
        whole + (self.num_items - whole) * self.tail_parts
    }

    /// What is dealt at `position`; `None` for a part that begins behind the last row.
    fn item(&self, position: u32) -> Option<WorkItem> {
        let behind = position.saturating_sub(self.whole_items());
        let dealt = position - behind + behind / self.tail_parts;
        let is_part = position >= self.whole_items();
        let (part, parts) = if is_part { (behind % self.tail_parts, self.tail_parts) } else { (0, 1) };

        let number = self.first_item + self.num_items - 1 - dealt;
        let group = self.group(number / self.group_items());
        let item = group.mirror(number..number + 1).start;
        let head = group.first_head + (item - group.base) % group.heads;
        let rows = self.rows(group.block(item), part, parts)?;
        Some(WorkItem {
            batch: head / self.num_heads,
            head: head % self.num_heads,
            first_row: rows.start,
            num_rows: rows.end - rows.start,
        })
    }

    /// Rows of a part of a row block; `None` when there are none.
    fn rows(&self, block: u32, part: u32, parts: u32) -> Option<Range<u32>> {
        let rows = self.block_m / parts;
        let first = block * self.block_m + part * rows;
        Some(first..first.saturating_add(rows).min(self.seqlen_q)).filter(|rows| !rows.is_empty())
    }

    /// Heads whose k and v are read.
    pub(super) fn num_heads_read(&self) -> u32 {
        let groups = self.groups();
        self.heads.min(groups.end * self.group_heads) - groups.start * self.group_heads
    }

    /// The items of the `groups` groups that are dealt last, in at most `blocks` classes each, and every part
    /// of an item.
    pub(super) fn classes(&self, blocks: u32, groups: u32) -> impl Iterator<Item = Class> {
        let order = *self;
        let whole = order.whole_items();
        let of_items = self.groups().take(groups as usize).flat_map(move |index| {
            let group = order.group(index);
            let (first, last) = (group.block(group.items.start), group.block(group.items.end - 1));
            let step = (last + 1 - first).div_ceil(blocks);
            (first..last + 1).step_by(step as usize).filter_map(move |block| {
                let next = (last + 1).min(block + step);
                let start = group.items.start.max(group.base + block * group.heads);
                let dealt = group.mirror(start..group.items.end.min(group.base + next * group.heads));
                let end = order.first_item + order.num_items;
                let positions = end - dealt.end..whole.min(end - dealt.start);
                let rows = order.rows(block + (next - 1 - block) / 2, 0, 1)?;
                Some(Class { positions, rows }).filter(|class| !class.positions.is_empty())
            })
        });
        let of_parts = (whole..order.num_positions()).filter_map(move |position| {
            Some(Class { positions: position..position + 1, rows: order.item(position)?.rows() })
        });
        of_items.chain(of_parts)
    }

    /// Where a core's position lies in a round: back and forth.
    fn place(&self, round: u32, core: u32) -> u32 {
        if round.is_multiple_of(2) {
            core
        } else {
            self.num_cores - 1 - core
        }
    }

    /// How many positions below `end` a core takes: one in each whole round.
    pub(super) fn dealt_before(&self, end: u32, core: u32) -> u64 {
        let (round, rest) = (end / self.num_cores, end % self.num_cores);
        u64::from(round) + u64::from(self.place(round, core) < rest)
    }

    /// What core `core` works on, in its order.
    pub(super) fn of_core(&self, core: u32) -> impl Iterator<Item = WorkItem> {
        let order = *self;
        let (positions, cores) = (u64::from(self.num_positions()), u64::from(self.num_cores));
        let rounds = if core < self.num_cores { self.num_positions().div_ceil(self.num_cores) } else { 0 };
        (0..rounds)
            .map(move |round| u64::from(round) * cores + u64::from(order.place(round, core)))
            .filter(move |&position| position < positions)
            .filter_map(move |position| order.item(u32::try_from(position).ok()?))
    }
}
