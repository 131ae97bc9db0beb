use super::*;
use crate::sim::machine::harness::Bench;

#[test]
#[ignore = "a measurement"]
fn speed_of_mad() {
    let mut bench = Bench::new();
    let half = half::f16::from_f32(0.37).to_le_bytes();
    bench.put(Space::L0a, 0, &half.repeat(128 * 128));
    bench.put(Space::L0b, 0, &half.repeat(128 * 128));
    let args = [
        Bench::at(Space::L0c, 0),
        Bench::at(Space::L0a, 0),
        Bench::at(Space::L0b, 0),
        128,
        128,
        128,
        0,
        0,
        0,
        1,
    ];
    for _ in 0..3 {
        let start = std::time::Instant::now();
        let rounds = 500;
        for _ in 0..rounds {
            bench.run("mad", Elem::F16, Elem::F32, &args).unwrap();
        }
        let flops = 2.0 * 128f64.powi(3) * f64::from(rounds);
        println!("mad 128x128x128 f16: {:.1} GFLOP/s", flops / start.elapsed().as_secs_f64() / 1e9);
    }
}
