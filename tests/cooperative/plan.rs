//! Placements against counts of their own.

use fastattention::cooperative::{plan, Budget, Division, LayerOrder, Placement, Problem, Rates, Side};
use fastattention::{DType, ErrorKind};

use fastattention_testkit::device::simulator;

use crate::run::{host, soc, GIVEN, PLENTY};

/// Bytes of K and V of a side, counted head by head and page by page.
fn counted(problem: &Problem, division: Division, side: Side) -> u64 {
    let mut bytes = 0u64;
    let (s, is_device) = (&problem.spec, side == Side::Device);
    let pages = u64::from(problem.max_keys.div_ceil(problem.page_size));
    for layer in 0..problem.layers {
        for slot in 0..problem.slots {
            for head in 0..s.num_heads_k {
                let (is_own, pages) = match division {
                    Division::Layers { order: LayerOrder::HostFirst, host } => {
                        ((layer >= host.unwrap()) == is_device, pages)
                    }
                    Division::Layers { order: LayerOrder::DeviceFirst, host } => {
                        ((layer + host.unwrap() < problem.layers) == is_device, pages)
                    }
                    Division::Heads { device } => ((head < device.unwrap()) == is_device, pages),
                    Division::Sequences { device } => ((slot < device.unwrap()) == is_device, pages),
                    Division::Positions { window } => {
                        let window = u64::from(window.unwrap() / problem.page_size);
                        match is_device {
                            true => (true, window),
                            false => (window < pages, pages),
                        }
                    }
                    _ => unreachable!("a new division"),
                };
                if is_own {
                    bytes += pages * u64::from(problem.page_size) * 2 * u64::from(s.head_dim + s.head_dim_v);
                }
            }
        }
    }
    bytes
}

fn random_problem(rng: &mut fastrand::Rng) -> Problem {
    let division = match rng.u32(0..5) {
        0 => Division::Layers { order: LayerOrder::HostFirst, host: None },
        1 => Division::Layers { order: LayerOrder::DeviceFirst, host: None },
        2 => Division::Heads { device: None },
        3 => Division::Sequences { device: None },
        _ => Division::Positions { window: None },
    };
    let heads_k = rng.u32(1..=6);
    let heads = heads_k * rng.u32(1..=4);
    let max_keys = rng.u32(40..2000);
    let dims = [rng.u32(1..=8) * 16, rng.u32(1..=8) * 16];
    let prefill = rng.u32(0..=max_keys);
    Problem::new(DType::F16, rng.u32(1..=9), [rng.u32(1..=5), max_keys, heads, dims[0]], division)
        .with_num_heads_k(heads_k)
        .with_head_dim_v(dims[1])
        .with_page_size([16, 48, 128][rng.usize(0..3)])
        .with_rows(rng.u32(1..=4), prefill)
        .with_lanes(rng.u32(1..=3))
}

/// The same division with one part more of whatever is counted on the device; `None` when it has all.
fn one_more(placement: &Placement) -> Option<Division> {
    let p = placement.problem();
    match placement.division() {
        Division::Layers { order, host } => {
            Some(Division::Layers { order, host: Some(host.unwrap().checked_sub(1)?) })
        }
        Division::Heads { device } => {
            device.filter(|n| *n < p.spec.num_heads_k).map(|n| Division::Heads { device: Some(n + 1) })
        }
        Division::Sequences { device } => {
            device.filter(|n| *n < p.slots).map(|n| Division::Sequences { device: Some(n + 1) })
        }
        Division::Positions { window } => {
            let more = window.unwrap() + p.page_size;
            (window.unwrap() < p.max_keys).then_some(Division::Positions { window: Some(more) })
        }
        _ => unreachable!("a new division"),
    }
}

#[test]
fn bytes_are_counted_and_the_device_has_the_largest_part_that_fits() {
    let mut rng = fastrand::Rng::with_seed(16);
    let (mut divided, mut refused) = (0, 0);
    for _ in 0..300 {
        let problem = random_problem(&mut rng);
        let whole = plan(&problem, soc(), PLENTY, &GIVEN).unwrap();
        assert_eq!(whole.host_bytes().total(), 0, "{whole}");
        let device_bytes = whole.device_bytes().total() / 100 * rng.u64(20..120);
        let placement = match plan(&problem, soc(), Budget { device_bytes, ..PLENTY }, &GIVEN) {
            Ok(placement) => placement,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                assert!(
                    error.to_string().contains(&format!("device_bytes = {device_bytes} given")),
                    "{error}"
                );
                refused += 1;
                continue;
            }
        };
        let division = placement.division();
        assert_eq!(placement.device_bytes().kv, counted(&problem, division, Side::Device), "{placement}");
        assert_eq!(placement.host_bytes().kv, counted(&problem, division, Side::Host), "{placement}");
        assert!(placement.device_bytes().total() <= device_bytes, "{placement}");
        if let Some(more) = one_more(&placement) {
            divided += 1;
            let budget = Budget { device_bytes, ..PLENTY };
            let error = plan(&problem.with_division(more), soc(), budget, &GIVEN).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{placement}\n{error}");
            let short = Budget { host_bytes: placement.host_bytes().total() - 1, ..PLENTY };
            let given = problem.with_division(division);
            let error = plan(&given, soc(), short, &GIVEN).unwrap_err().to_string();
            let text =
                format!("host_bytes = {} given, at least {} wanted", short.host_bytes, short.host_bytes + 1);
            assert!(error.contains(&text), "{error}");
        }
    }
    assert!(divided > 100 && refused > 5, "{divided} divided, {refused} refused");
}

/// One rank of eight of a model with 40 layers and 40 heads of 128, 256K tokens: 671 MB a layer.
#[test]
fn a_rank_of_the_papers_size_is_divided_by_its_formula() {
    let problem = Problem::new(
        DType::F16,
        40,
        [1, 1 << 18, 5, 128],
        Division::Layers { order: LayerOrder::HostFirst, host: None },
    )
    .with_rows(1, 4096);
    let device_bytes = 32_000_000_000 - 9_500_000_000;
    let placement = plan(&problem, soc(), Budget { device_bytes, ..PLENTY }, &GIVEN).unwrap();
    let layer = 2 * (1u64 << 18) * 5 * 128 * 2;
    let on_device = (device_bytes - placement.device_bytes().other) / layer;
    let host = 40 - u32::try_from(on_device).unwrap();
    assert_eq!(placement.division(), Division::Layers { order: LayerOrder::HostFirst, host: Some(host) });
    assert!((6..=8).contains(&host), "{placement}");
    assert!(placement.share(Side::Host, host - 1).is_some() && placement.share(Side::Host, host).is_none());
    // Each layer of the host: 671 MB at 100 GB/s, (2 * 5 + 2 * 5) * 128 elements over the link, the latency.
    let t = placement.predict_step(1 << 18);
    let of_host = layer as f64 / 1e11 + 20.0 * 128.0 * 2.0 / 2e10 + 2e-5;
    let alone = on_device as f64 * layer as f64 / 1e12 + f64::from(host) * of_host;
    assert!((t.alone_s / alone - 1.0).abs() < 1e-9, "{} {alone}", t.alone_s);
    assert!((t.upload_s - f64::from(host) * layer as f64 / 2e10).abs() < 1e-9);
    assert!(t.alone_s < t.upload_s && t.all_on_device_s < t.alone_s);
}

#[test]
fn wrong_numbers_are_refused_all_at_once() {
    let layers = Division::Layers { order: LayerOrder::HostFirst, host: Some(5) };
    let problem =
        Problem::new(DType::F16, 4, [1, 64, 4, 32], layers).with_num_heads_k(3).with_chunk_bytes(1 << 30);
    let error = plan(&problem, soc(), PLENTY, &Rates { latency_s: -1.0, host_bytes_per_s: 0.0, ..GIVEN })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for text in [
        "chunk_bytes = 1073741824 given, 1 to 127999999 wanted",
        "host_bytes_per_s = 0 given, a number above 0 wanted",
        "latency_s = -1 given, a number of at least 0 wanted",
    ] {
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = plan(&problem.with_chunk_bytes(1 << 20), soc(), PLENTY, &GIVEN).unwrap_err().to_string();
    assert!(error.contains("host layers = 5 given, 0 to 4 wanted") && error.contains("num_heads"), "{error}");
    let window = Problem::new(DType::F16, 4, [1, 640, 4, 32], Division::Positions { window: Some(64) });
    let error = plan(&window.with_rows(2, 0), soc(), PLENTY, &GIVEN).unwrap_err().to_string();
    assert!(error.contains("window = 64 given, at least 256 wanted"), "{error}");
}

#[test]
fn rates_are_measured_by_a_clock_or_not_at_all() {
    let layers = Division::Layers { order: LayerOrder::HostFirst, host: None };
    let problem = Problem::new(DType::F16, 1, [1, 256, 2, 32], layers);
    let error = Rates::measure(&simulator(|_| ()), &host(), &problem).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("whose time is a model's"), "{error}");
    let rates = Rates::measure(&host(), &host(), &problem).unwrap();
    // A plan takes what was measured.
    plan(&problem, soc(), PLENTY, &rates).unwrap();
    assert!(rates.down_bytes_per_s < 1e13 && rates.latency_s < 1.0, "{rates:?}");
}
