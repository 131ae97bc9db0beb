//! Random scenarios.

use fastattention::cooperative::{Division, Problem};
use fastattention::DType;

use crate::run::{divisions, host, placed, Run};

/// Prompts, steps, shortened and freed sequences and other divisions, in any order; every result against f64.
#[test]
fn whatever_happens_results_are_those_of_the_sequences() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut all = divisions();
        all.extend([32, 48, 96].map(|window| Division::Positions { window: Some(window) }));
        let base = Problem::new(DType::F16, 4, [3, 96, 4, 16], all[0])
            .with_num_heads_k(4)
            .with_page_size(16)
            .with_rows(3, 40)
            .with_chunk_bytes(2000);
        let any = |rng: &mut fastrand::Rng| base.with_division(all[rng.usize(0..all.len())]);
        let (device, host) = (host(), host());
        let mut run = Run::new(&device, &host, &placed(&any(&mut rng))).unwrap();
        for _ in 0..25 {
            let slot = rng.u32(0..3);
            let keys = run.store.keys(slot).unwrap();
            let lane = rng.usize(0..2);
            match rng.u32(0..10) {
                0 => run.change(&placed(&any(&mut rng))).unwrap(),
                1 => run.store.truncate(slot, 0).unwrap(),
                2 => {
                    // A window may have lost what it would need.
                    let _ = run.store.truncate(slot, keys.saturating_sub(rng.u32(0..4)));
                }
                3..=4 if keys == 0 => {
                    let rows = rng.u32(1..=40);
                    run.run(lane, &[(slot, rows)], true).unwrap().check(&run.problem);
                }
                _ => {
                    let slots = (0..3).filter(|_| rng.bool()).collect::<Vec<_>>();
                    let rows: Vec<_> = slots.into_iter().map(|slot| (slot, rng.u32(1..=3))).collect();
                    let fits = rows.iter().all(|&(slot, n)| run.store.keys(slot).unwrap() + n <= 96);
                    match run.run(lane, &rows, false) {
                        Ok(done) => done.check(&run.problem),
                        Err(error) => assert!(rows.is_empty() || !fits, "{error}"),
                    }
                }
            }
        }
    }
}
