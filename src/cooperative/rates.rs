//! How fast the parts are, and what steps take by that.

use serde::{Deserialize, Serialize};

use crate::spec::Reason;

/// What a step's time follows from. Rates are measured ([`Rates::measure`]) or given; there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// From the device to pinned memory, bytes per second.
    pub down_bytes_per_s: f64,
    /// From pinned memory to the device, bytes per second.
    pub up_bytes_per_s: f64,
    /// Of a way down, the host's function and a way up without any bytes, in seconds.
    pub latency_s: f64,
    /// K and V that the host attends to in decode, bytes per second.
    pub host_bytes_per_s: f64,
    /// K and V that the device attends to in decode, bytes per second.
    pub device_bytes_per_s: f64,
    /// Products and sums of attention on the device in prefill, per second.
    pub device_flops_per_s: f64,
}

/// Predicted seconds of a decode step: attention of all layers and what crosses the link, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepTimes {
    /// The device attends.
    pub device_s: f64,
    /// The host attends.
    pub host_s: f64,
    /// q, k, v go down and o comes up, latencies included.
    pub link_s: f64,
    /// The step as one micro-batch: what depends on each other follows each other, and the device's part of a
    /// layer hides behind the host's part of the same layer.
    pub alone_s: f64,
    /// The step as several micro-batches, one on each lane: at least what each side has to do, and at least
    /// what one of them takes alone.
    pub lanes_s: f64,
    /// For comparison: the host's K and V go up in every step and the device attends to all.
    pub upload_s: f64,
    /// For comparison: all K and V on a device that has room for them.
    pub all_on_device_s: f64,
}

/// Predicted seconds of a prefill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrefillTimes {
    /// The device attends.
    pub device_s: f64,
    /// K and V of the host go down.
    pub link_s: f64,
    /// Both, the link behind the device: the longer of them.
    pub prefill_s: f64,
}

/// What a layer has to do in a step: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerWork {
    /// K and V of the device's part.
    pub(super) device: u128,
    /// K and V of the host's part.
    pub(super) host: u128,
    /// K and V of the whole layer.
    pub(super) all: u128,
    pub(super) down: u128,
    pub(super) up: u128,
}

#[allow(clippy::cast_precision_loss, reason = "a prediction")]
fn seconds(amount: u128, per_s: f64) -> f64 {
    amount as f64 / per_s
}

impl Rates {
    /// Every rate that is none.
    pub(super) fn refusals(&self) -> Vec<Reason> {
        let rates = [
            ("down_bytes_per_s", self.down_bytes_per_s),
            ("up_bytes_per_s", self.up_bytes_per_s),
            ("host_bytes_per_s", self.host_bytes_per_s),
            ("device_bytes_per_s", self.device_bytes_per_s),
            ("device_flops_per_s", self.device_flops_per_s),
        ];
        let wrong = rates.into_iter().filter(|(_, rate)| !(rate.is_finite() && *rate > 0.0));
        let mut found: Vec<Reason> = wrong
            .map(|(name, rate)| Reason::invalid(format!("{name} = {rate} given, a number above 0 wanted")))
            .collect();
        if !(self.latency_s.is_finite() && self.latency_s >= 0.0) {
            let text = format!("latency_s = {} given, a number of at least 0 wanted", self.latency_s);
            found.push(Reason::invalid(text));
        }
        found
    }

    pub(super) fn step(&self, layers: &[LayerWork], lanes: u32) -> StepTimes {
        let device = |w: &LayerWork| seconds(w.device, self.device_bytes_per_s);
        let host = |w: &LayerWork| seconds(w.host, self.host_bytes_per_s);
        let has_host = |w: &LayerWork| w.down > 0;
        let latency = |w: &LayerWork| if has_host(w) { self.latency_s } else { 0.0 };
        let bytes =
            |w: &LayerWork| seconds(w.down, self.down_bytes_per_s) + seconds(w.up, self.up_bytes_per_s);
        // A micro-batch has its part of the bytes, and the whole latency.
        let alone = |lanes: f64| -> f64 {
            let layer = |w| f64::max(device(w) / lanes, latency(w) + (host(w) + bytes(w)) / lanes);
            layers.iter().map(layer).sum()
        };
        let (device_s, host_s) =
            (layers.iter().map(device).sum::<f64>(), layers.iter().map(host).sum::<f64>());
        let all_on_device_s = layers.iter().map(|w| seconds(w.all, self.device_bytes_per_s)).sum::<f64>();
        let upload_s = layers.iter().map(|w| seconds(w.host, self.up_bytes_per_s)).sum::<f64>();
        StepTimes {
            device_s,
            host_s,
            link_s: layers.iter().map(|w| bytes(w) + latency(w)).sum(),
            alone_s: alone(1.0),
            lanes_s: alone(f64::from(lanes.max(1))).max(device_s).max(host_s),
            upload_s: upload_s.max(all_on_device_s),
            all_on_device_s,
        }
    }

    /// Seconds of the host's function in a step with so many bytes of K and V, the latency of the whole way
    /// among them: what a timeline takes it for.
    pub(super) fn host_step(&self, bytes: u64) -> f64 {
        self.latency_s + seconds(bytes.into(), self.host_bytes_per_s)
    }

    /// Seconds in which the host takes so many bytes of a prompt's K and V into its cache.
    ///
    /// ASSUMPTION(host-take): at the rate at which it attends.
    pub(super) fn host_take(&self, bytes: u64) -> f64 {
        seconds(bytes.into(), self.host_bytes_per_s)
    }

    pub(super) fn prefill(&self, flops: u128, down_bytes: u128) -> PrefillTimes {
        let device_s = seconds(flops, self.device_flops_per_s);
        let link_s = seconds(down_bytes, self.down_bytes_per_s);
        PrefillTimes { device_s, link_s, prefill_s: device_s.max(link_s) }
    }
}
