//! Random programs of one core against an explicit graph of what happens before what, built from the
//! documents and searched, not from clocks.

use super::*;

use Pipe::{Mte2, Mte3, S, V};

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Pipe, start, end, is it a write. On S: a scalar load or store of one byte.
    Access(Pipe, u64, u64, bool),
    Set(Pipe, Pipe, u64),
    Wait(Pipe, Pipe, u64),
    Barrier(Pipe),
    BarrierAll,
}

const PIPES: [Pipe; 4] = [S, V, Mte2, Mte3];

/// A program whose flags are used correctly: only its accesses may be wrong.
pub(super) fn random_program(rng: &mut fastrand::Rng) -> Vec<Act> {
    // Everything is written once, so that scalar loads find something.
    let mut steps = vec![Act::Access(Mte2, 0, 64, true), Act::BarrierAll];
    let mut pending: Vec<(Pipe, Pipe, u64)> = Vec::new();
    for _ in 0..rng.usize(3..40) {
        let pipe = PIPES[rng.usize(..4)];
        steps.push(match rng.u32(..10) {
            0..4 => {
                let at = rng.u64(..32);
                let len = if pipe == S { 1 } else { rng.u64(1..8) };
                Act::Access(pipe, at, at + len, rng.bool())
            }
            4..6 => {
                let flag = (pipe, PIPES[rng.usize(..4)], rng.u64(..2));
                if flag.0 == flag.1 || pending.contains(&flag) {
                    continue;
                }
                pending.push(flag);
                Act::Set(flag.0, flag.1, flag.2)
            }
            6..9 if !pending.is_empty() => {
                let flag = pending.swap_remove(rng.usize(..pending.len()));
                Act::Wait(flag.0, flag.1, flag.2)
            }
            9 if rng.u32(..4) == 0 => Act::BarrierAll,
            _ if pipe != S => Act::Barrier(pipe),
            _ => continue,
        });
    }
    steps.extend(pending.into_iter().map(|f| Act::Wait(f.0, f.1, f.2)));
    steps
}

/// Nodes 3i, 3i + 1, 3i + 2 of step i: issued, started, complete.
struct Graph {
    edges: Vec<Vec<usize>>,
}

impl Graph {
    fn new(steps: &[Act]) -> Graph {
        let mut graph = Graph { edges: vec![Vec::new(); 3 * steps.len()] };
        for (i, step) in steps.iter().enumerate() {
            let (issued, started, complete) = (3 * i, 3 * i + 1, 3 * i + 2);
            graph.edges[issued].push(started);
            graph.edges[started].push(complete);
            let pipe = match *step {
                Act::Access(p, ..) | Act::Set(p, ..) | Act::Wait(_, p, _) | Act::Barrier(p) => p,
                Act::BarrierAll => S,
            };
            for (j, earlier) in steps[..i].iter().enumerate() {
                let its = match *earlier {
                    Act::Access(p, ..) | Act::Set(p, ..) | Act::Wait(_, p, _) | Act::Barrier(p) => p,
                    Act::BarrierAll => S,
                };
                // Instructions are issued in order, and each queue starts in order.
                graph.edges[3 * j].push(issued);
                if its == pipe {
                    graph.edges[3 * j + 1].push(started);
                }
                // The scalar unit issues nothing while it loads, or waits.
                let blocks_scalar =
                    its == S && matches!(earlier, Act::Access(.., false) | Act::Wait(..) | Act::BarrierAll);
                if blocks_scalar {
                    graph.edges[3 * j + 2].push(issued);
                }
                match step {
                    // A set is complete, and a barrier lets go on, when what came before on the pipe is
                    // complete.
                    Act::Set(..) if its == pipe => graph.edges[3 * j + 2].push(complete),
                    Act::Barrier(_) if its == pipe => graph.edges[3 * j + 2].push(started),
                    Act::BarrierAll => graph.edges[3 * j + 2].push(started),
                    _ => {}
                }
            }
            if let Act::Wait(a, b, event) = *step {
                let set = |s: &Act| matches!(*s, Act::Set(x, y, e) if (x, y, e) == (a, b, event));
                let set = steps[..i].iter().rposition(set).unwrap();
                graph.edges[3 * set + 2].push(started);
            }
        }
        graph
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.edges.len()];
        let mut stack = vec![from];
        while let Some(node) = stack.pop() {
            if node == to {
                return true;
            }
            if !std::mem::replace(&mut seen[node], true) {
                stack.extend(&self.edges[node]);
            }
        }
        false
    }

    fn has_race(&self, steps: &[Act]) -> bool {
        steps.iter().enumerate().any(|(j, later)| {
            steps[..j].iter().enumerate().any(|(i, earlier)| {
                let (&Act::Access(p, a, b, w), &Act::Access(q, c, d, x)) = (earlier, later) else {
                    return false;
                };
                let in_order = p == q && (p == S || !w);
                a < d && c < b && (w || x) && !in_order && !self.reaches(3 * i + 2, 3 * j + 1)
            })
        })
    }
}

pub(super) fn run(device: &Device, steps: &[Act]) -> Result<LaunchStats, Stop> {
    let steps = steps.to_vec();
    device.aiv(move || {
        steps.iter().try_for_each(|step| match *step {
            Act::Access(S, at, _, true) => store(ub(at, 1).0, 1, 0),
            Act::Access(S, at, _, false) => load(ub(at, 1).0, 1).map(|_| ()),
            Act::Access(pipe, from, to, true) => run_on(pipe, NONE, ub(from, to - from)),
            Act::Access(pipe, from, to, false) => run_on(pipe, ub(from, to - from), NONE),
            Act::Set(src, dst, event) => set(src, dst, event),
            Act::Wait(src, dst, event) => wait(src, dst, event),
            Act::Barrier(pipe) => barrier(pipe),
            Act::BarrierAll => barrier_all(),
        })
    })
}

#[test]
fn clocks_agree_with_a_search_of_the_graph() {
    let mut racy = 0;
    for seed in 0..3000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let steps = random_program(&mut rng);
        let want = Graph::new(&steps).has_race(&steps);
        racy += u32::from(want);
        for device in [Device::new(), Device::with_seed(seed), Device::with_seed(seed + 7)] {
            let result = run(&device, &steps);
            let got = match &result {
                Ok(_) => false,
                Err(Stop::Fault(f)) if f.kind == FaultKind::Race => true,
                Err(other) => panic!("seed {seed}: {other}\n{steps:?}"),
            };
            assert_eq!(got, want, "seed {seed}, order {:?}: {result:?}\n{steps:?}", device.config.seed);
        }
    }
    assert!((300..2700).contains(&racy), "{racy} of 3000 programs race: the generator is one-sided");
}
