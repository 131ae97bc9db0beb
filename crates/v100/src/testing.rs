//! Kernels of a few instructions, written down with their control codes.

use std::fmt::Write as _;

use crate::cubin::Facts;
use crate::Kernel;

/// Stall, scoreboard that is set until the result is there, scoreboards that are waited for.
pub(crate) type Code = (u64, u64, u64);

/// Nothing to wait for, and none that waits.
pub(crate) const PLAIN: Code = (1, 7, 0);

/// A kernel of these instructions. A line that ends in a colon is a label.
pub(crate) fn kernel(lines: &[(&str, Code)], param_bytes: u32) -> Kernel {
    let (mut text, mut pc) = (String::from(".text.k:\n"), 0);
    for (line, (stall, write, wait)) in lines {
        if line.ends_with(':') {
            writeln!(text, "{line}").unwrap();
            continue;
        }
        let high = stall << 41 | write << 46 | 7 << 49 | wait << 52;
        writeln!(text, "        /*{pc:04x}*/  {line} ;  /* 0x0000000000000000 */\n  /* 0x{high:016x} */")
            .unwrap();
        pc += 16;
    }
    Kernel::of_text(&text, "k", Facts { registers: 32, param_bytes, ..Facts::default() }).unwrap()
}
