//! Machine code of sm_70 as the disassembler prints it, decoded.

mod decode;
mod op;
mod operand;
mod text;
mod words;

use std::collections::BTreeMap;

pub(crate) use op::{
    Combine, Compare, Convert, Float, Function, Guard, Instruction, Lea, Op, Round, Shift, ShuffleMode,
    Special, Unit, Width,
};
pub(crate) use operand::{Address, Operand, Pred, Value, PT, RZ};
pub(crate) use text::Control;

use crate::ptx::Program;
use crate::{cubin, Result, Tools};

/// One kernel of a file of machine code.
#[derive(Debug)]
pub struct Kernel {
    name: String,
    pub(crate) facts: cubin::Facts,
    pub(crate) code: Vec<Instruction>,
    pub(crate) index_of_pc: BTreeMap<u32, u32>,
    /// What runs in place of the machine code, if this is made up from PTX.
    pub(crate) program: Option<Box<Program>>,
}

impl Kernel {
    /// Disassembles and decodes a kernel. `name` may be the beginning or any part of the kernel's name, so
    /// long as only one has it.
    ///
    /// # Errors
    /// If the file holds no such kernel or several, or is none of machine code; if the disassembler fails.
    pub fn new(tools: &Tools, cubin: &[u8], name: &str) -> Result<Self> {
        let names = cubin::kernels(cubin)?;
        let found: Vec<&String> = names.iter().filter(|other| other.contains(name)).collect();
        let exact = names.iter().find(|other| *other == name);
        let Some(full) = exact.or(if let [only] = &found[..] { Some(only) } else { None }) else {
            let text = format!("kernel {name:?}: {} have it in their names, wanted one", found.len());
            return Err(crate::Error::Invalid(text));
        };
        Self::of_text(&tools.disassemble(cubin)?, full, cubin::facts(cubin, full)?)
    }

    /// From the disassembler's text.
    pub(crate) fn of_text(text: &str, name: &str, facts: cubin::Facts) -> Result<Self> {
        let listing = text::listing(text, name)?;
        let index_of_pc = listing.lines.iter().zip(0..).map(|(line, index)| (line.pc, index)).collect();
        let code = listing.lines.iter().map(|line| decode::decode(line, &listing)).collect();
        Ok(Self { name: name.to_owned(), facts, code, index_of_pc, program: None })
    }

    /// Code that is only there to be timed.
    pub(crate) fn of_ptx(name: &str, facts: cubin::Facts, code: Vec<Instruction>, program: Program) -> Self {
        let program = Some(Box::new(program));
        Self { name: name.to_owned(), facts, code, index_of_pc: BTreeMap::new(), program }
    }

    /// Its whole name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Registers of a thread.
    pub fn registers(&self) -> u32 {
        self.facts.registers
    }

    /// Shared memory that the kernel has without asking, bytes.
    pub fn static_shared_bytes(&self) -> u32 {
        self.facts.static_shared_bytes
    }

    /// Bytes of the code.
    pub fn code_bytes(&self) -> usize {
        16 * self.code.len()
    }

    /// The longest run of code that a branch goes back over and that holds tensor instructions, in bytes:
    /// what an iteration of the main loop fetches.
    pub fn main_loop_bytes(&self) -> usize {
        let runs = self.code.iter().enumerate().filter_map(|(at, instruction)| match instruction.op {
            Op::Branch { target: Some(target), .. } if (target as usize) < at => Some((target as usize, at)),
            _ => None,
        });
        let works =
            |&(first, last): &(usize, usize)| self.code[first..last].iter().any(|i| i.unit == Unit::Tensor);
        runs.filter(works).map(|(first, last)| 16 * (last + 1 - first)).max().unwrap_or(0)
    }
}
