//! Model time of the layer kernels: what is predicted, and what share of a plain stream they reach.

use fastattention::baseline::{Add, AddTiling};
use fastattention::layer::{activation, argmax, embedding, norm};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::ModelTime;
use fastattention::{sim, DType, Soc};

/// Furthest that a prediction may be off, and the median of all of them.
const WORST: f64 = 0.25;
const MEDIAN: f64 = 0.10;

/// Microseconds of the second of two launches, and what it was predicted to take.
struct Timed {
    what: String,
    bytes: u64,
    predicted_us: f64,
    simulated_us: f64,
}

/// A device that keeps model time, and what it has told.
struct Clock {
    device: Device,
    stream: Stream,
    time: ModelTime,
}

impl Clock {
    fn new(soc: &str) -> Self {
        let time = ModelTime::only();
        let mut config = sim::Config::new(Soc::by_name(soc).unwrap());
        config.check_races = false;
        config.model_time = Some(time.clone());
        let device = Device::simulated(config).unwrap();
        Self { stream: Stream::new(&device).unwrap(), device, time }
    }

    fn alloc(&self, bytes: u64) -> Buffer {
        Buffer::alloc(&self.device, usize::try_from(bytes.max(64)).unwrap()).unwrap()
    }

    fn simulated_us(&self, launch: impl Fn()) -> f64 {
        for _ in 0..2 {
            launch();
            self.stream.synchronize().unwrap();
        }
        self.time.take_reports().pop().unwrap().core_us()
    }

    fn norm(&self, problem: norm::Problem) -> Timed {
        let plan = norm::plan(&problem, self.device.soc()).unwrap();
        let operator = norm::Norm::new(&self.device).unwrap();
        let [x, y] = problem.operand_bytes().map(|bytes| self.alloc(bytes));
        let [r, h] = problem.residual_bytes().map(|bytes| self.alloc(bytes));
        let weight = self.alloc(problem.weight_bytes());
        let args = norm::Args::new(&x, &weight, &y);
        let args = if problem.has_residual { args.with_residual(&r, &h) } else { args };
        let args = if problem.has_bias { args.with_bias(&weight) } else { args };
        let simulated_us = self.simulated_us(|| operator.launch(&self.stream, &plan, args).unwrap());
        Timed { what: plan.to_string(), bytes: plan.bytes(), predicted_us: plan.predicted_us(), simulated_us }
    }

    fn activation(&self, problem: activation::Problem) -> Timed {
        let plan = activation::plan(&problem, self.device.soc()).unwrap();
        let operator = activation::Activation::new(&self.device).unwrap();
        let [x, y] = problem.operand_bytes().map(|bytes| self.alloc(bytes));
        let up = self.alloc(problem.up_bytes());
        let args = activation::Args::new(&x, &y);
        let args = if problem.is_gated { args.with_up(&up) } else { args };
        let simulated_us = self.simulated_us(|| operator.launch(&self.stream, &plan, args).unwrap());
        Timed { what: plan.to_string(), bytes: plan.bytes(), predicted_us: plan.predicted_us(), simulated_us }
    }

    fn embedding(&self, problem: embedding::Problem) -> Timed {
        let plan = embedding::plan(&problem, self.device.soc()).unwrap();
        let operator = embedding::Embedding::new(&self.device).unwrap();
        let [table, y] = problem.operand_bytes().map(|bytes| self.alloc(bytes));
        let ids: Vec<i32> = (0..problem.tokens).map(|i| (i * 7919 % problem.num_ids).cast_signed()).collect();
        let ids = Buffer::from_slice(&self.device, &ids).unwrap();
        let args = embedding::Args::new(&table, &ids, &y);
        let simulated_us = self.simulated_us(|| operator.launch(&self.stream, &plan, args).unwrap());
        Timed { what: plan.to_string(), bytes: plan.bytes(), predicted_us: plan.predicted_us(), simulated_us }
    }

    fn argmax(&self, problem: argmax::Problem) -> Timed {
        let plan = argmax::plan(&problem, self.device.soc()).unwrap();
        let operator = argmax::Argmax::new(&self.device).unwrap();
        let x = Buffer::from_slice(&self.device, &vec![0u8; problem.x_bytes() as usize]).unwrap();
        let index = self.alloc(problem.index_bytes());
        let args = argmax::Args::new(&x, &index);
        let simulated_us = self.simulated_us(|| operator.launch(&self.stream, &plan, args).unwrap());
        Timed { what: plan.to_string(), bytes: plan.bytes(), predicted_us: plan.predicted_us(), simulated_us }
    }

    /// GB/s of a kernel that only streams: the sum of two vectors, of `bytes` in all.
    fn stream_gbps(&self, bytes: u64) -> f64 {
        let n = bytes / 3 / 2;
        let [x, y, z] = [(); 3].map(|()| self.alloc(2 * n));
        let operator = Add::new(&self.device).unwrap();
        let num_cores = self.device.soc().vector_cores;
        let tiling = AddTiling { tile: 8192, buffers: 2, num_cores, y_gap_bytes: 256, past_l2: false };
        let us = self.simulated_us(|| {
            let operands = [&x, &y, &z].map(Into::into);
            operator.launch(&self.stream, tiling, DType::F16, n, operands).unwrap();
        });
        (3 * 2 * n) as f64 / us / 1000.0
    }
}

fn check(all: &[Timed], stream_gbps: impl Fn(u64) -> f64) {
    let mut errors = Vec::new();
    let mut table =
        String::from("| what | MB | predicted, us | simulated, us | error, % | GB/s | of a stream, % |\n");
    for Timed { what, bytes, predicted_us, simulated_us } in all {
        let error = predicted_us / simulated_us - 1.0;
        let (mb, gbps) = (*bytes as f64 / 1e6, *bytes as f64 / simulated_us / 1000.0);
        let share = 100.0 * gbps / stream_gbps(*bytes);
        table += &format!(
            "| {what} | {mb:.2} | {predicted_us:.1} | {simulated_us:.1} | {:+.1} | {gbps:.0} | {share:.0} |\n",
            100.0 * error
        );
        errors.push(error.abs());
    }
    errors.sort_by(f64::total_cmp);
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    eprintln!("{table}median {:.1} %, worst {:.1} %", 100.0 * median, 100.0 * worst);
    assert!(median < MEDIAN && worst < WORST, "median {median:.3}, worst {worst:.3}\n{table}");
}

fn of(clock: &Clock, tokens: &[u32], dims: [u32; 2], vocabulary: u32) -> Vec<Timed> {
    let [dim, wide] = dims;
    let mut all = Vec::new();
    for &tokens in tokens {
        let (dtype, shape) = (DType::F16, [tokens, dim]);
        all.push(clock.norm(norm::Problem::rms(dtype, shape, 1e-5)));
        all.push(clock.norm(norm::Problem::rms(dtype, shape, 1e-5).with_residual()));
        all.push(clock.norm(norm::Problem::rms(dtype, shape, 1e-5).with_residual_dtype(DType::F32)));
        all.push(clock.norm(norm::Problem::layer(dtype, shape, 1e-5).with_residual().with_bias()));
        let swiglu = activation::Problem::new(activation::Function::Silu, dtype, [tokens, wide]).gated();
        all.push(clock.activation(swiglu));
        all.push(clock.activation(swiglu.with_halves()));
        all.push(clock.activation(activation::Problem::new(
            activation::Function::GeluErf,
            dtype,
            [tokens, wide],
        )));
        all.push(clock.embedding(embedding::Problem::new(dtype, tokens, [vocabulary, dim])));
        // Logits of the last rows only.
        all.push(clock.argmax(argmax::Problem::new(DType::F32, [tokens.min(64), vocabulary])));
    }
    all
}

#[test]
fn predictions_of_a_sample_are_near_model_time() {
    let clock = Clock::new("Ascend910B2");
    check(&of(&clock, &[1, 300], [896, 4864], 20_000), |_| 1.0);
}

#[test]
#[ignore = "minutes: cargo test --test attention layer::figures -- --ignored --nocapture"]
fn all_predictions_are_near_model_time() {
    let clock = Clock::new("Ascend910B2");
    // Beyond L2, and within.
    let [far, near] = [400_000_000, 40_000_000].map(|bytes| clock.stream_gbps(bytes));
    let stream = |bytes: u64| if bytes > 192_000_000 { far } else { near };
    eprintln!("a stream: {far:.0} GB/s beyond L2, {near:.0} GB/s within");
    let mut all = of(&clock, &[1, 16, 256, 4096], [4096, 11_008], 32_000);
    all.push(clock.norm(norm::Problem::rms(DType::F16, [16_384, 4096], 1e-5).with_residual()));
    all.push(clock.norm(norm::Problem::rms(DType::Bf16, [4096, 18_944], 1e-5).with_residual()));
    all.push(
        clock.norm(norm::Problem::rms(DType::F16, [16_384, 4096], 1e-5).with_residual_dtype(DType::F32)),
    );
    all.push(clock.norm(norm::Problem::layer(DType::F16, [65_536, 768], 1e-5).with_residual().with_bias()));
    let swiglu = activation::Problem::new(activation::Function::Silu, DType::Bf16, [8192, 18_944]).gated();
    all.push(clock.activation(swiglu));
    let gelu = activation::Problem::new(activation::Function::GeluErf, DType::F16, [65_536, 3072]);
    all.push(clock.activation(gelu));
    all.push(clock.embedding(embedding::Problem::new(DType::F16, 32_768, [152_064, 3584])));
    all.push(clock.argmax(argmax::Problem::new(DType::F32, [512, 152_064])));
    check(&all, stream);
}
