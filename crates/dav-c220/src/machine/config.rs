//! What can be chosen about a machine.

use super::Recorder;
use crate::access::{CubeAccumulate, Mode};
use crate::time::ModelTime;
use ascend_soc::Soc;

/// What a machine simulates, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The SoC that is simulated.
    pub soc: &'static Soc,
    /// Host threads that run core groups; 0 means all the host has.
    pub threads: usize,
    /// `None`: the deterministic order (every instruction executes as soon as it may). `Some`: pipes and
    /// cores are interleaved by a generator with this seed, within what the flags allow.
    pub seed: Option<u64>,
    /// Find races by happens-before order. Bounds, alignment, initialisation and flags are always checked.
    pub check_races: bool,
    /// Cube summation model.
    pub cube_accumulate: CubeAccumulate,
    /// Reset value of CTRL\[48\]: true = INF/NAN arithmetic, false = saturating. ASSUMPTION(ctrl48-default):
    /// the vendor's pages disagree on the default; INF/NAN is the boundary tables' word.
    pub inf_nan: bool,
    /// Keep model time. Launches then run on one host thread, in the order of model time; `seed` must be
    /// `None`.
    pub model_time: Option<ModelTime>,
    /// Where what the cores issue is written down; `None`: nowhere.
    pub recorder: Option<Recorder>,
}

impl Config {
    /// Checks on, deterministic, all host threads.
    pub fn new(soc: &'static Soc) -> Self {
        Self {
            soc,
            threads: 0,
            seed: None,
            check_races: true,
            cube_accumulate: CubeAccumulate::F32Sequential,
            inf_nan: true,
            model_time: None,
            recorder: None,
        }
    }

    /// How instructions compute.
    pub(super) fn mode(&self) -> Mode {
        let is_dry = self.model_time.as_ref().is_some_and(|time| !time.has_results());
        Mode { is_dry, cube_accumulate: self.cube_accumulate }
    }
}
