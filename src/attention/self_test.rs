//! The first launch on a device: kernel `fa_self_test` (ascendc/kernels/self_test.cpp) and what it has to
//! leave behind.
//!
//! Who supplies the address of the flags between AIC and AIV depends on how the binary was made, and whether
//! each driver agrees is not published (acl-runtime.md 3.3): a binary of the older build has a hidden first
//! argument, which the runtime adds to an argument list; in a newer one the loader fills in a variable.
//!
//! ASSUMPTION(flags-of-argument-lists): with an argument list, as this crate uses, the caller does nothing in
//! either case. This launch finds out whether that holds.
//!
//! A second one does the same for the flag at which all Cube cores meet, before the first kernel that has one
//! is launched.

use std::time::Duration;

use crate::kernels::operands::SelfTestOperands;
use crate::kernels::SelfTestTilingData;
use crate::runtime::{Buffer, Device, Kernel, Schedule, Stream};
use crate::{DriverCode, Error, ErrorKind, Result};

/// Name in the image.
pub(crate) const KERNEL: &str = "fa_self_test";

/// Added to every product, so that a result cannot be left over from anything else. Sums stay exact in f32.
const MAGIC: f32 = 424_242.0;

/// Rows and columns of a block's result.
const DIM: usize = 16;

/// Bytes that a block uses of the workspace: a 16 x 16 tile of f16 and one of f32.
const WORKSPACE_BYTES: usize = DIM * DIM * (2 + 4);

/// Far more than a launch takes, and short enough for a program that starts.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The flags that a launch crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// Those between an AIC and its AIVs.
    OfGroups,
    /// And the one at which all AICs meet.
    OfAllCores,
}

impl Flags {
    /// Each group multiplies by the operand of the group so far behind it.
    fn partner_distance(self) -> u32 {
        match self {
            Self::OfGroups => 0,
            Self::OfAllCores => 1,
        }
    }

    /// What relies on them.
    fn users(self) -> &'static str {
        match self {
            Self::OfGroups => "attention is not launched",
            Self::OfAllCores => {
                "no `AttentionMatmul`, no `TilingAllReduce` and no `ServingAttention` is made"
            }
        }
    }
}

/// Runs it once for such flags of an opened device whose kernels and runtime were made apart.
///
/// # Errors
/// As [`run`], again what the first call said.
pub(crate) fn before_first_launch(kernel: &Kernel, device: &Device, flags: Flags) -> Result<()> {
    if !device.needs_self_test() {
        return Ok(());
    }
    let checks = device.checks();
    let check = match flags {
        Flags::OfGroups => &checks.group_flags,
        Flags::OfAllCores => &checks.all_core_flags,
    };
    check.get_or_init(|| run(kernel, device, flags)).clone()
}

/// Launches the kernel on every core group and compares each element of its result.
///
/// # Errors
/// `SelfTest` when the launch fails, does not end, or leaves something else; `OutOfMemory`, `Driver` before
/// it.
pub(super) fn run(kernel: &Kernel, device: &Device, flags: Flags) -> Result<()> {
    let blocks = device.soc().cube_cores;
    let tiles = blocks as usize;
    let stream = Stream::new(device)?;
    let workspace = Buffer::alloc(device, tiles * WORKSPACE_BYTES)?;
    let out = Buffer::alloc(device, tiles * DIM * DIM * 4)?;
    // What an earlier launch has left there would be right.
    workspace.zero()?;
    out.zero()?;
    let data = SelfTestTilingData { magic: MAGIC, partner_distance: flags.partner_distance() };
    let args =
        SelfTestOperands { out: (&out).into(), workspace: (&workspace).into(), tiling: &data }.args()?;
    let kernel = match flags {
        Flags::OfGroups => kernel.clone(),
        Flags::OfAllCores => kernel.clone().with_schedule(Schedule::Batch),
    };
    let launched =
        kernel.launch(&stream, blocks, &args).and_then(|()| stream.synchronize_timeout(TIME_LIMIT));
    if let Err(error) = launched {
        if error.is_timeout() {
            // The kernel may hang: nothing waits for it, and nothing that it uses is freed.
            stream.abandon();
        }
        return Err(failed(device, flags, error.driver_code(), &error.to_string()));
    }
    let mut values = vec![0.0f32; tiles * DIM * DIM];
    out.copy_to_host(&mut values)?;
    match mismatch(&values, flags) {
        None => Ok(()),
        Some(text) => Err(failed(device, flags, None, &text)),
    }
}

/// The first element that is wrong.
fn mismatch(values: &[f32], flags: Flags) -> Option<String> {
    let partner = |block: usize| (block + flags.partner_distance() as usize) % (values.len() / (DIM * DIM));
    values.iter().enumerate().find_map(|(i, &value)| {
        let (block, row, column) = (i / (DIM * DIM), i / DIM % DIM, i % DIM);
        let wanted = expected([block, partner(block)], row, column);
        (value.to_bits() != wanted.to_bits()).then(|| {
            format!("block {block}, row {row}, column {column} of the result is {value}, {wanted} wanted")
        })
    })
}

/// Row r of a block's A holds `block % 8 + 1 + r / 8` sixteen times; the result is A B^T + MAGIC, B that of
/// the partner.
fn expected([block, partner]: [usize; 2], row: usize, column: usize) -> f32 {
    let element = |block: usize, r: usize| (block % 8 + 1 + r / 8) as f32;
    MAGIC + DIM as f32 * element(block, row) * element(partner, column)
}

fn failed(device: &Device, flags: Flags, code: Option<DriverCode>, what: &str) -> Error {
    let text = format!(
        "self-test of {} ({}): {what}\nKernels of this build and this driver do not agree on arguments or on the flags \
         between cores, so {}. Please send what `fastattention doctor --report DIR` writes",
        device.name(),
        device.soc().name,
        flags.users()
    );
    match code {
        Some(code) => Error::driver(ErrorKind::SelfTest, code, text),
        None => Error::new(ErrorKind::SelfTest, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_compared() {
        // By hand: the second block's rows 0 to 7 are 2, 8 to 15 are 3; the third one's 3 and 4.
        let by_hand = [
            (Flags::OfGroups, [424_306.0, 424_338.0, 424_386.0]),
            (Flags::OfAllCores, [424_338.0, 424_370.0, 424_434.0]),
        ];
        for (flags, corners) in by_hand {
            let partner = |block| (block + usize::from(flags == Flags::OfAllCores)) % 3;
            let of = |i: usize| expected([i / 256, partner(i / 256)], i / 16 % 16, i % 16);
            let good: Vec<f32> = (0..3 * 256).map(of).collect();
            assert_eq!([good[256], good[256 + 15], good[511]], corners);
            assert_eq!(mismatch(&good, flags), None);
            for (at, value) in [(0, 0.0), (511, 424_387.0), (767, f32::NAN)] {
                let mut bad = good.clone();
                bad[at] = value;
                let text = mismatch(&bad, flags).unwrap();
                let place = format!("block {}, row {}, column {} ", at / 256, at / 16 % 16, at % 16);
                assert!(text.starts_with(&place), "{text}");
            }
        }
    }
}
