//! The record of what the cores of a device issued, for comparing two builds of a kernel instruction by
//! instruction.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::{Dispatch, Elem, Instr, Registers};

/// Records every intrinsic that the cores of a device issue, in each core's program order. Given to a device
/// through [`Config::recorder`](super::Config::recorder); clones share one record.
///
/// Scalar loads and stores and reads of special registers are not recorded.
#[derive(Clone, Default)]
pub struct Recorder {
    streams: Arc<Mutex<Streams>>,
}

/// What each core issued.
type Streams = BTreeMap<CoreId, Vec<Issued>>;

/// A core of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId {
    /// The block (group) that it belongs to.
    pub block: u32,
    /// `AIC`, `AIV0` or `AIV1`.
    pub name: &'static str,
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of block {}", self.name, self.block)
    }
}

/// An intrinsic as a core issued it. Two are equal when mnemonic, element types, operands and captured
/// registers are.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    mnemonic: &'static str,
    operand_names: &'static [&'static str],
    elem: Elem,
    elem_dst: Elem,
    operands: Vec<u64>,
    /// Of instructions of a pipe; the scalar unit captures none.
    captured: Option<Box<Registers>>,
}

impl Issued {
    fn new(instr: &Instr) -> Self {
        let count = (instr.num_args as usize).min(instr.args.len());
        Self {
            mnemonic: instr.op.mnemonic,
            operand_names: instr.op.operands,
            elem: instr.elem,
            elem_dst: instr.elem_dst,
            operands: instr.args[..count].to_vec(),
            captured: matches!(instr.op.dispatch, Dispatch::Queued(..)).then(|| Box::new(instr.regs)),
        }
    }

    /// CANN's name of the intrinsic.
    pub fn mnemonic(&self) -> &'static str {
        self.mnemonic
    }

    /// Operands in CANN's order: addresses as the kernel sees them, integers extended to 64 bits, floats as
    /// their bits.
    pub fn operands(&self) -> &[u64] {
        &self.operands
    }
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic)?;
        match (self.elem, self.elem_dst) {
            (Elem::None, Elem::None) => {}
            (elem, Elem::None) => write!(f, "<{elem:?}>")?,
            (elem, dst) => write!(f, "<{elem:?} to {dst:?}>")?,
        }
        for (i, value) in self.operands.iter().enumerate() {
            let separator = if i == 0 { ' ' } else { ',' };
            match self.operand_names.get(i) {
                Some(name) => write!(f, "{separator}{name}={value:#x}")?,
                None => write!(f, "{separator}{value:#x}")?,
            }
        }
        match &self.captured {
            Some(regs) => write!(f, " [{regs:x?}]"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Recorder {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was recorded since the last call, by core.
    pub fn take(&self) -> BTreeMap<CoreId, Vec<Issued>> {
        std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn push(&self, block: u32, name: &'static str, instr: &Instr) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(CoreId { block, name }).or_default().push(Issued::new(instr));
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
