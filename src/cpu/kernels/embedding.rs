//! Rows of a table by ids (`embedding.cpp`).

use ascend_sim::engine::Stopped;
use bytemuck::Pod;

use super::numbers::Numbers;
use crate::append::STATUS_WORDS;
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::EmbeddingArguments;
use crate::layer::EmbeddingTilingData;

/// T: integers of the size of an element, and the bits of NaN. A copy is bound by memory, so one thread does.
fn embedding<T: Pod>(call: &Call<'_>, list: &[u64], none: T) -> Result<(), Stopped> {
    let gm = call.arguments(list, EmbeddingArguments::of)?;
    let t: EmbeddingTilingData = call.tiling(gm.tiling)?;
    let (tokens, dim) = (u64::from(t.tokens), u64::from(t.dim));
    let ids = Numbers::new(call, "ids", gm.ids, [t.tokens, t.id_words, t.num_ids])?;
    let table = call.tensor::<T>("table", gm.table, span(&[(t.num_ids.into(), t.table_stride)], dim))?;
    let y = call.tensor::<T>("y", gm.y, span(&[(tokens, t.y_stride)], dim))?;
    let mut row = vec![none; index(dim)];
    for token in 0..tokens {
        match ids.of(token) {
            Some(id) => table.read(id * t.table_stride, &mut row),
            None => row.fill(none),
        }
        y.write(token * t.y_stride, &row);
    }
    if t.want_status == 0 {
        return Ok(());
    }
    // The first core of a chip has them all.
    let words = index(t.num_cores.into()) * STATUS_WORDS;
    let status = call.tensor::<i32>("status", gm.status, Some(words as u64))?;
    let mut all = vec![0; words];
    all[..4].copy_from_slice(&ids.wrong(0..tokens, Some(-1)));
    status.write(0, &all);
    Ok(())
}

/// Of 16 bits, whatever the format.
pub(super) fn embedding_16(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    embedding(call, list, 0x7fff_u16)
}

/// Of 32 bits.
pub(super) fn embedding_32(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    embedding(call, list, 0x7fff_7fff_u32)
}
