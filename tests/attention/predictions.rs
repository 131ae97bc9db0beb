//! What the planners predict against what the simulator's model time says, over shapes of every kind.

use fastattention::attention::{self, Buffers, FlashAttention, Layout, Mask};
use fastattention::matmul::{self, BLayout, Matmul};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::ModelTime;
use fastattention::{sim, DType, Soc};

/// Furthest that a prediction may be off, and the median of all of them.
const WORST: f64 = 0.15;
const MEDIAN: f64 = 0.05;

/// Shapes of at most so many pairs of query and key, or of so many multiply-adds, are in every test run.
const SAMPLE_PAIRS: f64 = 9e6;
const SAMPLE_MACS: f64 = 6e9;

#[derive(Clone, Copy, Debug)]
enum Problem {
    Attention(attention::Problem),
    Product(matmul::Problem),
}

struct Case {
    name: &'static str,
    soc: &'static Soc,
    problem: Problem,
}

/// A SoC by the end of its name.
fn soc(name: &str) -> &'static Soc {
    Soc::by_name(&format!("Ascend910{name}")).unwrap()
}

fn attention(name: &'static str, on: &str, [batch, seqlen, heads, head_dim]: [u32; 4]) -> Case {
    let problem = attention::Problem::new(DType::F16, [batch, seqlen, heads, head_dim]);
    Case { name, soc: soc(on), problem: Problem::Attention(problem) }
}

fn product(name: &'static str, on: &str, shape: [u32; 3]) -> Case {
    Case { name, soc: soc(on), problem: Problem::Product(matmul::Problem::new(DType::F16, shape)) }
}

impl Case {
    fn with(mut self, change: impl Fn(attention::Problem) -> attention::Problem) -> Self {
        if let Problem::Attention(problem) = &mut self.problem {
            *problem = change(*problem);
        }
        self
    }

    fn masked(self, mask: Mask) -> Self {
        self.with(|p| p.with_mask(mask))
    }

    fn causal(self) -> Self {
        self.masked(Mask::Causal)
    }

    fn keys(self, seqlen_k: u32) -> Self {
        self.with(|p| p.with_seqlen_k(seqlen_k))
    }

    fn narrow(self) -> Self {
        self.with(|p| p.with_score_dtype(DType::F16))
    }

    fn bnsd(self) -> Self {
        self.with(|p| p.with_layout(Layout::Bnsd))
    }

    fn nk(mut self) -> Self {
        if let Problem::Product(problem) = &mut self.problem {
            problem.b_layout = BLayout::Nk;
        }
        self
    }

    fn cold(mut self) -> Self {
        if let Problem::Product(problem) = &mut self.problem {
            *problem = problem.with_cold_b();
        }
        self
    }

    fn is_in_sample(&self) -> bool {
        match self.problem {
            Problem::Attention(p) => {
                let pairs = [p.batch, p.seqlen_q, p.seqlen_k, p.spec.num_heads].map(f64::from);
                pairs.iter().product::<f64>() <= SAMPLE_PAIRS
            }
            Problem::Product(p) => [p.m, p.n, p.k].map(f64::from).iter().product::<f64>() <= SAMPLE_MACS,
        }
    }

    fn simulated_attention(&self, plan: &attention::Plan) -> f64 {
        self.simulated(|device, stream| {
            let buffers = Buffers::alloc(device, plan).unwrap();
            let operator = FlashAttention::new(device).unwrap();
            for _ in 0..2 {
                operator.launch(stream, plan, buffers.args()).unwrap();
                stream.synchronize().unwrap();
            }
        })
    }

    fn simulated_product(&self, problem: &matmul::Problem, plan: &matmul::Plan) -> f64 {
        self.simulated(|device, stream| {
            let buffers = problem
                .operand_bytes()
                .map(|bytes| Buffer::alloc(device, usize::try_from(bytes).unwrap()).unwrap());
            let operator = Matmul::new(device).unwrap();
            for _ in 0..2 {
                let args = matmul::Args::new(&buffers[0], &buffers[1], &buffers[2]);
                operator.launch(stream, plan, args).unwrap();
                stream.synchronize().unwrap();
            }
        })
    }

    /// Microseconds: predicted, and those of the second launch on the simulator.
    fn times(&self) -> [f64; 2] {
        match &self.problem {
            Problem::Attention(problem) => {
                let plan = attention::plan(problem, self.soc).unwrap();
                [plan.predicted_us(), self.simulated_attention(&plan)]
            }
            Problem::Product(problem) => {
                let plan = matmul::plan(problem, self.soc).unwrap();
                [plan.predicted_us(), self.simulated_product(problem, &plan)]
            }
        }
    }

    /// Model time of the last launch of `run`.
    fn simulated(&self, run: impl Fn(&Device, &Stream)) -> f64 {
        let model_time = ModelTime::only();
        let mut config = sim::Config::new(self.soc);
        config.check_races = false;
        config.model_time = Some(model_time.clone());
        let device = Device::simulated(config).unwrap();
        run(&device, &Stream::new(&device).unwrap());
        model_time.take_reports().pop().unwrap().core_us()
    }
}

/// Those that the parameters of the cost models are fitted to.
#[rustfmt::skip]
fn fitted() -> Vec<Case> {
    let window = |left, right| Mask::Window { left: Some(left), right: Some(right) };
    vec![
        attention("one head", "B2", [1, 1024, 1, 128]),
        attention("one head", "B2", [1, 2048, 1, 128]),
        attention("one head", "B2", [1, 4096, 1, 128]),
        attention("one head", "B2", [1, 16384, 1, 128]),
        attention("one head", "B2", [1, 32768, 1, 128]),
        attention("one head, causal", "B2", [1, 2048, 1, 128]).causal(),
        attention("one head, causal", "B2", [1, 8192, 1, 128]).causal(),
        attention("8 heads", "B2", [1, 512, 8, 128]),
        attention("8 heads", "B2", [1, 1000, 8, 128]),
        attention("8 heads", "B2", [1, 2048, 8, 128]),
        attention("8 heads", "B2", [1, 4096, 8, 128]),
        attention("8 heads, causal", "B2", [1, 1024, 8, 128]).causal(),
        attention("8 heads, causal", "B2", [1, 4096, 8, 128]).causal(),
        attention("8 heads, bnsd", "B2", [1, 1024, 8, 128]).bnsd(),
        attention("32 heads", "B2", [1, 512, 32, 128]),
        attention("32 heads, bnsd", "B2", [1, 2048, 32, 128]).bnsd(),
        attention("32 heads, causal", "B2", [1, 4096, 32, 128]).causal(),
        attention("40 heads of 5 kv", "B2", [1, 1024, 40, 128]).with(|p| p.with_num_heads_k(5)),
        attention("4 sequences", "B2", [4, 700, 5, 128]).causal(),
        attention("head_dim 64", "B2", [1, 512, 16, 64]),
        attention("head_dim 64", "B2", [1, 2048, 8, 64]),
        attention("head_dim 64, causal", "B2", [1, 2048, 16, 64]).causal(),
        attention("head_dim 256", "B2", [1, 1024, 8, 256]),
        attention("head_dim 256, causal", "B2", [1, 2048, 8, 256]).causal(),
        attention("window of 512", "B2", [1, 2048, 8, 128]).masked(window(511, 0)),
        attention("window of 1025", "B2", [1, 4096, 8, 128]).masked(window(512, 512)),
        attention("one row", "B2", [1, 1, 32, 128]).keys(8192),
        attention("16 rows", "B2", [1, 16, 1, 128]).keys(4096),
        attention("16 rows", "B2", [1, 16, 24, 128]).keys(4096),
        attention("64 rows", "B2", [1, 64, 8, 128]).keys(2048),
        attention("128 rows", "B2", [1, 128, 32, 128]).keys(2048),
        attention("f16 scores, one head", "B2", [1, 8192, 1, 128]).narrow(),
        attention("f16 scores, 8 heads", "B2", [1, 1024, 8, 128]).narrow(),
        attention("f16 scores, 8 heads", "B2", [1, 4096, 8, 128]).narrow(),
        attention("f16 scores, causal", "B2", [1, 2048, 8, 128]).narrow().causal(),
        attention("f16 scores, head_dim 64", "B2", [1, 2048, 8, 64]).narrow(),
        attention("910B1", "B1", [1, 2048, 8, 128]),
        attention("910B3", "B3", [1, 1024, 8, 128]),
        attention("910B3, causal", "B3", [1, 4096, 8, 128]).causal(),
        attention("910B4", "B4", [1, 2048, 5, 128]),
        attention("910B4, f16 scores", "B4", [1, 2048, 8, 128]).narrow(),
        product("small", "B2", [128, 128, 128]),
        product("small", "B2", [256, 512, 256]),
        product("small", "B2", [512, 512, 512]),
        product("small, odd", "B2", [300, 1000, 77]),
        product("one row", "B2", [1, 8192, 4096]),
        product("16 rows, Nk", "B2", [16, 4096, 4096]).nk(),
        product("64 rows", "B2", [64, 5120, 5120]),
        product("64 rows, Nk", "B2", [64, 13824, 5120]).nk(),
        product("short K", "B2", [4096, 5120, 640]),
        product("short K", "B2", [2048, 5120, 640]),
        product("short K, Nk", "B2", [2048, 4096, 128]).nk(),
        product("medium", "B2", [640, 640, 640]),
        product("medium", "B2", [1024, 5120, 1920]),
        product("medium, Nk", "B2", [2048, 640, 5120]).nk(),
        product("large", "B2", [2048, 2048, 2048]),
        product("large", "B2", [4096, 4096, 4096]),
        product("large", "B2", [4096, 8192, 3072]),
        product("20 cores, short K", "B3", [4096, 5120, 640]),
        product("20 cores", "B3", [1024, 2560, 1024]),
        product("20 cores, large", "B4", [2048, 4096, 2048]),
        product("910B1", "B1", [2048, 2048, 2048]),
    ]
}

/// Those that nothing is fitted to.
#[rustfmt::skip]
fn held_out() -> Vec<Case> {
    vec![
        attention("one head", "B2", [1, 512, 1, 128]),
        attention("one head", "B2", [1, 8192, 1, 128]),
        attention("one head", "B1", [1, 3072, 1, 128]),
        attention("one head", "B4", [1, 4096, 1, 128]),
        attention("one head, causal", "B1", [1, 4096, 1, 128]).causal(),
        attention("2 heads", "B2", [1, 6000, 2, 128]),
        attention("16 heads", "B2", [1, 1024, 16, 128]),
        attention("16 heads, bnsd", "B2", [1, 2048, 16, 128]).bnsd(),
        attention("12 heads", "B1", [1, 1536, 12, 128]),
        attention("12 heads, causal", "B1", [1, 3000, 12, 128]).causal(),
        attention("32 heads of 8", "B1", [1, 1024, 32, 128]).with(|p| p.with_num_heads_k(8)).causal(),
        attention("32 heads", "B4", [1, 1024, 32, 128]),
        attention("8 heads, causal", "B4", [1, 2048, 8, 128]).causal(),
        attention("head_dim 64", "B4", [1, 1024, 12, 64]),
        attention("head_dim 64", "B1", [1, 4096, 4, 64]),
        attention("head_dim 256", "B2", [1, 2048, 4, 256]),
        attention("head_dim 192", "B2", [1, 1024, 8, 192]),
        attention("window", "B1", [1, 3072, 8, 128]).masked(Mask::Window { left: Some(1023), right: Some(0) }),
        attention("one row", "B2", [8, 1, 8, 128]).keys(4096),
        attention("one row", "B4", [1, 1, 40, 128]).keys(4096),
        attention("16 rows", "B1", [1, 16, 8, 128]).keys(8192),
        attention("32 rows", "B2", [2, 32, 16, 128]).keys(2048),
        attention("100 rows", "B2", [1, 100, 12, 128]).keys(3000),
        attention("f16 scores, one head", "B2", [1, 3000, 1, 128]).narrow(),
        attention("f16 scores, 12 heads", "B1", [1, 2048, 12, 128]).narrow(),
        attention("f16 scores, bnsd", "B2", [1, 2048, 24, 128]).narrow().bnsd(),
        attention("f16 scores, causal", "B4", [1, 2048, 10, 128]).narrow().causal(),
        product("small", "B1", [384, 384, 384]),
        product("small", "B4", [256, 1024, 512]),
        product("32 rows", "B2", [32, 5120, 2560]),
        product("8 rows, Nk", "B1", [8, 8192, 2048]).nk(),
        product("128 rows, Nk", "B2", [128, 5120, 5120]).nk(),
        product("128 rows", "B4", [128, 4096, 4096]),
        product("short K", "B1", [4096, 4096, 512]),
        product("short K, Nk", "B2", [3072, 3072, 320]).nk(),
        product("K of 1024", "B2", [2000, 3000, 1024]),
        product("K of 768", "B4", [1024, 3072, 768]),
        product("medium, Nk", "B1", [1536, 1536, 1536]).nk(),
        product("large", "B2", [3072, 5120, 2048]),
        product("large, Nk", "B1", [2048, 5120, 4096]).nk(),
        product("odd", "B2", [1000, 1111, 500]),
        product("1 row, cold B", "B2", [1, 4096, 4096]).nk().cold(),
        product("1 row, cold B", "B4", [1, 4096, 11_008]).nk().cold(),
        product("8 rows, cold B", "B1", [8, 22_016, 4096]).nk().cold(),
        product("16 rows, cold B", "B2", [16, 32_000, 4096]).cold(),
        product("64 rows, cold B", "B1", [64, 12_288, 4096]).nk().cold(),
        product("1 row, cold B", "B4", [1, 12_288, 4096]).cold(),
        product("1 row, beyond L2", "B2", [1, 32_000, 4096]).nk(),
        product("64 rows, beyond L2", "B4", [64, 22_016, 4096]).nk(),
    ]
}

/// The table with errors in %, and what breaks the bounds.
fn check(cases: &[Case]) {
    let mut errors = Vec::new();
    let mut table = String::from("| case | SoC | shape | predicted, us | simulated, us | error, % |\n");
    for case in cases {
        let [predicted, simulated] = case.times();
        let error = predicted / simulated - 1.0;
        let shape = match case.problem {
            Problem::Attention(p) => {
                format!("{} x {} x {} x {}", p.batch, p.seqlen_q, p.spec.num_heads, p.spec.head_dim)
            }
            Problem::Product(p) => format!("{} x {} x {}", p.m, p.n, p.k),
        };
        let (name, soc, percent) = (case.name, &case.soc.name, 100.0 * error);
        table += &format!("| {name} | {soc} | {shape} | {predicted:.1} | {simulated:.1} | {percent:+.1} |\n");
        errors.push(error.abs());
    }
    errors.sort_by(f64::total_cmp);
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    eprintln!("{table}median {:.1} %, worst {:.1} %", 100.0 * median, 100.0 * worst);
    assert!(median < MEDIAN && worst < WORST, "median {median:.3}, worst {worst:.3}\n{table}");
}

#[test]
fn predictions_of_a_sample_are_near_model_time() {
    let sample: Vec<Case> = fitted().into_iter().chain(held_out()).filter(Case::is_in_sample).collect();
    assert!(sample.len() > 20, "{}", sample.len());
    check(&sample);
}

#[test]
#[ignore = "minutes: cargo test --test attention predictions -- --ignored --nocapture"]
fn all_predictions_are_near_model_time() {
    check(&fitted());
    check(&held_out());
}
