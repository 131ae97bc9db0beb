//! `aclrtValueWrite` and `aclrtValueWait`: 64-bit words of device memory that streams write and wait for.

use std::sync::Arc;
use std::time::Duration;

use ascend_sys::codes;

use super::border::{refuse, Outcome};
use super::memory;
use super::stream::{Stream, Waited};
use super::wait;
use crate::engine::Allocation;

/// How often a wait looks at the word: kernels and copies that write it ring no bell meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A word of device memory.
pub(super) struct Word {
    allocation: Arc<dyn Allocation>,
    address: u64,
}

impl Word {
    pub(super) fn new(address: u64) -> Outcome<Self> {
        if !address.is_multiple_of(8) {
            return refuse(
                codes::RT_ADDRESS_UNALIGNED,
                format!("devAddr = {address:#x} given, a multiple of 8 wanted"),
            );
        }
        let found = memory::find_device(address).map(|(_, allocation)| allocation);
        match found.filter(|a| address - a.base() + 8 <= a.size()) {
            Some(allocation) => Ok(Self { allocation, address }),
            None => refuse(
                codes::RT_PARAM_INVALID,
                format!("devAddr = {address:#x} given, 8 bytes of device memory wanted"),
            ),
        }
    }

    fn load(&self) -> u64 {
        let mut bytes = [0; 8];
        self.allocation.read(self.address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn write(self, value: u64, on: &Arc<Stream>) -> Outcome {
        let work = move |_: &Stream| {
            self.allocation.write(self.address, &value.to_le_bytes());
            wait::ring();
            Ok(())
        };
        on.dispatch_work(work)
    }

    /// Queues a wait until the word and `value` compare as `flag` says.
    pub(super) fn wait(self, value: u64, flag: u32, on: &Arc<Stream>) -> Outcome {
        on.refuse_on_timeline("a value")?;
        let compare: fn(u64, u64) -> bool = match flag {
            0 => |word, value| word.wrapping_sub(value).cast_signed() >= 0,
            1 => |word, value| word == value,
            2 => |word, value| word & value != 0,
            3 => |word, value| !(word | value) != 0,
            _ => {
                return refuse(
                    codes::RT_PARAM_INVALID,
                    format!("flag = {flag} given, GEQ 0, EQ 1, AND 2 or NOR 3 wanted"),
                );
            }
        };
        let work = move |stream: &Stream| {
            let look = || stream.wait_unless_aborted(Some(LOOK_EVERY), || compare(self.load(), value));
            while look() == Waited::TimedOut {}
            Ok(())
        };
        on.dispatch_work(work)
    }
}
