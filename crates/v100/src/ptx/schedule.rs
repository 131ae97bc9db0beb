//! The order in which a scheduler would issue a region: of the instructions that are near and ready, the one
//! with the longest way behind it.

use super::graph::Graph;
use crate::sass::Unit;
use crate::Parameters;

/// How many instructions ahead of the first that is not issued another may be taken:
/// ASSUMPTION(v100-ptx-window). A scheduler that has only so many registers cannot load what is wanted
/// much later.
const WINDOW: usize = 64;

/// Nodes in the order of their issue.
pub(super) fn order(graph: &Graph, p: &Parameters) -> Vec<usize> {
    let count = graph.nodes.len();
    let (mut waits, mut followers) = (vec![0; count], vec![Vec::new(); count]);
    for (node, edges) in graph.edges.iter().enumerate() {
        waits[node] = edges.len();
        edges.iter().for_each(|edge| followers[edge.from].push((node, edge.cycles)));
    }
    let mut way = vec![0_u64; count];
    for node in (0..count).rev() {
        way[node] = followers[node].iter().map(|&(next, cycles)| way[next] + cycles).max().unwrap_or(0);
    }
    let (mut order, mut is_issued, mut ready) =
        (Vec::with_capacity(count), vec![false; count], vec![0; count]);
    let (mut first, mut now) = (0, 0_u64);
    let mut free = [0_u64; 6];
    while order.len() < count {
        while is_issued[first] {
            first += 1;
        }
        let near = first..(first + WINDOW).min(count);
        let is_free = |node: &usize| !is_issued[*node] && waits[*node] == 0;
        let at = |node: usize| ready[node].max(free[pipe(graph.nodes[node].unit)]);
        let now_ready = near.clone().filter(is_free).filter(|&node| at(node) <= now);
        let Some(node) = now_ready.max_by_key(|&node| (way[node], std::cmp::Reverse(node))) else {
            // The first that is not issued waits for nothing but time.
            now = near.filter(is_free).map(at).min().unwrap_or(now).max(now + 1);
            continue;
        };
        is_issued[node] = true;
        order.push(node);
        free[pipe(graph.nodes[node].unit)] = now + hold(graph.nodes[node].unit, p);
        for &(next, cycles) in &followers[node] {
            waits[next] -= 1;
            ready[next] = ready[next].max(now + cycles);
        }
        now += 1;
    }
    order
}

fn pipe(unit: Unit) -> usize {
    match unit {
        Unit::Tensor => 0,
        Unit::Fma => 1,
        Unit::Alu => 2,
        Unit::Special | Unit::ToHalf => 3,
        Unit::Branch | Unit::Barrier => 4,
        _ => 5,
    }
}

fn hold(unit: Unit, p: &Parameters) -> u64 {
    match unit {
        Unit::Tensor => p.tensor,
        Unit::Fma => p.fma,
        Unit::Alu => p.alu,
        Unit::Special => p.special,
        Unit::ToHalf => p.to_half,
        Unit::Branch | Unit::Barrier => 1,
        _ => 2,
    }
}
