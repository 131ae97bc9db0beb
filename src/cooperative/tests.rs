//! What a program cannot bring about through the interface: a panic in the host's part of a step.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use half::f16;

use super::{plan, Args, Budget, Division, Lane, LayerOrder, Problem, Rates, Store};
use crate::runtime::{Buffer, Device, Stream};
use crate::{DType, Error, ErrorKind, Result};

const LAYERS: u32 = 2;
const ROW: usize = 2 * 32;

/// One new row of slot 0, whose V is `value`; o of the last layer. `before` may spoil a layer.
fn step(store: &mut Store, lane: &Lane, value: f32, before: impl Fn(u32) -> Result<()>) -> Result<Vec<f16>> {
    let device = lane.stream().device();
    let row = |value: f32| Buffer::from_slice(device, &[f16::from_f32(value); ROW]);
    let (qk, v, o) = (row(0.0)?, row(value)?, row(f32::NAN)?);
    let mut step = store.step(lane, &[(0, 1)])?;
    for layer in 0..LAYERS {
        before(layer)?;
        store.attend(&mut step, layer, Args::new(&qk, &qk, &v, &o))?;
    }
    lane.stream().synchronize()?;
    o.to_vec()
}

#[test]
fn a_panic_of_the_host_ends_the_lane_and_not_the_store() -> Result<()> {
    let (device, host) = (Device::open("cpu:40")?, Device::open("cpu:41")?);
    let rates = Rates {
        down_bytes_per_s: 2e10,
        up_bytes_per_s: 2e10,
        latency_s: 2e-5,
        host_bytes_per_s: 1e11,
        device_bytes_per_s: 1e12,
        device_flops_per_s: 1e14,
    };
    let budget = Budget { device_bytes: 1 << 30, host_bytes: 1 << 30 };
    for order in [LayerOrder::HostFirst, LayerOrder::DeviceFirst] {
        let division = Division::Layers { order, host: Some(1) };
        let problem = Problem::new(DType::F16, LAYERS, [2, 64, 2, 32], division).with_page_size(16);
        let mut store = Store::new(&device, &host, &plan(&problem, device.soc(), budget, &rates)?)?;
        let lane = store.lane(&Stream::new(&device)?)?;
        assert!(step(&mut store, &lane, 1.0, |_| Ok(()))?.iter().all(|x| *x == f16::ONE));
        let spoil = |layer| match layer {
            0 => lane.inner.link.as_ref().unwrap().copies.call_host(0.0, || panic!("out of order")),
            _ => Ok(()),
        };
        let text = "a function of the host panicked: out of order";
        let is_it = |error: &Error| error.kind() == ErrorKind::Internal && error.to_string().contains(text);
        // The error is that of the step, of the wait for it, and of whatever comes later on this lane.
        let error = step(&mut store, &lane, 5.0, spoil).unwrap_err();
        assert!(is_it(&error), "{error}");
        let error = step(&mut store, &lane, 5.0, |_| Ok(())).unwrap_err();
        assert!(is_it(&error), "{error}");
        drop(lane);
        // Without the rows of the failed steps, and on a new lane, the sequence goes on: o is a mean.
        store.truncate(0, 1)?;
        let lane = store.lane(&Stream::new(&device)?)?;
        let o = step(&mut store, &lane, 3.0, |_| Ok(()))?;
        assert!(o.iter().all(|x| *x == f16::from_f32(2.0)), "{o:?}");
    }
    Ok(())
}
