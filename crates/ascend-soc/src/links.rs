//! The links between the devices of one server, and what collectives over them take.
//!
//! Every device has a link to every other one (HCCS full mesh, acl-runtime.md 4.4). A collective is one or
//! two phases, in each of which every rank moves the same bytes over each of its links at once; AllReduce is
//! a ReduceScatter and an AllGather. HCCL chooses an algorithm by size, so a phase takes the least of several
//! straight lines. A collective that has to wait for the one before it starts up in that time.

use serde::Deserialize;

/// Start-up and rate of one algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRegime {
    /// Microseconds of a phase without data.
    pub startup_us: f64,
    /// GB/s (1e9) over one link, one direction.
    pub gbps: f64,
}

/// Rates of a server's links.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Devices that are linked; ranks beyond them are on another server.
    pub devices: u32,
    /// What HCCL chooses from.
    pub regimes: Vec<LinkRegime>,
    /// The part of its start-up that a collective still has when it has waited for the links: of two phases
    /// the first has started by then.
    pub queued_startup: f64,
    /// Factor on the time of a transfer and of a kernel while both run on a device: SDMA takes no cores, but
    /// bandwidth of HBM and L2.
    pub contention: f64,
}

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// Every rank gets the reduction of all.
    AllReduce,
    /// Every rank gets its part of the reduction.
    ReduceScatter,
    /// Every rank gets the parts of all.
    AllGather,
    /// Every rank gets what one has.
    Broadcast,
    /// One rank sends to one other.
    SendRecv,
    /// Nothing is moved.
    Barrier,
}

impl Links {
    /// Microseconds of a collective of `ranks` devices, of `bytes` in the larger buffer of a rank, with
    /// nothing else going on; 0 for one rank. More ranks than [`Self::devices`] are taken as if they were
    /// linked too.
    pub fn microseconds(&self, collective: Collective, bytes: u64, ranks: u32) -> f64 {
        self.taken(collective, bytes, ranks, 1.0)
    }

    /// The same from the end of a collective before it, for one whose ranks have been waiting long enough.
    ///
    /// ASSUMPTION(link-queue): a collective starts up beside the one before it. So it ends no earlier than
    /// [`Self::microseconds`] after its ranks are there, and no earlier than this after the one before it.
    pub fn queued_microseconds(&self, collective: Collective, bytes: u64, ranks: u32) -> f64 {
        self.taken(collective, bytes, ranks, self.queued_startup)
    }

    /// `startup`: part of the start-ups that is counted.
    fn taken(&self, collective: Collective, bytes: u64, ranks: u32, startup: f64) -> f64 {
        if ranks < 2 {
            return 0.0;
        }
        let (bytes, part) = (bytes as f64, bytes as f64 / f64::from(ranks));
        let line = |r: &LinkRegime, bytes: f64| startup * r.startup_us + bytes / (r.gbps * 1000.0);
        let phase = |bytes: f64| self.regimes.iter().map(|r| line(r, bytes)).fold(f64::INFINITY, f64::min);
        match collective {
            Collective::AllReduce => 2.0 * phase(part),
            Collective::ReduceScatter | Collective::AllGather => phase(part),
            // In one phase, or as a scatter and an AllGather.
            Collective::Broadcast => phase(bytes).min(2.0 * phase(part)),
            Collective::SendRecv => phase(bytes),
            Collective::Barrier => phase(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Soc;

    /// The published fit, with its measured point (paper.md 6): 8 ranks, x in MiB.
    fn published(x: f64) -> f64 {
        if x < 8.0 {
            -0.969_820_2 * x * x + 27.062_257_3 * x + 14.769
        } else {
            13.584_912_63 * x + 61.508_333
        }
    }

    #[test]
    fn all_reduce_of_eight_ranks_is_within_five_percent_of_the_published_fit() {
        let links = &Soc::by_name("Ascend910B2").unwrap().links;
        for kib in [32u64, 100, 256, 1024, 2048, 4096, 4700, 6144, 8192, 20_000, 32_768, 65_536] {
            let got = links.microseconds(Collective::AllReduce, kib << 10, 8);
            let wanted = published(kib as f64 / 1024.0);
            assert!((got / wanted - 1.0).abs() < 0.05, "{kib} KiB: {got} us, published {wanted}");
        }
    }

    #[test]
    fn a_reduction_is_its_two_halves_and_more_bytes_never_take_less() {
        let links = &Soc::by_name("Ascend910B2").unwrap().links;
        for ranks in [2, 4, 8] {
            let mut last = 0.0;
            for bytes in (0..40u64)
                .map(|i| 1u64 << (i % 30))
                .chain([3 << 20])
                .collect::<std::collections::BTreeSet<_>>()
            {
                let of = |collective| links.microseconds(collective, bytes, ranks);
                let whole = of(Collective::AllReduce);
                let halves = of(Collective::ReduceScatter) + of(Collective::AllGather);
                assert!((whole - halves).abs() < 1e-9, "{bytes}: {whole}, halves {halves}");
                assert!(whole >= last, "{bytes}: {whole}, less bytes {last}");
                last = whole;
            }
            assert_eq!(links.microseconds(Collective::AllReduce, 1 << 20, 1), 0.0);
        }
    }

    #[test]
    fn a_queued_collective_saves_at_most_one_of_two_start_ups() {
        let links = &Soc::by_name("Ascend910B2").unwrap().links;
        let longest = links.regimes.iter().map(|r| r.startup_us).fold(0.0, f64::max);
        let mut last = 0.0;
        for bytes in (0..60u64).map(|i| i * i * 20_000) {
            let of = |collective| {
                let alone = links.microseconds(collective, bytes, 8);
                (alone, links.queued_microseconds(collective, bytes, 8))
            };
            let (alone, queued) = of(Collective::AllReduce);
            assert!(queued < alone && queued >= alone - longest - 1e-9, "{bytes}: {queued}, alone {alone}");
            assert!(queued >= last, "{bytes}: {queued}, less bytes {last}");
            last = queued;
            let (alone, queued) = of(Collective::Barrier);
            assert!(queued > 0.0 && queued < alone, "{bytes}: {queued}, alone {alone}");
        }
    }
}
