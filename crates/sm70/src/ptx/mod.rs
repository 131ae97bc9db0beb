//! Text of PTX to decoded kernels.

mod body;
mod decode;
mod lex;
mod operand;
mod parse;

use std::sync::Arc;

use crate::fault::Error;
use crate::op::Instruction;

/// A PTX text with its kernels.
#[derive(Debug)]
pub struct Module {
    kernels: Vec<Kernel>,
}

/// A kernel, ready to run.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) code: Vec<Instruction>,
    pub(crate) params: Vec<Param>,
    pub(crate) registers: Registers,
    /// Threads of a block at most, where the text says so.
    pub(crate) max_threads: Option<u32>,
    /// Blocks that a multiprocessor must hold, where the text says so.
    pub(crate) least_blocks: Option<u32>,
    pub(crate) text: Arc<Text>,
}

/// What faults quote.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) lines: Vec<String>,
    /// `.file` number and name.
    pub(crate) files: Vec<(u32, String)>,
}

/// A parameter in the packed block of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// How many registers of each file a thread has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Registers {
    pub(crate) b32: u32,
    pub(crate) b64: u32,
    pub(crate) preds: u32,
}

impl Module {
    /// Parses PTX.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the line of an instruction or directive that is not modelled,
    /// [`Error::Invalid`] where the text is no PTX.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { kernels: parse::kernels(text)? })
    }

    /// The kernel (`.entry`) of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn kernel(&self, name: &str) -> Result<&Kernel, Error> {
        self.kernels.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
            let names: Vec<_> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
            Error::Invalid(format!("kernel {name:?} is not in the text, which holds {names:?}"))
        })
    }
}

impl Kernel {
    /// The name of the `.entry`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of all parameters, packed as a launch takes them.
    #[must_use]
    pub fn param_bytes(&self) -> usize {
        self.params.last().map_or(0, |last| (last.offset + last.bytes) as usize)
    }

    /// The trimmed text of a line.
    pub(crate) fn line_text(&self, line: u32) -> &str {
        self.text.lines.get((line as usize).saturating_sub(1)).map_or("", |text| text.trim())
    }

    pub(crate) fn source(&self, loc: (u32, u32)) -> Option<(String, u32)> {
        let name = self.text.files.iter().find(|(number, _)| *number == loc.0).map(|(_, name)| name.clone());
        (loc.1 > 0).then(|| (name.unwrap_or_else(|| format!("file {}", loc.0)), loc.1))
    }
}
