//! What the machine says when a kernel cannot go on.

use crate::access::{Pipe, Space};
use std::fmt;

/// Which core of which group, and which instruction, counted per core from 0 in program order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `AIC`, `AIV0` or `AIV1`.
    pub core: &'static str,
    /// Block (group) number in the launch.
    pub block: u32,
    /// Pipe that executes the instruction.
    pub pipe: Pipe,
    /// Instruction number in the core's program order.
    pub number: u64,
    /// CANN's name of the intrinsic.
    pub mnemonic: &'static str,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of block {}, {} insn {} {}",
            self.core, self.block, self.pipe, self.number, self.mnemonic
        )
    }
}

/// One access to a memory: the other side of a race.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// Who accessed.
    pub site: Site,
    /// `read`, `write` or `atomic`.
    pub access: &'static str,
}

/// The kernel is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Class of the mistake.
    pub kind: FaultKind,
    /// Where it showed. `None` when it belongs to the launch as a whole.
    pub site: Option<Site>,
    /// The sentence that says what was found, with numbers.
    pub detail: String,
}

/// Classes of kernel mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside a memory, an allocation, or into freed memory.
    OutOfBounds,
    /// An access to the end of UB or L1 that the framework keeps.
    Reserved,
    /// An address or size that the instruction cannot take.
    Misaligned,
    /// Operands that overlap in a way the instruction forbids.
    Overlap,
    /// A value used before anything was written there.
    Uninitialised,
    /// Two accesses, one a write, that nothing orders.
    Race,
    /// An operand outside its documented range, or an illegal combination.
    Operand,
    /// A pipe, data path or element type that this core does not have.
    NoSuchPath,
    /// A flag set again before its previous set was waited for.
    FlagSetTwice,
    /// A flag or counter still set when the kernel ended.
    LeakedFlag,
    /// More than 15 pending sets of a cross-core flag.
    CounterOverflow,
    /// Nobody can go on.
    Deadlock,
    /// Wrong use of an AscendC class (queue, pipe, buffer).
    Api,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault: {:?}: {}", self.kind, self.detail)?;
        match &self.site {
            Some(site) => write!(f, "; {site}"),
            None => Ok(()),
        }
    }
}

/// The simulator does not model this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Where.
    pub site: Option<Site>,
    /// What is not modelled, and what is.
    pub detail: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsupported: {}", self.detail)?;
        match &self.site {
            Some(site) => write!(f, "; {site}"),
            None => Ok(()),
        }
    }
}

/// Why a launch ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The kernel is wrong.
    Fault(Box<Fault>),
    /// The simulator does not model something.
    Unsupported(Box<Unsupported>),
    /// The host has too little of something.
    Host(String),
    /// The simulator is wrong: a caught panic's text.
    Defect(String),
}

impl Stop {
    /// A fault whose site the machine fills in when it leaves the instruction.
    pub fn fault(kind: FaultKind, detail: impl Into<String>) -> Stop {
        Stop::Fault(Box::new(Fault { kind, site: None, detail: detail.into() }))
    }

    /// Something not modelled; the machine fills in the site.
    pub fn unsupported(detail: impl Into<String>) -> Stop {
        Stop::Unsupported(Box::new(Unsupported { site: None, detail: detail.into() }))
    }

    /// The host refused to give memory. `what`: for what it was asked, "the trace".
    pub fn no_memory(what: &str) -> Stop {
        Stop::Host(format!("the host has no memory for {what}"))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Fault(x) => x.fmt(f),
            Stop::Unsupported(x) => x.fmt(f),
            Stop::Host(text) => f.write_str(text),
            Stop::Defect(text) => write!(f, "defect of the simulator: {text}"),
        }
    }
}

/// "UB[0x400..0x600)".
pub(crate) fn range_text(space: Space, start: i64, len: u64) -> String {
    let end = i128::from(start) + i128::from(len);
    if start < 0 {
        return format!("{space}[-{:#x}..{:#x})", start.unsigned_abs(), end);
    }
    format!("{space}[{start:#x}..{end:#x})")
}
