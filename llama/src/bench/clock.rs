//! A device that keeps model time and computes nothing.

use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime};
use fastattention::sim::Config;
use fastattention::{Error, ErrorKind, Result, Soc};

/// The device, and what it tells.
pub(super) struct Clock {
    pub(super) device: Device,
    stream: Stream,
    time: ModelTime,
}

impl Clock {
    pub(super) fn new(soc: &'static Soc) -> Result<Self> {
        let time = ModelTime::only();
        let mut config = Config::new(soc);
        // Races are the concern of tests; here they would only cost host time.
        config.check_races = false;
        config.model_time = Some(time.clone());
        let device = Device::simulated(config)?;
        Ok(Self { stream: Stream::new(&device)?, device, time })
    }

    pub(super) fn alloc(&self, bytes: u64) -> Result<Buffer> {
        let too_large = |_| Error::new(ErrorKind::OutOfMemory, format!("bench: {bytes} bytes on this host"));
        Buffer::alloc(&self.device, usize::try_from(bytes).map_err(too_large)?)
    }

    /// Reports of all kernels that `launch` queues.
    pub(super) fn run(&self, launch: &mut dyn FnMut(&Stream) -> Result<()>) -> Result<Vec<LaunchReport>> {
        launch(&self.stream)?;
        self.stream.synchronize()?;
        Ok(self.time.take_reports())
    }
}
