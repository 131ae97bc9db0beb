//! GM as one launch sees it.

use std::fmt;
use std::sync::Arc;

use crate::access::Allocation;

/// Farther than any device memory is large: no allocation is near.
const NEAR_BYTES: u64 = 64 << 30;

/// The allocations alive when the launch started, in address order.
#[derive(Debug)]
pub(crate) struct Gm {
    allocations: Vec<Arc<Allocation>>,
    /// For each, the first argument of the kernel that points into it.
    arguments: Vec<Option<usize>>,
}

impl Gm {
    pub(crate) fn new(allocations: Vec<Arc<Allocation>>, args: &[u64]) -> Self {
        let mut gm = Self { arguments: vec![None; allocations.len()], allocations };
        for (number, &arg) in args.iter().enumerate().rev() {
            if let Some(index) = gm.find(arg).map(|(index, _)| index) {
                gm.arguments[index] = Some(number);
            }
        }
        gm
    }

    pub(crate) fn allocations(&self) -> &[Arc<Allocation>] {
        &self.allocations
    }

    /// Index and allocation that contain `addr`.
    pub(crate) fn find(&self, addr: u64) -> Option<(usize, &Allocation)> {
        let index = self.before(addr)?;
        let a = &self.allocations[index];
        (addr < end(a)).then_some((index, a.as_ref()))
    }

    /// The last allocation that starts at or below `addr`.
    fn before(&self, addr: u64) -> Option<usize> {
        self.allocations.partition_point(|a| a.base() <= addr).checked_sub(1)
    }

    /// An allocation as a report calls it.
    pub(crate) fn name(&self, index: usize) -> Named<'_> {
        Named { allocation: &self.allocations[index], argument: self.arguments[index] }
    }

    /// For an address where nothing is allocated, what a report adds: where that is, seen from the nearest
    /// allocation. As long as the host has address space, allocations lie far apart
    /// (`dav-c220/src/access/memory/words.rs`), and that is the one that the address was computed from.
    pub(crate) fn nearest(&self, addr: u64) -> String {
        let below = self.before(addr);
        let above = below.map_or(0, |index| index + 1);
        let below = below.map(|index| (addr - end(&self.allocations[index]), index, "behind"));
        let above = self.allocations.get(above).map(|a| (a.base() - addr, above, "before"));
        match [below, above].into_iter().flatten().min().filter(|(distance, ..)| *distance < NEAR_BYTES) {
            Some((0, index, side)) => format!(", right {side} {}", self.name(index)),
            Some((distance, index, side)) => format!(", {distance} bytes {side} {}", self.name(index)),
            None => String::new(),
        }
    }
}

fn end(a: &Allocation) -> u64 {
    a.base() + a.len()
}

/// "the allocation of 64 bytes of argument 2"
#[derive(Debug)]
pub(crate) struct Named<'a> {
    allocation: &'a Allocation,
    argument: Option<usize>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the allocation of {} bytes", self.allocation.len())?;
        match self.argument {
            Some(number) => write!(f, " of argument {number}"),
            None => write!(f, " that no argument points into"),
        }
    }
}
