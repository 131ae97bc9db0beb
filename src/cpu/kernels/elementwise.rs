//! Copies, sums, and the self-test.

use ascend_sim::engine::Stopped;
use rayon::prelude::*;

use super::{Real, Row};
use crate::baseline::AddTilingData;
use crate::cpu::call::{index, Call};
use crate::kernels::operands::{AddArguments, CopyArguments, SelfTestArguments};

/// Elements that a thread takes at a time.
const CHUNK: u64 = 1 << 14;

/// The chunks of `len` elements: first element and count.
fn chunks(len: u64) -> impl ParallelIterator<Item = (u64, usize)> {
    let count = len.div_ceil(CHUNK);
    (0..count).into_par_iter().map(move |i| (i * CHUNK, index(CHUNK.min(len - i * CHUNK))))
}

/// `copy.cpp`.
pub(super) fn copy(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, CopyArguments::of)?;
    let from = call.tensor::<u8>("src", gm.src, Some(gm.bytes))?;
    let to = call.tensor::<u8>("dst", gm.dst, Some(gm.bytes))?;
    chunks(gm.bytes).for_each(|(at, count)| {
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
    chunks(t.n).for_each(|(at, count)| {
        let (mut sum, mut other) = (Row::new(count), Row::new(count));
        sum.read(&x, at);
        let other = other.read(&y, at);
        sum.values.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        sum.write(&z, at);
    });
    Ok(())
}

/// `self_test.cpp` looks for flags between cores of a chip, which a host does not have. No device `cpu` is
/// asked to run it; the name is there because operators look for it.
pub(super) fn self_test(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let SelfTestArguments { .. } = call.arguments(list, SelfTestArguments::of)?;
    Err(call.wrong("launched, which a cpu device has no flags for"))
}
