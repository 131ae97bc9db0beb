use fastattention::{DType, ErrorKind, Soc};

use super::*;

/// Two layers that take no time to simulate.
static TINY: Shape = Shape {
    name: "tiny",
    dtype: DType::F16,
    layers: 2,
    hidden: 256,
    intermediate: 512,
    is_gated: true,
    num_heads: 4,
    num_heads_k: 2,
    head_dim: 64,
    vocabulary: 512,
    has_qkv_bias: false,
    experts: None,
};

static TINY_PLAIN: Shape = Shape { dtype: DType::Bf16, is_gated: false, ..TINY };

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn run(model: &'static Shape, tp: u32) -> Run {
    Run::new(model, soc(), tp).with_batch(2).with_prompt(160).with_generate(100)
}

fn names(step: &StepTime) -> Vec<&str> {
    step.parts.iter().map(|part| part.name).collect()
}

fn kernels<'a>(step: &'a StepTime, name: &str) -> Vec<&'a str> {
    let part = step.parts.iter().find(|part| part.name == name).unwrap();
    part.launches.iter().map(|launch| launch.kernel.as_str()).collect()
}

/// Parts of a layer and around all layers; a kernel each, but for unfused attention with three, or seven.
#[test]
fn a_step_has_every_launch_and_takes_their_sum() {
    for (model, attention) in
        [(&TINY, Attention::Flash), (&TINY_PLAIN, Attention::Standard), (&TINY_PLAIN, Attention::Framework)]
    {
        let outcome = run(model, 1).with_attention(attention).time().unwrap();
        for step in outcome.decode.iter().chain([&outcome.prefill]) {
            let of_layer =
                ["norm 1", "qkv", "append", "attention", "output", "norm 2", "up", "activation", "down"];
            let mut all = vec!["embedding"];
            all.extend(of_layer);
            all.extend(["last norm", "logits", "argmax"]);
            assert_eq!(names(step), all);
            let counts: Vec<u32> = step.parts.iter().map(|part| part.count).collect();
            assert_eq!(counts, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1]);
            let of_attention = match attention {
                Attention::Flash => 1,
                Attention::Standard => 3,
                Attention::Framework => 7,
            };
            assert_eq!(step.num_launches, 4 + 2 * (8 + of_attention));
            let mut us = 0.0;
            for part in &step.parts {
                let launches: f64 = part.launches.iter().map(|launch| launch.us).sum();
                assert!(part.launches.iter().all(|launch| launch.us > 0.5 && launch.blocks > 0), "{part:?}");
                assert_eq!(launches, part.us, "{}", part.name);
                us += f64::from(part.count) * launches;
            }
            assert!((us - step.device_us).abs() < 1e-9 * us);
            assert_eq!(step.us, step.device_us + LAUNCH_HOST_US);
        }
        let prefill = kernels(&outcome.prefill, "attention");
        let decode = kernels(&outcome.decode[0], "attention");
        match attention {
            Attention::Flash => {
                assert_eq!((prefill, decode), (vec!["fa_flash_fwd_f16"], vec!["fa_flash_decode_f16"]));
            }
            Attention::Standard => {
                assert_eq!(prefill, ["fa_matmul_bf16", "fa_softmax_bf16", "fa_matmul_bf16"]);
                assert_eq!(prefill, decode);
            }
            Attention::Framework => {
                let [scale_or_mask, to_f32] = ["fa_score_pass_bf16", "fa_score_pass_bf16_f32"];
                let mut wanted = vec!["fa_matmul_bf16", scale_or_mask, scale_or_mask, to_f32];
                wanted.extend(["fa_softmax_f32", "fa_score_pass_f32_bf16", "fa_matmul_bf16"]);
                assert_eq!((&prefill, &decode), (&wanted, &wanted));
            }
        }
    }
}

#[test]
fn decode_takes_longer_on_longer_caches_and_is_summed_over_all_steps() {
    let run = Run { generate: 6000, decode_points: 4, ..run(&TINY, 1) };
    let outcome = run.time().unwrap();
    let keys: Vec<u32> = outcome.decode.iter().map(|step| step.keys).collect();
    assert_eq!(keys, [161, 161 + 5998 / 3, 161 + 2 * 5998 / 3, 161 + 5998]);
    let us: Vec<f64> = outcome.decode.iter().map(|step| step.us).collect();
    assert!(us.windows(2).all(|pair| pair[0] < pair[1]), "{us:?}");
    // Between the first step and the last, as often as there are steps.
    assert!(outcome.decode_us > 5999.0 * us[0] && outcome.decode_us < 5999.0 * us[3]);
    assert_eq!(outcome.us, outcome.prefill.us + outcome.decode_us);
    assert!((outcome.tokens_per_s * outcome.us * 1e-6 - 12_000.0).abs() < 1e-6);
    // The prompts' step gives the only token.
    let only = Run { generate: 1, ..run }.time().unwrap();
    assert_eq!((only.decode.len(), only.decode_us), (0, 0.0));
}

/// A host that takes no time leaves the device's; one that takes long is all that counts.
#[test]
fn eager_launches_wait_for_the_host() {
    let at =
        |us: f64| Run { generate: 2, ..run(&TINY, 1) }.with_launches(Launches::Eager, us).time().unwrap();
    let (free, slow) = (at(0.0), at(500.0));
    for (free, slow) in [(&free.prefill, &slow.prefill), (&free.decode[0], &slow.decode[0])] {
        assert!((free.us - free.device_us).abs() < 1e-9 * free.us);
        let last = slow.parts.last().unwrap().us;
        assert!((slow.us - (500.0 * slow.num_launches as f64 + last)).abs() < 1e-6, "{slow:?}");
    }
}

#[test]
fn ranks_add_their_products_up() {
    let run = Run { batch: 4, prompt: 512, generate: 2, ..run(&TINY, 2) };
    let tiling = run.time().unwrap();
    let serial = run.with_all_reduce(AllReduce::Serial).time().unwrap();
    let part = |outcome: &Outcome, name: &str| outcome.prefill.parts.iter().find(|p| p.name == name).cloned();
    assert!(part(&tiling, "attention and output").is_some() && part(&serial, "attention").is_some());
    for name in ["output", "down"] {
        let part = part(&serial, name).unwrap();
        let sum: f64 = part.launches.iter().map(|launch| launch.us).chain(part.transfers_us.clone()).sum();
        assert_eq!((part.launches.len(), part.transfers_us.len()), (1, 1));
        assert!((part.us - sum).abs() < 1e-9 * sum, "{part:?}");
        assert!(part.transfers_us[0] > 5.0);
    }
    assert!(part(&serial, "gather logits").is_some());
    assert_eq!(serial.decode[0].num_launches, 5 + 2 * 11);
}

/// Bytes by hand, of the published counts of parameters.
#[test]
fn memory_is_that_of_weights_cache_activations_and_scores() {
    let run = Run::new(Shape::named("llama-2-7b").unwrap(), soc(), 1).with_batch(4).with_generate(24);
    let flash = Memory::of(&run).unwrap();
    // Two bytes each, and two more of the 65 norms.
    assert_eq!(flash.weights, 2 * (6_738_415_616 + 65 * 4096));
    // K and V of 1048 tokens of 4 sequences in 32 layers of 4096 elements.
    assert_eq!(flash.cache, 2 * 2 * 4 * 1048 * 32 * 4096);
    // Residual in f32, what is added to it, its norm, q, k and v, q rotated, attended, gate and up, their
    // product.
    let row = 4 * 4096 + 3 * 4096 + 2 * 4096 + 2 * 11008 + 11008;
    assert_eq!(flash.activations, 2 * 4 * 1024 * row + 4 * (2 * 4096 + 4 * 32000));
    let standard = Memory::of(&run.with_attention(Attention::Standard)).unwrap();
    // Scores and probabilities of 4 x 32 heads, and one mask.
    assert_eq!(standard.attention, (2 * 2 * 4 * 32 + 2) * 1024 * 1024);
    assert_eq!(standard.total - standard.attention, flash.total - flash.attention);
    let framework = Memory::of(&run.with_attention(Attention::Framework)).unwrap();
    // Scores in f16 and twice in f32.
    assert_eq!(framework.attention, ((2 + 4 + 4) * 4 * 32 + 2) * 1024 * 1024);
    // Half of everything but the embedding and the norms.
    let half = Memory::of(&Run { tp: 2, ..run }).unwrap();
    let (whole, vectors) = (32000 * 4096, 65 * 4096);
    assert_eq!(half.weights, 2 * (whole + 2 * vectors + (6_738_415_616 - whole - vectors) / 2));
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let model = Shape::named("llama-2-7b").unwrap();
    let run = Run::new(model, soc(), 1).with_prompt(4096).with_attention(Attention::Standard);
    let most = largest_batch(&run).unwrap();
    assert!(most >= 8 && Memory::of(&run.with_batch(most)).unwrap().check(&run).is_ok());
    assert!(largest_batch(&run.with_attention(Attention::Flash)).unwrap() > most);
    let error = run.with_batch(most + 1).time().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    let wanted =
        format!("batch = {}, prompt = 4096, generate = 1024 with attention standard take ", most + 1);
    assert!(text.contains(&wanted) && text.contains("of the 68.72 GB"), "{text}");
    // More than fits even without attention.
    let error = Run::new(Shape::named("llama-2-70b").unwrap(), soc(), 1).time().unwrap_err().to_string();
    assert!(error.contains("take 1") && error.contains("attention not counted"), "{error}");
}

#[test]
fn wrong_sizes_are_refused() {
    let run = run(&TINY, 1);
    let text = |run: Run| {
        let error = run.time().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    assert_eq!(text(run.with_batch(0)), "bench: batch = 0, 1 to 65536 wanted");
    assert_eq!(text(run.with_prompt(1 << 21)), "bench: prompt = 2097152, 1 to 1048576 wanted");
    assert_eq!(text(run.with_generate(0)), "bench: generate = 0, 1 to 1048576 wanted");
    assert_eq!(text(Run { tp: 9, ..run }), "bench of tiny: tp = 9, 1 to 8 wanted, the devices of a server");
    assert_eq!(text(Run { tp: 4, ..run }), "bench of tiny: tp = 4, a divisor of num_heads_k = 2 wanted");
    let host = text(run.with_launches(Launches::Eager, f64::NAN));
    assert_eq!(host, "bench: launch_host_us = NaN, a time from 0 on wanted");
}

#[test]
fn json_has_every_launch() {
    let outcome = Run { generate: 2, ..run(&TINY, 1) }.time().unwrap();
    let json = serde_json::to_value(&outcome).unwrap();
    let mut launches = 0;
    for step in [&json["prefill"], &json["decode"][0]] {
        for part in step["parts"].as_array().unwrap() {
            let count = part["count"].as_u64().unwrap();
            for launch in part["launches"].as_array().unwrap() {
                assert!(launch["kernel"].as_str().unwrap().starts_with("fa_"));
                assert!(launch["us"].as_f64().unwrap() > 0.0);
                launches += count;
            }
        }
    }
    assert_eq!(launches, outcome.prefill.num_launches + outcome.decode[0].num_launches);
    assert_eq!((&json["model"]["name"], &json["attention"]), (&"tiny".into(), &"flash".into()));
}
