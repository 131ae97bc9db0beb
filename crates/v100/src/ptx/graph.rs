//! What waits for what among the machine instructions of a region.
//!
//! Values, not registers, are followed: a register that is written again is another one.

use std::collections::BTreeMap;
use std::ops::Range;

use fastattention_sm70::{Facts, Register, Space, Work};

use super::cost::Cost;
use super::{regions, Node};
use crate::sass::Unit;
use crate::Parameters;

/// Cycles until another instruction may read what an integer or float instruction made (Jia et al., arXiv
/// 1804.06826).
const LATENCY: u64 = 4;

/// Why an instruction comes after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) cycles: u64,
    /// Does it wait for a result whose time is not known when it is compiled?
    pub(super) by_board: bool,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Vec<Edge>>,
    /// Registers that nodes read and that were written before the region.
    pub(super) outside: Vec<Vec<Register>>,
    /// Nodes that make what is in the registers at the end of the region.
    pub(super) made: BTreeMap<Register, Vec<usize>>,
    /// Does anything but a sum of tensor instructions read the result?
    pub(super) is_read: Vec<bool>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Default)]
struct Value {
    nodes: Vec<usize>,
    outside: Vec<Register>,
}

/// Nodes that touched memory.
#[derive(Default)]
struct Accesses {
    loads: Vec<usize>,
    stores: Vec<usize>,
    /// Barrier, and ends of some threads.
    fence: Option<usize>,
}

/// Is it a unit whose results have a scoreboard?
pub(super) fn has_board(unit: Unit) -> bool {
    !matches!(unit, Unit::Fma | Unit::Alu | Unit::Branch | Unit::Barrier)
}

impl Graph {
    pub(super) fn new(facts: &[Facts], costs: &[Cost], region: Range<usize>, p: &Parameters) -> Self {
        let mut graph = Self::default();
        let mut values: BTreeMap<Register, Value> = BTreeMap::new();
        let mut memory = Accesses::default();
        let guards = regions::guards(facts, region.clone());
        for (at, guard) in region.clone().zip(guards) {
            if regions::is_replaced(facts, at) {
                continue;
            }
            let one = &facts[at];
            let read = |register: &Register, values: &BTreeMap<Register, Value>| {
                let unknown = || Value { nodes: Vec::new(), outside: vec![*register] };
                values.get(register).cloned().unwrap_or_else(unknown)
            };
            let mut sources = Value::default();
            // Where it is guarded, what was there before stays.
            let kept = if guard.is_some() || one.is_guarded { &one.writes[..] } else { &[] };
            for register in one.reads.iter().chain(&guard).chain(kept) {
                let value = read(register, &values);
                sources.nodes.extend(value.nodes);
                sources.outside.extend(value.outside);
            }
            let sums: Vec<Value> = one.adds.iter().map(|register| read(register, &values)).collect();
            let result = graph.add(at, one, &costs[at], &sources, &sums, &mut memory, p);
            let value = result.map_or(sources, |node| Value { nodes: vec![node], outside: Vec::new() });
            one.writes.iter().for_each(|register| drop(values.insert(*register, value.clone())));
        }
        graph.made = values.into_iter().map(|(register, value)| (register, value.nodes)).collect();
        for node in graph.made.values().flatten() {
            graph.is_read[*node] = true;
        }
        graph
    }

    /// Appends the nodes of an instruction: the last, if there are any.
    #[allow(clippy::too_many_arguments, reason = "the parts of one instruction")]
    fn add(
        &mut self,
        at: usize,
        one: &Facts,
        cost: &Cost,
        sources: &Value,
        sums: &[Value],
        memory: &mut Accesses,
        p: &Parameters,
    ) -> Option<usize> {
        for (n, unit) in cost.iter().enumerate() {
            let node = self.nodes.len();
            let from = if n == 0 { u32::try_from(at).unwrap_or(super::NOWHERE) } else { super::NOWHERE };
            self.nodes.push(Node { unit: *unit, from });
            self.edges.push(Vec::new());
            self.outside.push(Vec::new());
            self.is_read.push(false);
            if n > 0 {
                self.edges[node].push(Edge { from: node - 1, cycles: step(*unit), by_board: false });
                continue;
            }
            self.read(node, sources, p);
            for sum in sums {
                self.outside[node].extend(&sum.outside);
                for &from in &sum.nodes {
                    // Sums of one tile follow each other without a wait.
                    let edge = match self.nodes[from].unit {
                        Unit::Tensor => Edge { from, cycles: step(Unit::Tensor), by_board: false },
                        _ => self.edge(from, p),
                    };
                    self.edges[node].push(edge);
                }
            }
            self.order(node, one, memory);
        }
        self.nodes.len().checked_sub(1).filter(|_| !cost.is_empty())
    }

    fn read(&mut self, node: usize, sources: &Value, p: &Parameters) {
        self.outside[node].extend(&sources.outside);
        for &from in &sources.nodes {
            let edge = self.edge(from, p);
            self.edges[node].push(edge);
            self.is_read[from] = true;
        }
    }

    fn edge(&self, from: usize, p: &Parameters) -> Edge {
        let unit = self.nodes[from].unit;
        let cycles = match unit {
            Unit::Fma | Unit::Alu | Unit::Branch | Unit::Barrier => LATENCY,
            Unit::Special | Unit::ToHalf => p.special_latency,
            Unit::SharedLoad | Unit::LocalLoad => p.shared_latency + p.to_memory,
            Unit::GlobalLoad => p.global_latency,
            Unit::Shuffle => p.shuffle_latency,
            _ => p.slow_latency,
        };
        Edge { from, cycles, by_board: has_board(unit) }
    }

    /// Accesses of memory stay on their side of barriers, and stores in their order.
    fn order(&mut self, node: usize, one: &Facts, memory: &mut Accesses) {
        let after = |from: usize| Edge { from, cycles: 1, by_board: false };
        match one.work {
            Work::Load(space) => {
                self.edges[node].extend(memory.fence.map(after));
                if space == Space::Shared {
                    self.edges[node].extend(memory.stores.iter().copied().map(after));
                }
                memory.loads.push(node);
            }
            Work::Store(_) => {
                let before = memory.fence.iter().chain(&memory.loads).chain(&memory.stores);
                self.edges[node].extend(before.copied().map(after));
                memory.stores.push(node);
            }
            Work::Barrier | Work::Exit => {
                let before = memory.fence.iter().chain(&memory.loads).chain(&memory.stores);
                self.edges[node].extend(before.copied().map(after));
                *memory = Accesses { fence: Some(node), ..Accesses::default() };
            }
            // It ends the region.
            Work::Branch { .. } => self.edges[node].extend((0..node).map(after)),
            _ => {}
        }
    }
}

/// Cycles between the machine instructions of one instruction.
fn step(unit: Unit) -> u64 {
    if unit == Unit::Tensor {
        2
    } else {
        LATENCY
    }
}
