//! Model time of products of few rows: what share of a plain read of B they reach.

#![allow(clippy::print_stdout, reason = "the table of docs/matmul.md is what this test prints")]

use fastattention::baseline::{Read, ReadFrom, ReadTo};
use fastattention::matmul::{plan, Args, BLayout, Matmul, Problem};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::ModelTime;
use fastattention::{sim, DType, Soc};

/// Rows and columns of the weights of Llama-2-7B, as `[n, k]`: q, k and v; output; gate and up; down; logits.
const WEIGHTS: [[u32; 2]; 5] = [[12_288, 4096], [4096, 4096], [22_016, 4096], [4096, 11_008], [32_000, 4096]];

/// Least part of the rate of a plain read.
const LEAST: f64 = 0.9;

/// A device that keeps model time, and what it has told.
struct Clock {
    device: Device,
    stream: Stream,
    time: ModelTime,
    /// Twice what L2 holds.
    other: Buffer,
}

impl Clock {
    fn new(soc: &str) -> Self {
        let time = ModelTime::only();
        let mut config = sim::Config::new(Soc::by_name(soc).unwrap());
        config.check_races = false;
        config.model_time = Some(time.clone());
        let device = Device::simulated(config).unwrap();
        let other = Buffer::alloc(&device, 2 * device.soc().l2_bytes as usize).unwrap();
        Self { stream: Stream::new(&device).unwrap(), device, time, other }
    }

    /// Microseconds of the task that `launch` queues, while L2 holds nothing that it wants.
    fn task_us(&self, launch: impl Fn()) -> f64 {
        let rows = (self.device.soc().l2_bytes / 8192) as u32;
        self.read(&self.other, [rows, 8192], ReadTo::Ub);
        launch();
        self.stream.synchronize().unwrap();
        self.time.take_reports().pop().unwrap().task_us()
    }

    fn read(&self, src: &Buffer, shape: [u32; 2], to: ReadTo) {
        let soc = self.device.soc();
        let from = match to {
            ReadTo::Ub => ReadFrom::new(shape, [1, shape[1].min(16_384)], soc.vector_cores),
            ReadTo::L1 => ReadFrom::new(shape, [128, 256], soc.cube_cores),
        };
        Read::new(&self.device).unwrap().launch(&self.stream, &from, to, src.into()).unwrap();
    }

    fn product_us(&self, problem: &Problem) -> f64 {
        let plan = plan(problem, self.device.soc()).unwrap();
        let [a, b, c] = problem.operand_bytes().map(|b| Buffer::alloc(&self.device, b as usize).unwrap());
        let operator = Matmul::new(&self.device).unwrap();
        self.task_us(|| operator.launch(&self.stream, &plan, Args::new(&a, &b, &c)).unwrap())
    }
}

#[test]
#[ignore = "a minute: cargo test --test attention few_rows::weights -- --ignored --nocapture"]
fn weights_are_read_nearly_as_fast_as_by_a_plain_read() {
    println!("| SoC | n x k | plain read | 1 row | 64 rows | 1 row, [k, n] | cold B: 1 row | 8 | 16 | 64 | 1 row, [k, n] |");
    let mut slower = Vec::new();
    for soc in ["Ascend910B1", "Ascend910B2", "Ascend910B4"] {
        let clock = Clock::new(soc);
        for [n, k] in WEIGHTS {
            let b = Buffer::alloc(&clock.device, 2 * n as usize * k as usize).unwrap();
            let reads = [ReadTo::Ub, ReadTo::L1].map(|to| clock.task_us(|| clock.read(&b, [n, k], to)));
            let read = reads[0].min(reads[1]);
            let mut product = |rows: u32, b_layout: BLayout, is_cold: bool| {
                let problem = Problem::new(DType::F16, [rows, n, k]).with_b_layout(b_layout);
                let us = clock.product_us(&if is_cold { problem.with_cold_b() } else { problem });
                if read / us <= LEAST {
                    slower.push(format!("{soc}, {n} x {k}, {rows} rows: {us:.1} us, a read {read:.1}"));
                }
                format!("{us:.1} ({:.0})", 100.0 * read / us)
            };
            let (nk, kn) = (BLayout::Nk, BLayout::Kn);
            let through = [product(1, nk, false), product(64, nk, false), product(1, kn, false)];
            let past = [1, 8, 16, 64].map(|rows| product(rows, nk, true));
            let (through, past, last) = (through.join(" | "), past.join(" | "), product(1, kn, true));
            println!("| {soc} | {n} x {k} | {read:.1} | {through} | {past} | {last} |");
        }
    }
    assert!(slower.is_empty(), "below {LEAST} of the rate of a read:\n{}", slower.join("\n"));
}
