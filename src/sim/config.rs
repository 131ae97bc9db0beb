//! What can be chosen about a simulated device.

use ascend_sim::timeline::{HostLink, Timeline};
use ascend_sim::HcclConfig;
use dav_c220::time::ModelTime;
use dav_c220::{CubeAccumulate, Recorder};

use crate::Soc;

/// A simulated device.
#[derive(Clone, Debug)]
pub struct Config {
    /// The SoC that is simulated.
    pub soc: &'static Soc,
    /// Host threads that run core groups; 0 means all the host has.
    pub threads: usize,
    /// `None`: the deterministic order (every instruction executes as soon as it may). `Some`: pipes and
    /// cores are interleaved by a generator with this seed, within what the flags allow.
    pub seed: Option<u64>,
    /// Find races by happens-before order, inside a kernel and between work of several streams. Bounds,
    /// alignment, initialisation and flags are always checked.
    pub check_races: bool,
    /// Collectives.
    pub hccl: HcclConfig,
    /// Cube summation model.
    pub cube_accumulate: CubeAccumulate,
    /// Reset value of CTRL\[48\]: true = INF/NAN arithmetic, false = saturating.
    pub inf_nan: bool,
    /// Keep model time. Launches then run on one host thread, in the order of model time; `seed` has no
    /// effect on it and must be `None`.
    pub model_time: Option<ModelTime>,
    /// Keep the times of streams, events and ranks on one clock: the same timeline in all devices that work
    /// together. Needs `model_time`, without which the device cannot be opened.
    pub timeline: Option<Timeline>,
    /// What queued copies from and to the host take on the timeline; `None`: no time.
    pub host_link: Option<HostLink>,
    /// Where what the cores issue is written down; `None`: nowhere.
    pub recorder: Option<Recorder>,
}

impl Config {
    /// The default device: checks on, deterministic, all host threads.
    pub fn new(soc: &'static Soc) -> Self {
        let dav_c220::Config {
            soc,
            threads,
            seed,
            check_races,
            cube_accumulate,
            inf_nan,
            model_time,
            recorder,
        } = dav_c220::Config::new(soc);
        Self {
            soc,
            threads,
            seed,
            check_races,
            hccl: HcclConfig::default(),
            cube_accumulate,
            inf_nan,
            model_time,
            timeline: None,
            host_link: None,
            recorder,
        }
    }

    /// Time without results?
    pub(super) fn is_dry(&self) -> bool {
        self.model_time.as_ref().is_some_and(|t| !t.has_results())
    }

    /// What of it concerns the machine, as the launches of one stream have it.
    ///
    /// ASSUMPTION(timeline-l2): on a timeline a kernel finds in L2 what earlier kernels of its own stream
    /// left there. What other streams left would depend on which of them the host ran first.
    pub(super) fn of_stream(&self) -> dav_c220::Config {
        let model_time = match (&self.model_time, &self.timeline) {
            (Some(model_time), Some(_)) => Some(model_time.with_own_l2()),
            (model_time, _) => model_time.clone(),
        };
        dav_c220::Config {
            soc: self.soc,
            threads: self.threads,
            seed: self.seed,
            check_races: self.check_races,
            cube_accumulate: self.cube_accumulate,
            inf_nan: self.inf_nan,
            model_time,
            recorder: self.recorder.clone(),
        }
    }
}
