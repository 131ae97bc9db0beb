//! The links between the devices of one server, and what collectives over them take.
//!
//! Every device has a link to every other one (HCCS full mesh, acl-runtime.md 4.4). A collective is one or
//! two phases, in each of which every rank moves the same bytes over each of its links at once; AllReduce is
//! a ReduceScatter and an AllGather. HCCL chooses an algorithm by size, so a phase takes the least of several
//! straight lines.

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
        if ranks < 2 {
            return 0.0;
        }
        let (bytes, part) = (bytes as f64, bytes as f64 / f64::from(ranks));
        match collective {
            Collective::AllReduce => self.phases(2, part),
            Collective::ReduceScatter | Collective::AllGather => self.phases(1, part),
            // In one phase, or as a scatter and an AllGather.
            Collective::Broadcast => self.phases(1, bytes).min(self.phases(2, part)),
            Collective::SendRecv => self.phases(1, bytes),
            Collective::Barrier => self.phases(1, 0.0),
        }
    }

    fn phases(&self, phases: u32, link_bytes: f64) -> f64 {
        let line = |r: &LinkRegime| r.startup_us + link_bytes / (r.gbps * 1000.0);
        f64::from(phases) * self.regimes.iter().map(line).fold(f64::INFINITY, f64::min)
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
                assert!((whole - of(Collective::ReduceScatter) - of(Collective::AllGather)).abs() < 1e-9);
                assert!(whole >= last);
                last = whole;
            }
            assert_eq!(links.microseconds(Collective::AllReduce, 1 << 20, 1), 0.0);
        }
    }
}
