//! What a scheduler would want to know of an instruction, and what warps executed: for models of time.

use crate::exec::{Block, Workspace};
use crate::fault::Error;
use crate::launch::Launch;
use crate::memory::Memory;
use crate::op::{Address, Bin32, Bin64, Instruction, Op, Space as OpSpace, Src32, Src64, Tri32, Un32};
use crate::ptx::Kernel;

/// A register of a thread, or a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Register {
    /// Of 32 bits.
    Word(u32),
    /// Of 64 bits.
    Pair(u32),
    /// A predicate.
    Predicate(u32),
}

/// Shared or global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Of the block.
    Shared,
    /// Of the device.
    Global,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A register gets what another one has, perhaps with another sign: 32 or 64 bits.
    Copy,
    /// A register gets a number of the text or a parameter.
    Constant,
    /// A register gets the place of the thread or the size of the grid.
    Place,
    /// A sum or difference of integers of 32 bits.
    Add {
        /// Whether one of them is a number of the text.
        immediate: bool,
    },
    /// A shift to the left by a number of the text.
    ShiftLeft,
    /// Any other instruction of 32 bits for integers: logic, comparison, choice, least, largest, bytes.
    Integer,
    /// A product of integers, to 32 or 64 bits.
    Product,
    /// A quotient or remainder of integers.
    Quotient,
    /// A sum or difference of 64 bits.
    WideAdd {
        /// Whether one of them is a number of the text.
        immediate: bool,
    },
    /// Any other instruction on 64 bits.
    Wide,
    /// A product of 64 bits.
    WideProduct,
    /// 32 bits become 64.
    Widen {
        /// With their sign.
        signed: bool,
    },
    /// Logic on predicates.
    Logic,
    /// A sum or product of floats, or both.
    Float,
    /// 2^x.
    Exponential,
    /// A logarithm or reciprocal.
    Function,
    /// From f32 to f16.
    ToHalf,
    /// Between integers and floats.
    Convert,
    /// An exchange between lanes.
    Exchange,
    /// A vote.
    Vote,
    /// A tensor instruction.
    Mma,
    /// A load.
    Load(Space),
    /// A store.
    Store(Space),
    /// A barrier of all threads.
    Barrier,
    /// A branch to an instruction.
    Branch {
        /// Its index.
        target: u32,
    },
    /// The end of a thread.
    Exit,
}

/// An instruction for a scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it does.
    pub work: Work,
    /// Registers that it reads, its guard among them. Of a tensor instruction: those that it multiplies.
    pub reads: Vec<Register>,
    /// Registers to which a tensor instruction adds.
    pub adds: Vec<Register>,
    /// Registers that it writes.
    pub writes: Vec<Register>,
    /// Is it executed only where a predicate holds?
    pub is_guarded: bool,
}

/// An instruction that a warp executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// Its index.
    pub index: u32,
    /// Wavefronts of an access of shared memory, sectors of one of global memory, else 0.
    pub extra: u32,
}

impl Kernel {
    /// Each instruction for a scheduler, by its index.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        self.code.iter().map(facts).collect()
    }

    /// Blocks that a multiprocessor must be able to hold (`.minnctapersm`), where the text says so.
    #[must_use]
    pub fn least_blocks(&self) -> Option<u32> {
        self.least_blocks
    }

    /// Threads that a block may have (`.maxntid`), where the text says so.
    #[must_use]
    pub fn max_threads(&self) -> Option<u32> {
        self.max_threads
    }

    /// Runs one block of a launch: what each of its warps executed, in order.
    ///
    /// # Errors
    /// As [`Self::launch`], of this block alone. [`Error::Invalid`] if the grid has no such block.
    ///
    /// # Panics
    /// Panics if the interpreter is wrong.
    pub fn trace_block(
        &self,
        memory: &mut Memory,
        launch: &Launch<'_>,
        block: [u32; 3],
    ) -> Result<Vec<Vec<Executed>>, Error> {
        self.check(launch)?;
        if block.iter().zip(launch.grid).any(|(at, size)| *at >= size) {
            let text = format!("launch of {}: block {block:?}, grid {:?}", self.name(), launch.grid);
            return Err(Error::Invalid(text));
        }
        let [width, height, _] = launch.grid;
        let number = block[0] + width * (block[1] + height * block[2]);
        let run = Block {
            kernel: self,
            memory,
            params: launch.params.bytes(),
            grid: launch.grid,
            threads: launch.block,
            shared_bytes: launch.shared_bytes,
            sums: launch.sums,
            watch: None,
        };
        let mut workspace = Workspace::new(&run);
        let warps = launch.block.iter().product::<u32>().div_ceil(32) as usize;
        workspace.traces = Some(vec![Vec::new(); warps]);
        let written = run.run(number, &mut workspace)?;
        for (address, value, _) in &written.words {
            memory.write(*address, &value.to_le_bytes()).expect("writes were checked");
        }
        Ok(workspace.traces.unwrap_or_default())
    }
}

/// Registers while they are gathered.
#[derive(Default)]
struct Reads(Vec<Register>);

impl Reads {
    fn word(&mut self, source: Src32) {
        if let Src32::Reg(number) = source {
            self.0.push(Register::Word(number));
        }
    }

    fn words(&mut self, sources: &[Src32]) {
        sources.iter().for_each(|source| self.word(*source));
    }

    fn pair(&mut self, source: Src64) {
        if let Src64::Reg(number) = source {
            self.0.push(Register::Pair(number));
        }
    }

    fn address(&mut self, address: Address) {
        self.0.extend(address.base.map(Register::Pair));
    }
}

fn facts(instruction: &Instruction) -> Facts {
    let (mut reads, mut adds) = (Reads::default(), Reads::default());
    reads.0.extend(instruction.guard.map(|guard| Register::Predicate(guard.p)));
    let (work, writes) = match instruction.op {
        Op::Special { d, .. } => (Work::Place, vec![Register::Word(d)]),
        Op::LoadParam32 { d, .. } => (Work::Constant, vec![Register::Word(d)]),
        Op::LoadParam64 { d, .. } => (Work::Constant, vec![Register::Pair(d)]),
        Op::Load { space, words, d, from } => {
            reads.address(from);
            let to = d.iter().take(usize::from(words)).map(|number| Register::Word(*number));
            (Work::Load(space.into()), to.collect())
        }
        Op::Store { space, words, to, a } => {
            reads.address(to);
            reads.words(&a[..usize::from(words)]);
            (Work::Store(space.into()), Vec::new())
        }
        Op::Shuffle { d, p, a, by, clamp, members, .. } => {
            reads.words(&[a, by, clamp, members]);
            let also = p.map(Register::Predicate);
            (Work::Exchange, also.into_iter().chain([Register::Word(d)]).collect())
        }
        Op::Vote { d, a, members, .. } => {
            reads.word(members);
            reads.0.push(Register::Predicate(a.p));
            (Work::Vote, vec![Register::Predicate(d)])
        }
        Op::Mma(mma) => {
            reads.words(&mma.a);
            reads.words(&mma.b);
            adds.words(&mma.c);
            (Work::Mma, mma.d.iter().map(|number| Register::Word(*number)).collect())
        }
        Op::Barrier { .. } => (Work::Barrier, Vec::new()),
        Op::Branch { target } => (Work::Branch { target }, Vec::new()),
        Op::Exit => (Work::Exit, Vec::new()),
        ref op => computed(op, &mut reads),
    };
    let is_guarded = instruction.guard.is_some();
    Facts { work, reads: reads.0, adds: adds.0, writes, is_guarded }
}

/// Instructions on registers alone.
// One arm for each instruction.
fn computed(op: &Op, reads: &mut Reads) -> (Work, Vec<Register>) {
    let is_number = |source: Src32| matches!(source, Src32::Imm(_));
    let word = |d| vec![Register::Word(d)];
    match *op {
        Op::Un32 { op, d, a } => {
            reads.word(a);
            (unary(op, is_number(a)), word(d))
        }
        Op::Bin32 { op, d, a, b } => {
            reads.words(&[a, b]);
            (binary(op, is_number(a) || is_number(b)), word(d))
        }
        Op::Tri32 { op, d, a, b, c } => {
            reads.words(&[a, b, c]);
            let work = match op {
                Tri32::MadLo => Work::Product,
                Tri32::Fma => Work::Float,
                Tri32::Prmt | Tri32::Lop3(_) => Work::Integer,
            };
            (work, word(d))
        }
        Op::Bfi { d, field, into, start, length } => {
            reads.words(&[field, into, start, length]);
            (Work::Integer, word(d))
        }
        Op::Select32 { d, yes, no, p } => {
            reads.words(&[yes, no]);
            reads.0.push(Register::Predicate(p));
            (Work::Integer, word(d))
        }
        Op::Pack { d, low, high } => {
            reads.words(&[Src32::Reg(low), Src32::Reg(high)]);
            (Work::Integer, word(d))
        }
        Op::Unpack { low, high, a } => {
            reads.word(Src32::Reg(a));
            (Work::Integer, vec![Register::Word(low), Register::Word(high)])
        }
        Op::Compare32 { d, a, b, .. } => {
            reads.words(&[a, b]);
            (Work::Integer, vec![Register::Predicate(d)])
        }
        Op::PredBin { d, a, b, .. } => {
            reads.0.extend([a, b].map(Register::Predicate));
            (Work::Logic, vec![Register::Predicate(d)])
        }
        Op::PredUn { d, a, .. } => {
            reads.0.push(Register::Predicate(a));
            (Work::Logic, vec![Register::Predicate(d)])
        }
        ref op => wide(op, reads),
    }
}

fn unary(op: Un32, is_number: bool) -> Work {
    match op {
        Un32::Mov if is_number => Work::Constant,
        Un32::Mov | Un32::NegF | Un32::AbsF => Work::Copy,
        Un32::Not | Un32::NegS => Work::Integer,
        Un32::Ex2 { .. } => Work::Exponential,
        Un32::Lg2 | Un32::Rcp => Work::Function,
        Un32::HalfFromFloat => Work::ToHalf,
        Un32::FloatFromHalf => Work::Float,
        Un32::FloatFromS | Un32::FloatFromU | Un32::SFromFloat => Work::Convert,
    }
}

fn binary(op: Bin32, immediate: bool) -> Work {
    match op {
        Bin32::Add | Bin32::Sub => Work::Add { immediate },
        Bin32::Shl if immediate => Work::ShiftLeft,
        Bin32::MulLo => Work::Product,
        Bin32::DivS | Bin32::DivU | Bin32::RemS | Bin32::RemU => Work::Quotient,
        Bin32::AddF | Bin32::SubF | Bin32::MulF => Work::Float,
        _ => Work::Integer,
    }
}

/// Instructions that read or write registers of 64 bits.
// One arm for each instruction.
fn wide(op: &Op, reads: &mut Reads) -> (Work, Vec<Register>) {
    let is_number = |source: Src64| matches!(source, Src64::Imm(_));
    match *op {
        Op::Mov64 { d, a } => {
            reads.pair(a);
            (if is_number(a) { Work::Constant } else { Work::Copy }, vec![Register::Pair(d)])
        }
        Op::Bin64 { op, d, a, b } => {
            reads.pair(a);
            reads.pair(b);
            let work = match op {
                Bin64::Add | Bin64::Sub => Work::WideAdd { immediate: is_number(a) || is_number(b) },
                Bin64::MulLo => Work::WideProduct,
                _ => Work::Wide,
            };
            (work, vec![Register::Pair(d)])
        }
        Op::Shift64 { d, a, by, .. } => {
            reads.pair(a);
            reads.word(by);
            (Work::Wide, vec![Register::Pair(d)])
        }
        Op::Select64 { d, yes, no, p } => {
            reads.pair(yes);
            reads.pair(no);
            reads.0.push(Register::Predicate(p));
            (Work::Wide, vec![Register::Pair(d)])
        }
        Op::MulWide { d, a, b, .. } => {
            reads.words(&[a, b]);
            (Work::Product, vec![Register::Pair(d)])
        }
        Op::Widen { signed, d, a } => {
            reads.word(a);
            (Work::Widen { signed }, vec![Register::Pair(d)])
        }
        Op::Narrow { d, a } => {
            reads.pair(a);
            (Work::Copy, vec![Register::Word(d)])
        }
        Op::Compare64 { d, a, b, .. } => {
            reads.pair(a);
            reads.pair(b);
            (Work::Wide, vec![Register::Predicate(d)])
        }
        ref op => unreachable!("facts() has taken {op:?} before"),
    }
}

impl From<OpSpace> for Space {
    fn from(space: OpSpace) -> Self {
        match space {
            OpSpace::Shared => Space::Shared,
            OpSpace::Global => Space::Global,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Module, Params};

    const TEXT: &str = "\
.version 6.4
.target sm_70
.address_size 64
.visible .entry one(.param .u64 at)
.maxntid 64, 1, 1
.minnctapersm 3
{
.reg .pred %p<2>; .reg .b32 %r<5>; .reg .b64 %rd<4>;
ld.param.u64 %rd1, [at];
mov.u32 %r1, %tid.x;
setp.lt.u32 %p1, %r1, 32;
mul.wide.u32 %rd2, %r1, 4;
add.s64 %rd3, %rd1, %rd2;
@%p1 bra END;
ld.global.u32 %r2, [%rd3];
add.s32 %r3, %r2, 7;
END:
ret;
}";

    #[test]
    fn instructions_for_a_scheduler() {
        let module = Module::parse(TEXT).unwrap();
        let kernel = module.kernel("one").unwrap();
        let facts = kernel.facts();
        let works: Vec<Work> = facts.iter().map(|facts| facts.work).collect();
        let (add, wide) = (Work::Add { immediate: true }, Work::WideAdd { immediate: false });
        assert_eq!(
            works[..9],
            [
                Work::Constant,
                Work::Place,
                Work::Integer,
                Work::Product,
                wide,
                Work::Branch { target: 8 },
                Work::Load(Space::Global),
                add,
                Work::Exit
            ]
        );
        // Numbers of registers follow the declarations: %r1 is the second word.
        assert_eq!(
            (&facts[4].reads[..], &facts[4].writes[..]),
            (&[Register::Pair(1), Register::Pair(2)][..], &[Register::Pair(3)][..])
        );
        assert_eq!((&facts[5].reads[..], facts[5].is_guarded), (&[Register::Predicate(1)][..], true));
        assert_eq!(kernel.least_blocks(), Some(3));
    }

    #[test]
    fn a_block_has_a_trace_a_warp() {
        let module = Module::parse(TEXT).unwrap();
        let kernel = module.kernel("one").unwrap();
        let mut memory = Memory::new();
        let at = memory.upload("words", &[1; 512]);
        let params = Params::new().u64(at);
        let launch = Launch::new([2, 1, 1], [64, 1, 1], &params);
        let traces = kernel.trace_block(&mut memory, &launch, [1, 0, 0]).unwrap();
        let indices = |warp: usize| traces[warp].iter().map(|step| step.index).collect::<Vec<_>>();
        assert_eq!(indices(0), [0, 1, 2, 3, 4, 5, 8]);
        assert_eq!(indices(1), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        // 32 words of 4 bytes are four sectors.
        assert_eq!(traces[1][6], Executed { index: 6, extra: 4 });
        assert!(kernel.trace_block(&mut memory, &launch, [2, 0, 0]).is_err());
    }
}
