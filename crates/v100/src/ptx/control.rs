//! Stall counts and scoreboards, as ptxas writes them into machine instructions. Results of tensor
//! instructions share one scoreboard, loads of global memory another one; the others take turns.

use std::collections::BTreeMap;
use std::ops::Range;

use fastattention_sm70::{Facts, Register, Work};

use super::graph::{has_board, Graph};
use crate::sass::{Control, Unit};

const NO_BOARD: u8 = 7;
const TENSOR_BOARD: u8 = 5;
const GLOBAL_BOARD: u8 = 3;
const OTHER_BOARDS: [u8; 4] = [0, 1, 2, 4];
/// Longest stall count.
const MOST_STALL: u64 = 15;

/// Boards that a register may wait for.
type Pending = BTreeMap<Register, u8>;

/// Of the nodes of each region, in the order of their issue.
pub(super) fn controls(
    facts: &[Facts],
    regions: &[Range<usize>],
    graphs: &[Graph],
    orders: &[Vec<usize>],
) -> Vec<Vec<Control>> {
    let boards: Vec<Vec<u8>> = graphs.iter().zip(orders).map(|(graph, order)| boards(graph, order)).collect();
    let entered = entered(facts, regions, graphs, &boards);
    (0..graphs.len()).map(|n| of_region(&graphs[n], &orders[n], &boards[n], &entered[n])).collect()
}

/// Scoreboard of each node.
fn boards(graph: &Graph, order: &[usize]) -> Vec<u8> {
    let mut boards = vec![NO_BOARD; graph.nodes.len()];
    let mut turn = OTHER_BOARDS.into_iter().cycle();
    for &node in order.iter().filter(|&&node| graph.is_read[node]) {
        boards[node] = match graph.nodes[node].unit {
            Unit::Tensor => TENSOR_BOARD,
            Unit::GlobalLoad => GLOBAL_BOARD,
            unit if has_board(unit) => turn.next().unwrap_or(NO_BOARD),
            _ => NO_BOARD,
        };
    }
    boards
}

/// What may be pending where a region begins.
fn entered(facts: &[Facts], regions: &[Range<usize>], graphs: &[Graph], boards: &[Vec<u8>]) -> Vec<Pending> {
    let at = |instruction: usize| regions.partition_point(|range| range.end <= instruction);
    let mut entered: Vec<Pending> = vec![Pending::new(); regions.len()];
    let mut todo: Vec<usize> = (0..regions.len()).collect();
    while let Some(n) = todo.pop() {
        let left = left(&graphs[n], &boards[n], &entered[n]);
        let last = regions[n].end - 1;
        let (target, falls) = match facts[last].work {
            Work::Branch { target } => (Some(at(target as usize)), facts[last].is_guarded),
            Work::Exit => (None, facts[last].is_guarded),
            _ => (None, true),
        };
        for next in target.into_iter().chain(falls.then_some(n + 1)).filter(|next| *next < regions.len()) {
            let mut is_new = false;
            for (register, mask) in &left {
                let known = entered[next].entry(*register).or_default();
                is_new |= *known | mask != *known;
                *known |= mask;
            }
            if is_new {
                todo.push(next);
            }
        }
    }
    entered
}

/// What may be pending where a region ends: what it made, and what it neither made nor waited for.
fn left(graph: &Graph, boards: &[u8], entered: &Pending) -> Pending {
    let mut left = entered.clone();
    for register in graph.outside.iter().flatten() {
        left.remove(register);
    }
    for (register, nodes) in &graph.made {
        let mask = nodes.iter().map(|&node| bit(boards[node])).fold(0, |all, one| all | one);
        if mask == 0 {
            left.remove(register);
        } else {
            left.insert(*register, mask);
        }
    }
    left
}

/// Of a mask; none for no board.
fn bit(board: u8) -> u8 {
    if board == NO_BOARD {
        0
    } else {
        1 << board
    }
}

fn of_region(graph: &Graph, order: &[usize], boards: &[u8], entered: &Pending) -> Vec<Control> {
    let mut controls: Vec<Control> = Vec::with_capacity(order.len());
    let mut time = vec![0_u64; graph.nodes.len()];
    // Boards on which nothing pends that was issued before the last wait for them.
    let mut waited = [None; 8];
    let mut now = 0;
    for &node in order {
        let fixed = graph.edges[node].iter().filter(|edge| !edge.by_board);
        let ready = fixed.map(|edge| time[edge.from] + edge.cycles).max().unwrap_or(0);
        if let Some(before) = controls.last_mut() {
            let stall = ready.saturating_sub(now).clamp(1, MOST_STALL);
            before.stall = u8::try_from(stall).unwrap_or(1);
            now = ready.max(now + 1);
        }
        time[node] = now;
        let mut wait = 0;
        for edge in graph.edges[node].iter().filter(|edge| edge.by_board) {
            let board = boards[edge.from];
            let issued = Some(time[edge.from]);
            if board != NO_BOARD && waited[usize::from(board)] <= issued {
                wait |= bit(board);
            }
        }
        for register in &graph.outside[node] {
            let mask = entered.get(register).copied().unwrap_or(0);
            wait |= (0..8_u8)
                .filter(|&n| mask >> n & 1 == 1 && waited[usize::from(n)].is_none())
                .fold(0, |all, n| all | bit(n));
        }
        (0..8).filter(|n| wait >> n & 1 == 1).for_each(|n| waited[n] = Some(now));
        controls.push(Control { stall: 1, write: boards[node], read: NO_BOARD, wait });
    }
    controls
}
