//! What can be chosen about a simulated device, beside its engine, and about its collectives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::reduce::ReduceRounding;
use super::timeline::{HostLink, Timeline};

/// A device to be.
#[derive(Debug)]
pub struct Config {
    /// Its memory and its kernels.
    pub engine: Box<dyn Engine>,
    /// Find races between work of several streams, as far as the engine tells what kernels use.
    pub check_races: bool,
    /// Its collectives.
    pub hccl: HcclConfig,
    /// Keeps the times of streams, events and ranks on one clock. The engine must know how long kernels
    /// take.
    pub timeline: Option<Timeline>,
    /// What queued copies from and to the host take on the timeline; `None`: no time.
    pub host_link: Option<HostLink>,
}

/// In which order the values of the ranks are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReduceOrder {
    /// ASSUMPTION(hccl-reduce-order): rank 0 first, then 1 and so on, for every element.
    Rank,
    /// An order that changes from collective to collective, drawn from this seed: what a chip without
    /// `HCCL_DETERMINISTIC` may do. Communicators that ask for determinism reduce in order of rank all the
    /// same.
    Permuted(u64),
}

/// How the collectives of a simulated device behave. All ranks of a communicator need the same rounding and
/// order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HcclConfig {
    /// How long a collective waits on its stream for the other ranks. `None`: what `HCCL_EXEC_TIMEOUT` says
    /// (seconds, 0 for no limit), 1836 s without it.
    pub exec_timeout: Option<Duration>,
    /// How long the making of a communicator waits for the other ranks. `None`: what `HCCL_CONNECT_TIMEOUT`
    /// says (120 to 7200 seconds, 120 without it), plus the 20 seconds that the genuine library adds.
    pub connect_timeout: Option<Duration>,
    /// When sums and products round.
    pub rounding: ReduceRounding,
    /// In which order ranks are reduced.
    pub order: ReduceOrder,
}

impl Default for HcclConfig {
    fn default() -> Self {
        Self {
            exec_timeout: None,
            connect_timeout: None,
            rounding: ReduceRounding::EachStep,
            order: ReduceOrder::Rank,
        }
    }
}
