//! Measures attention on this machine and writes CSV: `cargo run --release -p fastattention-cpu --example
//! bench_cpu [-- THREADS [REPEATS [CASE]]]`, of the cases whose names hold CASE. Every answer is compared
//! with f64 on some rows first. Times are the best of the repeats, in turns with what they are compared
//! with: a plain read of the same K and V for decode. For prefill `bench_torch.py` beside it measures
//! PyTorch.
//!
//! Products are counted as `4 * rows * keys * head_dim` for each head, half of it under a causal mask.

#![allow(clippy::print_stdout, reason = "the result of the program")]
#![allow(clippy::cast_precision_loss, reason = "counts for rates")]

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use fastattention_cpu::{BlockTable, Config, DType, Host, Pages, Problem, Slices};
use half::f16;

struct Case {
    name: &'static str,
    problem: Problem,
}

fn cases() -> Vec<Case> {
    let prefill = Problem::new(DType::F16, [1, 2048, 8, 128], 2048);
    let decode = Problem::new(DType::F16, [1, 1, 32, 128], 32768).with_num_heads_k(8).causal();
    let mut heads_first = decode.clone();
    heads_first.k_stride = [8 * 32768 * 128, 128, 32768 * 128];
    heads_first.v_stride = heads_first.k_stride;
    let paged = decode.clone().with_pages(Pages {
        page_size: 128,
        num_pages: 256,
        table: BlockTable::Rows { width: 256 },
    });
    vec![
        Case { name: "prefill", problem: prefill.clone() },
        Case { name: "prefill causal", problem: prefill.causal() },
        Case { name: "decode", problem: decode },
        Case { name: "decode heads first", problem: heads_first },
        Case { name: "decode paged", problem: paged },
        // 671 MB: one rank's share of 40 heads among 8.
        Case {
            name: "decode of a share",
            problem: Problem::new(DType::F16, [1, 1, 5, 128], 262_144).causal(),
        },
    ]
}

/// Operands of a case.
struct Data {
    q: Vec<f16>,
    k: Vec<f16>,
    v: Vec<f16>,
    o: Vec<f16>,
    table: Vec<i32>,
}

impl Data {
    fn new(problem: &Problem) -> Result<Self, Box<dyn Error>> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut some =
            |len: usize| -> Vec<f16> { (0..len).map(|_| f16::from_f32(random.f32() - 0.5)).collect() };
        let [q, k, v, o, _] = problem.elements()?;
        let mut data = Self { q: some(q), k: some(k), v: some(v), o: vec![f16::NAN; o], table: Vec::new() };
        if let Some(pages) = problem.pages {
            data.table = (0..i32::try_from(pages.num_pages)?).collect();
            fastrand::Rng::with_seed(2).shuffle(&mut data.table);
        }
        Ok(data)
    }

    fn run(&mut self, host: &Host, problem: &Problem) -> fastattention_cpu::Result<f64> {
        let mut slices = Slices::new(&self.q, &self.k, &self.v, &mut self.o);
        slices.block_table = problem.pages.is_some().then_some(&self.table);
        let start = Instant::now();
        host.attention_slices(problem, slices)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Largest error of some rows against f64.
    fn error(&self, problem: &Problem) -> f64 {
        let dim = problem.head_dim;
        let mut largest = 0.0f64;
        for (row, head) in [(0, 0), (problem.rows / 3, 3), (problem.rows - 1, problem.num_heads - 1)] {
            let head_k = head / (problem.num_heads / problem.num_heads_k);
            let q = &self.q[row * problem.q_stride[1] + head * problem.q_stride[2]..][..dim];
            let keys = match problem.window_right {
                Some(right) => row + problem.max_keys - problem.rows + right + 1,
                None => problem.max_keys,
            };
            let at = |key: usize, stride: [usize; 3]| match problem.pages {
                Some(pages) => {
                    let page = usize::try_from(self.table[key / pages.page_size]).unwrap_or(0);
                    page * stride[0] + key % pages.page_size * stride[1] + head_k * stride[2]
                }
                None => key * stride[1] + head_k * stride[2],
            };
            let score = |key: usize| {
                let k = &self.k[at(key, problem.k_stride)..][..dim];
                let products = q.iter().zip(k).map(|(q, k)| q.to_f64() * k.to_f64());
                products.sum::<f64>() * f64::from(problem.softmax_scale)
            };
            let weights: Vec<f64> = (0..keys).map(|key| score(key).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut want = vec![0.0; dim];
            for (key, weight) in weights.iter().enumerate() {
                for (want, v) in want.iter_mut().zip(&self.v[at(key, problem.v_stride)..]) {
                    *want += weight / sum * v.to_f64();
                }
            }
            let got = &self.o[row * problem.o_stride[1] + head * problem.o_stride[2]..][..dim];
            for (got, want) in got.iter().zip(want) {
                let error = (got.to_f64() - want).abs();
                largest = if error.is_nan() { f64::INFINITY } else { largest.max(error) };
            }
        }
        largest
    }

    /// Reads K and V from end to end with some threads.
    fn read(&self, threads: usize) -> f64 {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in 0..threads {
                scope.spawn(move || {
                    for whole in [&self.k, &self.v] {
                        let size = whole.len().div_ceil(threads);
                        let mine = &whole[part * size..whole.len().min((part + 1) * size)];
                        let mut sums = [0u16; 128];
                        for chunk in mine.chunks_exact(128) {
                            for (sum, x) in sums.iter_mut().zip(chunk) {
                                *sum ^= x.to_bits();
                            }
                        }
                        black_box(sums);
                    }
                });
            }
        });
        start.elapsed().as_secs_f64()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(NonZeroUsize::MIN), |text| text.parse())?;
    let repeats = arguments.next().map_or(Ok(9usize), |text| text.parse())?;
    let wanted = arguments.next().unwrap_or_default();
    let host = Host::new(&Config { threads: Some(threads), ..Config::default() })?;
    let threads = NonZeroUsize::get(threads);
    println!("case,isa,threads,best_ms,gflops,gb_per_s,read_best_ms,share_of_read,largest_error");
    for case in cases().iter().filter(|case| case.name.contains(&wanted)) {
        let problem = &case.problem;
        let mut data = Data::new(problem)?;
        data.run(&host, problem)?;
        let error = data.error(problem);
        if error > 1e-3 {
            return Err(format!("{}: largest error {error}, at most 1e-3 wanted", case.name).into());
        }
        let (mut best, mut read) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..repeats {
            best = best.min(data.run(&host, problem)?);
            read = read.min(data.read(threads));
        }
        let pairs = problem.rows * problem.max_keys;
        let is_causal = problem.rows > 1 && problem.window_right.is_some();
        let products = 4 * problem.num_heads * problem.head_dim * if is_causal { pairs / 2 } else { pairs };
        let bytes = 2 * (data.k.len() + data.v.len());
        println!(
            "{},{},{threads},{:.3},{:.1},{:.2},{:.3},{:.3},{error:.2e}",
            case.name,
            host.isa(),
            best * 1e3,
            products as f64 / best / 1e9,
            bytes as f64 / best / 1e9,
            read * 1e3,
            read / best,
        );
    }
    Ok(())
}
