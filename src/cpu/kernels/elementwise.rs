//! Copies, sums, and the self-test.

use ascend_sim::engine::Stopped;

use super::{Real, Row};
use crate::baseline::AddTilingData;
use crate::cpu::call::{index, Call};
use crate::kernels::operands::{AddArguments, CopyArguments, SelfTestArguments};
use crate::kernels::SelfTestTilingData;

/// Elements that a thread takes at a time.
const CHUNK: u64 = 1 << 14;

/// Calls `work` for each chunk of `len` elements: first element and count.
fn chunks(call: &Call<'_>, len: u64, work: impl Fn(u64, usize) + Sync) {
    let one = |(): &mut (), i: u64| work(i * CHUNK, index(CHUNK.min(len - i * CHUNK)));
    call.each(len.div_ceil(CHUNK), 1, || (), one);
}

/// `copy.cpp`.
pub(super) fn copy(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, CopyArguments::of)?;
    let from = call.tensor::<u8>("src", gm.src, Some(gm.bytes))?;
    let to = call.tensor::<u8>("dst", gm.dst, Some(gm.bytes))?;
    chunks(call, gm.bytes, |at, count| {
        let mut bytes = vec![0; count];
        from.read(at, &mut bytes);
        to.write(at, &bytes);
    });
    Ok(())
}

/// `add.cpp`: x + y, rounded once.
pub(super) fn add<T: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, AddArguments::of)?;
    let t: AddTilingData = call.tiling(gm.tiling)?;
    let tensor = |name, address| call.tensor::<T>(name, address, Some(t.n));
    let (x, y, z) = (tensor("x", gm.x)?, tensor("y", gm.y)?, tensor("z", gm.z)?);
    chunks(call, t.n, |at, count| {
        let (mut sum, mut other) = (Row::new(count), Row::new(count));
        sum.read(&x, at);
        let other = other.read(&y, at);
        sum.values.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        sum.write(&z, at);
    });
    Ok(())
}

/// What `self_test.cpp` leaves in `out`. A host has no flags between cores, so this shows only that a launch
/// delivers its arguments.
pub(super) fn self_test(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    const DIM: usize = 16;
    let gm = call.arguments(list, SelfTestArguments::of)?;
    let t: SelfTestTilingData = call.tiling(gm.tiling)?;
    let blocks = u64::from(call.blocks);
    let out = call.tensor::<f32>("out", gm.out, blocks.checked_mul((DIM * DIM) as u64))?;
    // All elements of a row of A are the same.
    let a = |block: u64, row: usize| (block % 8 + 1) as f32 + (row / 8) as f32;
    for block in 0..blocks {
        let partner = (block + u64::from(t.partner_distance)) % blocks;
        for row in 0..DIM {
            let values: [f32; DIM] = std::array::from_fn(|column| {
                t.magic + (0..DIM).map(|_| a(block, row) * a(partner, column)).sum::<f32>()
            });
            out.write((block * DIM as u64 + row as u64) * DIM as u64, &values);
        }
    }
    Ok(())
}
