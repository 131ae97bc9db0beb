//! Attention (`flash_fwd.cpp`, `flash_decode.cpp`, `flash_fwd_matmul.cpp`): the kernels of
//! `fastattention-cpu`.

#![allow(unsafe_code, reason = "the kernels take addresses")]

use std::ops::Range;

use ascend_sim::engine::Stopped;
use fastattention_cpu::{BlockTable, DType, Operands, Pages, Pieces, Problem};

use super::{matmul, Real};
use crate::cpu::call::{index, Call, Tensor};
use crate::kernels::operands::{FlashDecodeArguments, FlashFwdArguments, FlashFwdMatmulArguments};
use crate::serving::FlashDecodeTilingData;
use crate::tiling::FlashFwdTilingData;

/// Addresses of q, k, v, o and lse; 0 for an lse that is not written.
type Addresses = [u64; 5];

/// An element type that attention has.
pub(super) trait Attended: Real {
    const DTYPE: DType;
}

impl Attended for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Attended for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}

/// The lists that say which rows and keys a slot has; none where all have the same.
#[derive(Default)]
struct Lists {
    lengths: Option<Tensor<i32>>,
    row_starts: Option<Tensor<i32>>,
    block_table: Option<Tensor<i32>>,
    page_starts: Option<Tensor<i32>>,
}

fn strides(of: [u64; 3]) -> [usize; 3] {
    of.map(index)
}

/// A limit of tiling data: -1 is none.
fn limit(keys: i32) -> Option<usize> {
    usize::try_from(keys).ok()
}

/// Launches after the operands have been found in memory.
fn run(
    call: &Call<'_>,
    problem: &Problem,
    [q, k, v, o, lse]: Addresses,
    lists: &Lists,
) -> Result<(), Stopped> {
    let wrong = |error: fastattention_cpu::Error| call.wrong(error);
    let elements = problem.elements().map_err(wrong)?.map(|elements| elements as u64);
    let bytes = |i: usize| elements[i].checked_mul(problem.dtype.size_bytes() as u64);
    let inputs = [("q", q, 0), ("k", k, 1), ("v", v, 2)];
    let [q, k, v] = inputs.map(|(name, address, i)| call.tensor::<u8>(name, address, bytes(i)));
    let (q, k, v, o) = (q?, k?, v?, call.tensor::<u8>("o", o, bytes(3))?);
    let lse = (lse != 0).then(|| call.tensor::<f32>("lse", lse, Some(elements[4]))).transpose()?;
    let list =
        |tensor: &Option<Tensor<i32>>| tensor.as_ref().map_or(std::ptr::null(), |t| t.start().cast_const());
    let operands = Operands {
        q: q.start().cast_const().cast(),
        k: k.start().cast_const().cast(),
        v: v.start().cast_const().cast(),
        o: o.start().cast(),
        lse: lse.as_ref().map_or(std::ptr::null_mut(), Tensor::start),
        lengths: list(&lists.lengths),
        row_starts: list(&lists.row_starts),
        block_table: list(&lists.block_table),
        page_starts: list(&lists.page_starts),
    };
    // SAFETY: every operand has been found with all its elements in an allocation, which the tensors keep.
    // Device memory is initialised from the start. That nobody else uses it meanwhile, and that outputs share
    // no byte with the rest, is the contract of a launch, which operators check.
    unsafe { call.host.attention(problem, &operands) }.map_err(wrong)
}

/// S, the type of scores, is f32 in any case here.
pub(super) fn flash_fwd<T: Attended>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, FlashFwdArguments::of)?;
    forward::<T>(call, [gm.q, gm.k, gm.v, gm.o, gm.lse], &call.tiling(gm.tiling)?)
}

/// Attention, and then the product that reads its output.
pub(super) fn flash_fwd_matmul<T: Attended>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, FlashFwdMatmulArguments::of)?;
    forward::<T>(call, [gm.q, gm.k, gm.v, gm.o, gm.lse], &call.tiling(gm.tiling)?)?;
    matmul::multiply::<T, T>(call, [gm.a, gm.b, gm.c], &call.tiling(gm.matmul_tiling)?)
}

fn forward<T: Attended>(call: &Call<'_>, operands: Addresses, t: &FlashFwdTilingData) -> Result<(), Stopped> {
    let [batch, heads, rows] = [t.batch, t.num_heads, t.seqlen_q].map(|n| index(n.into()));
    let whole = Problem {
        num_heads_k: index(t.num_heads_k.into()),
        head_dim_v: index(t.head_dim_v.into()),
        window_left: limit(t.window_left),
        window_right: limit(t.window_right),
        softmax_scale: t.softmax_scale,
        // A launch may be of some rows only, whose bits are those of the whole.
        is_row_invariant: rows > 1,
        q_stride: strides(t.q_stride),
        k_stride: strides(t.k_stride),
        v_stride: strides(t.v_stride),
        o_stride: strides(t.o_stride),
        lse_stride: [heads * rows, rows],
        ..Problem::new(T::DTYPE, [batch, rows, heads, index(t.head_dim.into())], index(t.seqlen_k.into()))
    };
    let operands =
        if t.want_lse == 0 { [operands[0], operands[1], operands[2], operands[3], 0] } else { operands };
    let shares: Vec<_> = (0..batch * heads).map(|head| launched_rows(t, head)).collect();
    if shares.iter().all(|share| *share == (0..rows)) {
        return run(call, &whole, operands, &Lists::default());
    }
    for (head, share) in shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
        let (problem, operands) = part(&whole, operands, [head / heads, head % heads], share);
        run(call, &problem, operands, &Lists::default())?;
    }
    Ok(())
}

/// The rows of a head, counted through all batches, that the items of a launch are of. Items lie in groups of
/// heads; within a group the heads of a row block lie side by side (`tiling_data.h`).
fn launched_rows(t: &FlashFwdTilingData, head: usize) -> Range<usize> {
    let [batch, heads, rows] = [t.batch, t.num_heads, t.seqlen_q].map(|n| index(n.into()));
    let [group_heads, blocks, block_m] = [t.group_heads, t.num_blocks_m, t.block_m].map(|n| index(n.into()));
    let group_heads = group_heads.max(1);
    let group = head / group_heads;
    let in_group = group_heads.min(batch * heads - group * group_heads);
    // Row block b of this head is item `first + b * in_group`.
    let first = group * group_heads * blocks + head % group_heads;
    let block = |item: u32| index(item.into()).saturating_sub(first).div_ceil(in_group).min(blocks);
    let row = |block: usize| (block * block_m).min(rows);
    row(block(t.first_item))..row(block(t.first_item.saturating_add(t.num_items)))
}

/// Some rows of one head as a problem of their own.
fn part(
    whole: &Problem,
    operands: Addresses,
    [batch, head]: [usize; 2],
    rows: Range<usize>,
) -> (Problem, Addresses) {
    let head_k = head / (whole.num_heads / whole.num_heads_k);
    let size = whole.dtype.size_bytes();
    let at = |stride: [usize; 3], row: usize, head: usize| {
        ((batch * stride[0] + row * stride[1] + head * stride[2]) * size) as u64
    };
    let lse = (batch * whole.lse_stride[0] + head * whole.lse_stride[1] + rows.start) * size_of::<f32>();
    let [q, k, v, o, lse_at] = operands;
    let places = [
        q + at(whole.q_stride, rows.start, head),
        k + at(whole.k_stride, 0, head_k),
        v + at(whole.v_stride, 0, head_k),
        o + at(whole.o_stride, rows.start, head),
        if lse_at == 0 { 0 } else { lse_at + lse as u64 },
    ];
    let problem = Problem {
        slots: 1,
        rows: rows.len(),
        rows_behind: whole.rows - rows.end,
        num_heads: 1,
        num_heads_k: 1,
        ..whole.clone()
    };
    (problem, places)
}

/// Attention of slots whose rows, keys and pages device memory tells.
pub(super) fn flash_decode<T: Attended>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, FlashDecodeArguments::of)?;
    let t: FlashDecodeTilingData = call.tiling(gm.tiling)?;
    // A packed slot has no more rows than there are.
    let rows = if t.is_packed == 0 { t.rows } else { t.rows.min(t.total_rows) };
    let [slots, rows, heads, dim] = [t.slots, rows, t.num_heads, t.head_dim].map(|n| index(n.into()));
    let pages = (t.num_pages > 0).then(|| Pages {
        page_size: index(t.page_size.into()),
        num_pages: index(t.num_pages.into()),
        table: match t.is_csr {
            0 => BlockTable::Rows { width: index(t.table_width.into()) },
            _ => BlockTable::Csr { entries: index(t.table_entries.into()) },
        },
    });
    let (pieces_k, k_stride) = in_pieces(t.k_format, t.k_stride, t.head_dim);
    let (pieces_v, v_stride) = in_pieces(t.v_format, t.v_stride, t.head_dim_v);
    let problem = Problem {
        total_rows: (t.is_packed != 0).then(|| index(t.total_rows.into())),
        num_heads_k: index(t.num_heads_k.into()),
        head_dim_v: index(t.head_dim_v.into()),
        pages,
        window_left: limit(t.window_left),
        window_right: limit(t.window_right),
        softmax_scale: t.softmax_scale,
        is_row_invariant: t.is_invariant != 0,
        q_stride: strides(t.q_stride),
        k_stride,
        v_stride,
        pieces: [pieces_k, pieces_v],
        o_stride: strides(t.o_stride),
        lse_stride: t.lse_stride.map(index),
        ..Problem::new(T::DTYPE, [slots, rows, heads, dim], index(t.max_keys.into()))
    };
    let slots = u64::from(t.slots);
    let table = if t.is_csr == 0 { slots * u64::from(t.table_width) } else { t.table_entries.into() };
    let list = |name, address, len, is_there: bool| {
        is_there.then(|| call.tensor::<i32>(name, address, Some(len))).transpose()
    };
    let lists = Lists {
        lengths: list("lengths", gm.lengths, slots, true)?,
        row_starts: list("row_starts", gm.row_starts, slots + 1, t.is_packed != 0)?,
        block_table: list("block_table", gm.block_table, table, t.num_pages > 0)?,
        page_starts: list("page_starts", gm.page_starts, slots + 1, t.is_csr != 0)?,
    };
    let lse = if t.want_lse == 0 { 0 } else { gm.lse };
    run(call, &problem, [gm.q, gm.k, gm.v, gm.o, lse], &lists)?;
    if t.want_status != 0 {
        let status = call.tensor::<i32>("status", gm.status, slots.checked_mul(STATUS_WORDS))?;
        write_status(&t, &lists, &status);
    }
    Ok(())
}

/// How rows of K or V lie, and the strides of pages, rows and heads, by the formats of `fa/kv_cache.h`.
fn in_pieces(format: u32, stride: [u64; 3], dim: u32) -> (Option<Pieces>, [usize; 3]) {
    let [page, row, piece] = strides(stride);
    let elements = match format {
        1 => 16,
        2 => 8,
        3 => 1,
        _ => return (None, [page, row, piece]),
    };
    let of_head = index(dim.into()) / elements;
    (Some(Pieces { elements, stride: piece }), [page, row, of_head.saturating_mul(piece)])
}

const STATUS_WORDS: u64 = crate::serving::STATUS_WORDS as u64;

/// The first mistake of each slot, as [`crate::serving::Report`] reads it.
fn write_status(t: &FlashDecodeTilingData, lists: &Lists, status: &Tensor<i32>) {
    let entry = |list: &Option<Tensor<i32>>, at: u64| list.as_ref().map_or(0, |list| list.get(at));
    let mut last_row = 0;
    for slot in 0..u64::from(t.slots) {
        let mut words = [0; crate::serving::STATUS_WORDS];
        let [begin, end] = [0, 1].map(|i| entry(&lists.row_starts, slot + i));
        let own_begin = i64::from(begin).clamp(last_row, t.total_rows.into());
        let most = (own_begin + i64::from(t.rows)).min(t.total_rows.into());
        let own_end = i64::from(end).clamp(own_begin, most);
        last_row = own_end;
        let length = entry(&lists.lengths, slot);
        let is_length = u32::try_from(length).is_ok_and(|length| length <= t.max_keys);
        if t.is_packed != 0 && (own_begin, own_end) != (begin.into(), end.into()) {
            words[..3].copy_from_slice(&[3, begin, end]);
        } else if !is_length {
            words[..3].copy_from_slice(&[1, 0, length]);
        } else if let Some(table) = &lists.block_table {
            let entries = length.cast_unsigned().div_ceil(t.page_size);
            let rows = if t.is_packed == 0 { i64::from(t.rows) } else { own_end - own_begin };
            let first_entry = first_key(t, i64::from(length) - rows) / t.page_size;
            let [begin, end] = [0, 1].map(|i| entry(&lists.page_starts, slot + i));
            let own = (t.is_csr != 0).then(|| entries_of(begin, end, t.table_entries));
            let (first, count) = own.unwrap_or((slot * u64::from(t.table_width), t.table_width));
            let page = |entry: u32| table.get(first + u64::from(entry));
            let has = |page: i32| u32::try_from(page).is_ok_and(|page| page < t.num_pages);
            if entries > count {
                words[..3].copy_from_slice(&[4, begin, end]);
            } else if let Some(entry) = (first_entry..entries).find(|entry| !has(page(*entry))) {
                words[..3].copy_from_slice(&[2, entry.cast_signed(), page(entry)]);
            }
        }
        status.write(slot * STATUS_WORDS, &words);
    }
}

/// The first key that is read of a slot whose first row has the diagonal `off`: keys left of a window are
/// not.
fn first_key(t: &FlashDecodeTilingData, off: i64) -> u32 {
    let left = limit(t.window_left).map_or(off, |left| i64::try_from(left).unwrap_or(off));
    // No more than a key of the slot.
    let seen = u32::try_from(off - left).unwrap_or(0);
    seen - seen % t.key_align.max(1)
}

/// The entries of a slot in a list: the first, and how many; none of a range that no slot can have.
fn entries_of(begin: i32, end: i32, entries: u32) -> (u64, u32) {
    match u64::try_from(begin).ok().zip(u32::try_from(end).ok()) {
        Some((first, end)) if end <= entries && first <= u64::from(end) => {
            (first, end - begin.cast_unsigned())
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    /// Items of a launch by the text of `tiling_data.h`, one by one.
    fn rows_by_item(t: &FlashFwdTilingData) -> Vec<Vec<usize>> {
        let all = t.batch * t.num_heads;
        let mut rows = vec![Vec::new(); all as usize];
        let items = t.group_heads * t.num_blocks_m;
        for item in t.first_item..t.first_item + t.num_items {
            let group = item / items;
            let n = t.group_heads.min(all - group * t.group_heads);
            let (block, head) = (item % items / n, group * t.group_heads + item % items % n);
            let begin = block * t.block_m;
            rows[head as usize].extend((begin..t.seqlen_q.min(begin + t.block_m)).map(|row| row as usize));
        }
        rows
    }

    #[test]
    fn the_rows_of_a_part_are_those_of_its_items() {
        for (batch, num_heads, group_heads, num_blocks_m) in
            [(1, 1, 1, 3), (2, 3, 4, 2), (1, 8, 3, 5), (2, 2, 4, 1)]
        {
            let all = batch * num_heads * num_blocks_m;
            for first_item in 0..all {
                for num_items in 1..=all - first_item {
                    let t = FlashFwdTilingData {
                        batch,
                        num_heads,
                        group_heads,
                        num_blocks_m,
                        block_m: 16,
                        seqlen_q: 16 * num_blocks_m - 5,
                        first_item,
                        num_items,
                        ..FlashFwdTilingData::zeroed()
                    };
                    let wanted = rows_by_item(&t);
                    let got = (0..wanted.len()).map(|head| launched_rows(&t, head).collect::<Vec<_>>());
                    assert_eq!(got.collect::<Vec<_>>(), wanted, "{first_item}, {num_items} of {all}");
                }
            }
        }
    }
}
