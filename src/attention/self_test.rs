//! The first launch on a device: kernel `fa_self_test` (ascendc/kernels/self_test.cpp) and what it has to leave behind.
//!
//! Who supplies the address of the flags between AIC and AIV depends on how the binary was made, and whether each driver
//! agrees is not published (acl-runtime.md 3.3): a binary of the older build has a hidden first argument, which the
//! runtime adds to an argument list; in a newer one the loader fills in a variable.
//!
//! ASSUMPTION(flags-of-argument-lists): with an argument list, as this crate uses, the caller does nothing in either case.
//! This launch finds out whether that holds.

use std::time::Duration;

use crate::runtime::{Buffer, Device, Kernel, KernelArgs, Stream};
use crate::{Error, ErrorKind, Result};

/// Name in the image.
pub(super) const KERNEL: &str = "fa_self_test";

/// Added to every product, so that a result cannot be left over from anything else. Sums stay exact in f32.
const MAGIC: f32 = 424_242.0;

/// Rows and columns of a block's result.
const DIM: usize = 16;

/// Bytes that a block uses of the workspace: a 16 x 16 tile of f16 and one of f32.
const WORKSPACE_BYTES: usize = DIM * DIM * (2 + 4);

/// Far more than a launch takes, and short enough for a program that starts.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Launches the kernel on every core group and compares each element of its result.
///
/// # Errors
/// `SelfTest` when the launch fails, does not end, or leaves something else; `OutOfMemory`, `Driver` before it.
pub(super) fn run(kernel: &Kernel, device: &Device) -> Result<()> {
    let blocks = device.soc().cube_cores;
    let tiles = blocks as usize;
    let stream = Stream::new(device)?;
    let workspace = Buffer::alloc(device, tiles * WORKSPACE_BYTES)?;
    let out = Buffer::alloc(device, tiles * DIM * DIM * 4)?;
    out.zero()?;
    let args = KernelArgs::new().buffer(&out).buffer(&workspace).place_holder(&MAGIC.to_le_bytes());
    let launched =
        kernel.launch(&stream, blocks, &args).and_then(|()| stream.synchronize_timeout(TIME_LIMIT));
    if let Err(error) = launched {
        if error.is_timeout() {
            // The kernel may hang: nothing waits for it, and nothing that it uses is freed.
            stream.abandon();
        }
        return Err(failed(device, error.driver_code(), &error.to_string()));
    }
    let mut values = vec![0.0f32; tiles * DIM * DIM];
    out.copy_to_host(&mut values)?;
    match mismatch(&values) {
        None => Ok(()),
        Some(text) => Err(failed(device, None, &text)),
    }
}

/// The first element that is wrong.
fn mismatch(values: &[f32]) -> Option<String> {
    values.iter().enumerate().find_map(|(i, &value)| {
        let (block, row, column) = (i / (DIM * DIM), i / DIM % DIM, i % DIM);
        let wanted = expected(block, row, column);
        (value.to_bits() != wanted.to_bits()).then(|| {
            format!("block {block}, row {row}, column {column} of the result is {value}, {wanted} wanted")
        })
    })
}

/// Row r of A holds `block % 8 + 1 + r / 8` sixteen times; the result is A A^T + MAGIC.
fn expected(block: usize, row: usize, column: usize) -> f32 {
    let element = |r: usize| (block % 8 + 1 + r / 8) as f32;
    MAGIC + DIM as f32 * element(row) * element(column)
}

fn failed(device: &Device, code: Option<i32>, what: &str) -> Error {
    let text = format!(
        "self-test of {} ({}): {what}\nKernels of this build and this driver do not agree on arguments or on the flags \
         between AIC and AIV, so attention is not launched. Please send what `fastattention doctor --report DIR` writes",
        device.name(),
        device.soc().name
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
        let good: Vec<f32> = (0..3 * 256).map(|i| expected(i / 256, i / 16 % 16, i % 16)).collect();
        // By hand: the second block's rows 0 to 7 are 2, 8 to 15 are 3.
        assert_eq!([good[256], good[256 + 15], good[511]], [424_306.0, 424_338.0, 424_386.0]);
        assert_eq!(mismatch(&good), None);
        for (at, value) in [(0, 0.0), (511, 424_387.0), (767, f32::NAN)] {
            let mut bad = good.clone();
            bad[at] = value;
            let text = mismatch(&bad).unwrap();
            let place = format!("block {}, row {}, column {} ", at / 256, at / 16 % 16, at % 16);
            assert!(text.starts_with(&place), "{text}");
        }
    }
}
