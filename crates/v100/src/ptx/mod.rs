//! What a kernel would be as machine code, made up from its PTX: for the model of time where ptxas is not
//! there. `docs/volta.md` has the error against the model from machine code.
//!
//! The interpreter of PTX runs the blocks. Each instruction becomes machine instructions of a class
//! ([`cost`]); short bodies behind a branch become guarded ([`regions`]); a region of straight code is put in
//! the order in which a scheduler would issue it ([`schedule`]), with stall counts and scoreboards
//! ([`control`]). Registers are those that live at a time ([`live`]).
//!
//! Not there: registers that are given to values, so no wait for one that is still read; what ptxas does
//! across regions.

mod control;
mod cost;
mod graph;
mod live;
mod regions;
mod schedule;

use fastattention_sm70 as sm70;

use graph::Graph;

use crate::exec::{Issued, Launch, Memory, Trace};
use crate::sass::{Instruction, Kernel, Op, Pred, Unit, PT};
use crate::{cubin, Error, Parameters, Result};

/// Most registers of a thread.
const MAX_REGISTERS: u32 = 255;
/// Most threads of a block.
const MAX_THREADS: u32 = 1024;
/// Registers of a multiprocessor.
const ALL_REGISTERS: u32 = 1 << 16;
/// The guard of what is timed only.
const ALWAYS: Pred = Pred { index: PT, negated: false };
/// No instruction of PTX: where a machine instruction is not the first of those that one becomes.
const NOWHERE: u32 = u32::MAX;

/// The kernel as PTX, and where its instructions went.
#[derive(Debug)]
pub(crate) struct Program {
    module: sm70::Module,
    regions: Vec<Region>,
    /// Region of each instruction.
    region_of: Vec<u32>,
}

/// Straight code, which is entered at its first instruction only: its machine instructions in the order
/// of their issue. Of each the index in the code of the kernel, and that of the instruction of PTX whose
/// wavefronts or sectors it has.
type Region = Vec<(u32, u32)>;

/// A machine instruction.
#[derive(Debug, Clone, Copy)]
struct Node {
    unit: Unit,
    /// The instruction of PTX that it comes from.
    from: u32,
}

impl Kernel {
    /// A kernel of a text of PTX, as far as that tells its time: for where ptxas is not installed.
    ///
    /// # Errors
    /// [`Error::Ptx`] for a text that the interpreter does not take.
    pub fn from_ptx(ptx: &str, name: &str) -> Result<Self> {
        let module = sm70::Module::parse(ptx)?;
        let kernel = module.kernel(name)?;
        let facts = kernel.facts();
        let costs = cost::costs(&facts);
        let split = regions::split(&facts);
        let p = Parameters::default();
        let graphs: Vec<Graph> =
            split.iter().map(|range| Graph::new(&facts, &costs, range.clone(), &p)).collect();
        let orders: Vec<Vec<usize>> = graphs.iter().map(|graph| schedule::order(graph, &p)).collect();
        let controls = control::controls(&facts, &split, &graphs, &orders);
        let (mut code, mut regions) = (Vec::new(), Vec::<Region>::new());
        for ((graph, order), controls) in graphs.iter().zip(&orders).zip(&controls) {
            let mut issued = Vec::new();
            for (&node, control) in order.iter().zip(controls) {
                let (Node { unit, from }, index) = (graph.nodes[node], number(code.len()));
                issued.push((index, from));
                let (pc, text) = (16 * index, String::new());
                code.push(Instruction { pc, text, control: *control, guard: ALWAYS, unit, op: Op::Nothing });
            }
            regions.push(issued);
        }
        let region_of: Vec<u32> = split.iter().zip(0..).flat_map(|(range, n)| vec![n; range.len()]).collect();
        for &(index, from) in regions.iter().flatten() {
            if let Some(sm70::Work::Branch { target }) = facts.get(from as usize).map(|one| one.work) {
                let target = regions[region_of[target as usize] as usize].first().map(|first| first.0);
                code[index as usize].op = Op::Branch { target, also: None };
            }
        }
        let threads = kernel.max_threads().unwrap_or(MAX_THREADS);
        let by_blocks = kernel.least_blocks().map_or(MAX_REGISTERS, |blocks| {
            (ALL_REGISTERS / (threads * blocks).max(1) / 8 * 8).clamp(1, MAX_REGISTERS)
        });
        let facts = cubin::Facts {
            registers: live::registers(&facts, &costs).min(by_blocks),
            param_bytes: number(kernel.param_bytes()),
            ..cubin::Facts::default()
        };
        let program = Program { module, regions, region_of };
        Ok(Self::of_ptx(name, facts, code, program))
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Program {
    /// Runs a block, and turns what its warps executed into machine instructions.
    pub(crate) fn run_block(
        &self,
        name: &str,
        memory: &mut Memory,
        launch: &Launch,
        block: [u32; 3],
    ) -> Result<Trace> {
        let kernel = self.module.kernel(name)?;
        let params = sm70::Params::packed(&launch.params);
        let [x, y] = launch.threads;
        let wanted = sm70::Launch {
            shared_bytes: launch.shared_bytes,
            ..sm70::Launch::new(launch.grid, [x, y, 1], &params)
        };
        let (address, bytes) = memory.whole();
        let mut copy = sm70::Memory::with("memory", address, bytes);
        let traces = kernel.trace_block(&mut copy, &wanted, block)?;
        let bytes = copy.read(address).ok_or_else(|| Error::Invalid("memory is gone".to_owned()))?;
        memory.replace(bytes);
        Ok(Trace { warps: traces.iter().map(|steps| self.issued(steps)).collect() })
    }

    /// What a warp issues: every region that it entered, whole, for what is not executed in one is guarded.
    fn issued(&self, steps: &[sm70::Executed]) -> Vec<Issued> {
        let mut issued = Vec::new();
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let region = self.region_of[first.index as usize];
            let same = |pair: &[sm70::Executed]| {
                self.region_of[pair[1].index as usize] == region && pair[0].index < pair[1].index
            };
            let count = 1 + rest.windows(2).take_while(|pair| same(pair)).count();
            let (now, later) = rest.split_at(count);
            rest = later;
            for &(index, from) in &self.regions[region as usize] {
                let found = now.binary_search_by_key(&from, |step| step.index);
                issued.push(Issued { index, extra: found.map_or(0, |at| now[at].extra) });
            }
        }
        issued
    }
}

#[cfg(test)]
mod tests;
