//! When blocks are computed and transferred: a model of two engines, and the blocks that it likes best.
//!
//! The cores compute the blocks in order; the links transfer each of them, in order, from when it is
//! computed. A block that waits for the links starts up in that time. While both engines work, each takes
//! longer by the factor `contention`; launching is not work of the cores. Without contention block `i` ends
//! at `F_i = max(F_(i-1) + q_i, c_1 + ... + c_i + r_i)`: `r_i` is its transfer alone, `q_i` that behind
//! another one (paper.md 6 has this for `q_i = r_i`). All times are microseconds of model time.

/// What a block takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// On the cores, with the launches.
    pub compute_us: f64,
    /// The part of it for launches; the model has all of a block's at its begin.
    pub launch_us: f64,
    /// On the links, when nothing is before it there.
    pub transfer_us: f64,
    /// On the links behind another block, from its end; at most `transfer_us`.
    pub queued_us: f64,
}

impl Cost {
    /// What the links still have to do, when this is computed and they had `left` to do before.
    fn queued(&self, left: f64) -> f64 {
        (left + self.queued_us).max(self.transfer_us)
    }
}

/// When a block is computed and transferred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spans {
    /// Begin and end on the cores.
    pub compute: [f64; 2],
    /// Begin and end on the links; equal for a block that is not transferred.
    pub transfer: [f64; 2],
}

/// Follows blocks of these costs through both engines.
pub fn follow(costs: &[Cost], contention: f64) -> Vec<Spans> {
    let mut engines = Engines { spans: Vec::new(), transfers: Vec::new(), now: 0.0, head: 0, left: 0.0 };
    for cost in costs {
        let Cost { compute_us, launch_us, .. } = *cost;
        let start = engines.now;
        engines.work(launch_us, 1.0);
        engines.work(compute_us - launch_us, contention);
        engines.queue_transfer(start, cost);
    }
    while engines.is_transferring() {
        engines.now += engines.left;
        engines.end_transfer();
    }
    engines.spans
}

/// Both engines at the time `now`.
struct Engines {
    /// Of the blocks that are computed.
    spans: Vec<Spans>,
    /// What each of them takes on the links from when those before it are through.
    transfers: Vec<f64>,
    now: f64,
    /// The first of them that is not transferred, and what its transfer still has to do.
    head: usize,
    left: f64,
}

impl Engines {
    fn is_transferring(&self) -> bool {
        self.head < self.spans.len()
    }

    /// The cores work for `work` microseconds; what goes on beside a transfer takes `contention` times as
    /// long, as does the transfer.
    fn work(&mut self, mut work: f64, contention: f64) {
        while work > 0.0 {
            if !self.is_transferring() {
                self.now += work;
                return;
            }
            let done = work.min(self.left);
            work -= done;
            self.now += done * contention;
            self.left -= done;
            if self.left <= 0.0 {
                self.end_transfer();
            }
        }
    }

    /// The next block is computed, from `start` until now.
    fn queue_transfer(&mut self, start: f64, cost: &Cost) {
        let waiting = self.transfers.get(self.head + 1..).unwrap_or_default();
        let ahead = self.left + waiting.iter().sum::<f64>();
        let own = cost.queued(ahead) - ahead;
        self.transfers.push(own);
        self.spans.push(Spans { compute: [start, self.now], transfer: [self.now; 2] });
        if self.head + 1 == self.spans.len() {
            self.left = own;
            if self.left <= 0.0 {
                self.head += 1;
            }
        }
    }

    /// The transfer of block `head` is through; the next one begins, if there is one.
    fn end_transfer(&mut self) {
        self.spans[self.head].transfer[1] = self.now;
        loop {
            self.head += 1;
            self.left = 0.0;
            let Some(next) = self.spans.get_mut(self.head) else { return };
            next.transfer = [self.now; 2];
            self.left = self.transfers[self.head];
            if self.left > 0.0 {
                return;
            }
        }
    }
}

/// End of the last span.
pub fn end(spans: &[Spans]) -> f64 {
    spans.iter().map(|s| s.compute[1].max(s.transfer[1])).fold(0.0, f64::max)
}

/// For how long the cores and the links both work.
pub fn overlap(spans: &[Spans]) -> f64 {
    let common = |a: [f64; 2], b: [f64; 2]| (a[1].min(b[1]) - a[0].max(b[0])).max(0.0);
    spans.iter().flat_map(|a| spans.iter().map(move |b| common(a.compute, b.transfer))).sum()
}

/// The shortest that blocks of these costs can take together: all computing and the last transfer, or the
/// first computing and all transfers, the first one alone and the others behind it. [`follow`] without
/// contention ends then, or later where the links run dry.
pub fn bound(costs: &[Cost]) -> f64 {
    let compute: f64 = costs.iter().map(|c| c.compute_us).sum();
    let last = costs.last().map_or(0.0, |c| c.transfer_us);
    let Some((first, others)) = costs.split_first() else { return 0.0 };
    let queued: f64 = others.iter().map(|c| c.queued_us).sum();
    (compute + last).max(first.compute_us + first.transfer_us + queued)
}

/// A way to the end of some block: when its computing ends, what is to be transferred then, where its last
/// block begins.
#[derive(Clone, Copy, Debug)]
struct Way {
    now: f64,
    left: f64,
    from: usize,
    /// Place of the way before it, among those to `from`.
    before: usize,
}

/// Finds the cuts whose blocks end first: `0 = cuts[0] < ... < cuts[n] = positions - 1`. Blocks may begin and
/// end at `positions` places; `cost(i, j)` is the cost of the block between two. `compute_us` is infinite
/// where no block is possible. Among equals the fewest blocks win. The result is empty if no blocks reach the
/// end.
///
/// An exact search: the future depends on a way only through its two times, so all ways that are worse than
/// another in both are dropped.
pub fn choose(positions: usize, mut cost: impl FnMut(usize, usize) -> Cost, contention: f64) -> Vec<usize> {
    let mut ways: Vec<Vec<Way>> = vec![Vec::new(); positions];
    let Some(start) = ways.first_mut() else { return Vec::new() };
    start.push(Way { now: 0.0, left: 0.0, from: 0, before: 0 });
    for to in 1..positions {
        let mut found = Vec::new();
        for (from, here) in ways[..to].iter().enumerate() {
            let block = cost(from, to);
            let Cost { compute_us, launch_us, .. } = block;
            if compute_us.is_infinite() {
                continue;
            }
            for (before, way) in here.iter().enumerate() {
                let left = (way.left - launch_us).max(0.0);
                let shared = left.min(compute_us - launch_us);
                let now = way.now + compute_us + shared * (contention - 1.0);
                found.push(Way { now, left: block.queued(left - shared), from, before });
            }
        }
        ways[to] = undominated(found);
    }
    let last = ways.last().into_iter().flatten().enumerate();
    let best = last.min_by(|a, b| (a.1.now + a.1.left).total_cmp(&(b.1.now + b.1.left)));
    let Some((mut place, _)) = best else { return Vec::new() };
    let (mut at, mut cuts) = (positions - 1, vec![positions - 1]);
    while at > 0 {
        let way = ways[at][place];
        (at, place) = (way.from, way.before);
        cuts.push(at);
    }
    cuts.reverse();
    cuts
}

/// Drops every way for which another computes and transfers everything no later. Ways with fewer blocks come
/// first.
fn undominated(mut ways: Vec<Way>) -> Vec<Way> {
    ways.sort_by(|a, b| a.now.total_cmp(&b.now).then((a.now + a.left).total_cmp(&(b.now + b.left))));
    let mut best = f64::INFINITY;
    ways.retain(|way| {
        let is_better = way.now + way.left < best;
        best = best.min(way.now + way.left);
        is_better
    });
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(list: &[(f64, f64)]) -> Vec<Cost> {
        list.iter()
            .map(|&(compute_us, transfer_us)| Cost {
                compute_us,
                launch_us: 0.0,
                transfer_us,
                queued_us: transfer_us,
            })
            .collect()
    }

    #[test]
    fn spans_are_those_computed_by_hand() {
        // Compute-bound: the transfers of 4 hide behind 10.
        let spans = follow(&costs(&[(10.0, 4.0), (10.0, 4.0)]), 1.0);
        assert_eq!(spans[0], Spans { compute: [0.0, 10.0], transfer: [10.0, 14.0] });
        assert_eq!(spans[1], Spans { compute: [10.0, 20.0], transfer: [20.0, 24.0] });
        // With contention 1.5: 4 of transfer and 4 of computing take 6, the other 6 of computing go on alone.
        let spans = follow(&costs(&[(10.0, 4.0), (10.0, 4.0)]), 1.5);
        assert_eq!(spans[0].transfer, [10.0, 16.0]);
        assert_eq!(spans[1], Spans { compute: [10.0, 22.0], transfer: [22.0, 26.0] });
        // The same with launches of 3: 3 of transfer beside one, the fourth and 1 of computing take 1.5, and
        // 6 are left.
        let launched = Cost { compute_us: 10.0, launch_us: 3.0, transfer_us: 4.0, queued_us: 4.0 };
        let spans = follow(&[launched; 2], 1.5);
        assert_eq!(spans[0].transfer, [10.0, 14.5]);
        assert_eq!(spans[1], Spans { compute: [10.0, 20.5], transfer: [20.5, 24.5] });
        // Communication-bound: transfers queue.
        let spans = follow(&costs(&[(2.0, 10.0), (2.0, 10.0), (2.0, 0.0)]), 1.0);
        assert_eq!(spans.map_transfers(), [[2.0, 12.0], [12.0, 22.0], [22.0, 22.0]]);
        assert_eq!(end(&spans), 22.0);
        assert_eq!(overlap(&spans), 4.0);
        // The same with 3 of 10 as start-up: the second has waited 8, the third begins at free links.
        let block = |compute_us| Cost { compute_us, launch_us: 0.0, transfer_us: 10.0, queued_us: 7.0 };
        let spans = follow(&[block(2.0), block(2.0), block(15.0)], 1.0);
        assert_eq!(spans.map_transfers(), [[2.0, 12.0], [12.0, 19.0], [19.0, 29.0]]);
        // A block that is computed 1 before the links are free has started up for 1.
        let spans = follow(&[block(2.0), block(9.0)], 1.0);
        assert_eq!(spans.map_transfers(), [[2.0, 12.0], [12.0, 21.0]]);
    }

    trait Transfers {
        fn map_transfers(&self) -> Vec<[f64; 2]>;
    }
    impl Transfers for Vec<Spans> {
        fn map_transfers(&self) -> Vec<[f64; 2]> {
            self.iter().map(|s| s.transfer).collect()
        }
    }

    /// A block of `len` of 12 pieces costs its pieces and something for itself.
    fn model(rng: &mut fastrand::Rng) -> impl Fn(usize, usize) -> Cost + use<> {
        let pieces: Vec<(f64, f64)> = (0..12).map(|_| (rng.f64() * 9.0, rng.f64() * 9.0)).collect();
        let own = (rng.f64() * 3.0, rng.f64() * 3.0);
        move |from, to| {
            let sum = |of: fn(&(f64, f64)) -> f64| pieces[from..to].iter().map(of).sum::<f64>();
            Cost {
                compute_us: own.0 + sum(|p| p.0),
                launch_us: 0.7 * own.0,
                transfer_us: own.1 + sum(|p| p.1),
                queued_us: 0.4 * own.1 + sum(|p| p.1),
            }
        }
    }

    #[test]
    fn the_choice_is_the_best_of_all_there_are() {
        for seed in 0..40 {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let (model, contention) = (model(rng), 1.0 + rng.f64() * 0.5);
            let time = |cuts: &[usize]| {
                let blocks: Vec<Cost> = cuts.windows(2).map(|w| model(w[0], w[1])).collect();
                let end = end(&follow(&blocks, contention));
                let bound = bound(&blocks);
                assert!(contention > 1.0 || end >= bound - 1e-9, "{end}, bound {bound}, {contention}");
                end
            };
            let cuts = choose(9, &model, contention);
            assert_eq!((cuts[0], *cuts.last().unwrap()), (0, 8));
            let best = (0..128u32)
                .map(|set| {
                    let inner = (1..8).filter(|i| set >> (i - 1) & 1 == 1);
                    time(&std::iter::once(0).chain(inner).chain([8]).collect::<Vec<_>>())
                })
                .fold(f64::INFINITY, f64::min);
            assert!((time(&cuts) - best).abs() < 1e-9, "seed {seed}: {} instead of {best}", time(&cuts));
        }
    }

    #[test]
    fn blocks_that_cannot_be_are_not_chosen() {
        let odd = |i: usize, j: usize| {
            let compute_us = if (j - i) % 2 == 1 { 1.0 } else { f64::INFINITY };
            Cost { compute_us, launch_us: 0.0, transfer_us: (j - i) as f64, queued_us: (j - i) as f64 }
        };
        let cuts = choose(9, odd, 1.0);
        assert_eq!((cuts[0], cuts[cuts.len() - 1]), (0, 8));
        assert!(cuts.windows(2).all(|w| (w[1] - w[0]) % 2 == 1), "{cuts:?}");
        let two = |i: usize, j: usize| Cost {
            compute_us: if j - i == 2 { 1.0 } else { f64::INFINITY },
            launch_us: 0.0,
            transfer_us: 1.0,
            queued_us: 1.0,
        };
        assert!(choose(6, two, 1.0).is_empty());
    }

    #[test]
    fn short_blocks_come_where_nothing_hides_them() {
        // 100 pieces; starting a block costs 2 on either engine.
        let blocks = |compute: f64, transfer: f64| {
            let cost = |i: usize, j: usize| Cost {
                compute_us: 2.0 + compute * (j - i) as f64,
                launch_us: 0.0,
                transfer_us: 2.0 + transfer * (j - i) as f64,
                queued_us: 2.0 + transfer * (j - i) as f64,
            };
            choose(101, cost, 1.0).windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>()
        };
        let communication_bound = blocks(1.0, 3.0);
        assert!(communication_bound[0] < *communication_bound.last().unwrap(), "{communication_bound:?}");
        let compute_bound = blocks(3.0, 1.0);
        assert!(compute_bound[0] > *compute_bound.last().unwrap(), "{compute_bound:?}");
        assert_eq!(blocks(1.0, 0.0).len(), 1, "nothing to hide");
    }
}
