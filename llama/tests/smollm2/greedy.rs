//! The most probable tokens, and the loss of a text.

use fastattention::runtime::Device;
use fastattention_llama::engine::{Ends, Engine, Options, Request};
use fastattention_llama::forward::{Forward, Slot, Step};
use fastattention_llama::sampling::greatest;

use crate::expected::{expected, Prompt};
use crate::files;

/// Two logits this close may come in either order: weights and activations are f16 here and f32 there. Each
/// layer rounds about 8 tensors that the residual stream depends on, each by at most 2^-11 of its size, at
/// random: after 30 layers sqrt(240) 2^-11 = 0.8 % of the spread of the logits, which is about 4 here, so
/// 0.03 in the mean. The largest of 512 is some 3 times that.
const NEAR_TIE: f32 = 0.1;

/// Logits of the last `count` rows of a sequence that is computed at once.
fn last_logits(forward: &mut Forward, tokens: &[u32], count: usize) -> Vec<Vec<f32>> {
    let rows = u32::try_from(tokens.len()).unwrap();
    let pages = rows.div_ceil(forward.limits().page_size);
    let step = Step {
        tokens: tokens.to_vec(),
        positions: (0..rows).collect(),
        places: (0..rows).collect(),
        slots: vec![Slot { rows, keys: rows, pages: (0..pages).collect() }],
        logits: (rows - u32::try_from(count).unwrap()..rows).collect(),
    };
    let logits = forward.step(&step).unwrap();
    logits.chunks_exact(forward.config().vocabulary as usize).map(<[f32]>::to_vec).collect()
}

fn engine(device: &str, options: Options) -> Option<Engine> {
    let files = files()?;
    Some(Engine::new(&Device::open(device).unwrap(), &files.model().unwrap(), options).unwrap())
}

/// Each of the 64 tokens of each prompt, given those before it.
#[test]
fn every_token_is_that_of_llama_cpp_on_cpu() {
    let options = Options::default().with_slots(64).with_step_rows(1024).with_tokens(1024, 1024);
    let Some(mut engine) = engine("cpu:0", options) else { return };
    let (mut ties, mut worst) = (0, 0f32);
    for prompt in &expected().prompts {
        let greedy = &prompt.f32;
        let tokens = [&prompt.ids[..], &greedy.tokens[..greedy.tokens.len() - 1]].concat();
        let logits = last_logits(engine.forward(), &tokens, greedy.tokens.len());
        for (at, row) in logits.iter().enumerate() {
            let (own, first, second) = (greatest(row), greedy.tokens[at], greedy.second[at]);
            let margin = row[first as usize] - row[second as usize];
            worst = worst.max((margin - greedy.margin[at]).abs());
            if own != first as usize {
                let why = format!("{}, token {at}: {own}, not {first} before {second}", prompt.name);
                assert!(greedy.margin[at] < NEAR_TIE, "{why} by {}", greedy.margin[at]);
                assert_eq!(own, second as usize, "{why}");
                ties += 1;
            }
        }
    }
    println!("512 tokens, {ties} near-ties the other way; margins differ by at most {worst}");
    assert!(worst < NEAR_TIE, "margins differ by {worst}");
    assert!(ties <= 5, "{ties} of 512");
}

/// The engine's own way, 8 prompts at a time: the same tokens up to the first near-tie.
#[test]
fn the_engine_generates_the_tokens_of_llama_cpp_on_cpu() {
    let Some(mut engine) = engine("cpu:0", Options::default().with_tokens(1024, 4096)) else { return };
    let prompts: Vec<&Prompt> = expected().prompts.iter().collect();
    let answers = generate(&mut engine, &prompts, 64);
    let same: usize = prompts.iter().zip(&answers).map(|(prompt, answer)| same_tokens(prompt, answer)).sum();
    println!("{same} of 512 tokens before the first near-tie");
    assert!(same > 350, "{same} of 512: near-ties end the comparison too early");
    assert_eq!(engine.free_pages().0, engine.free_pages().1);
}

/// The kernels for the chip, on the simulator.
#[test]
fn the_engine_generates_the_tokens_of_llama_cpp_on_sim() {
    let options = Options::default().with_slots(2).with_step_rows(32).with_tokens(128, 256);
    let Some(mut engine) = engine("sim:0", options) else { return };
    let prompts: Vec<&Prompt> = expected().prompts.iter().filter(|prompt| prompt.ids.len() < 16).collect();
    assert_eq!(prompts.len(), 2);
    let answers = generate(&mut engine, &prompts, 4);
    let same: usize = prompts.iter().zip(&answers).map(|(prompt, answer)| same_tokens(prompt, answer)).sum();
    println!("{same} of 8 tokens before the first near-tie");
    assert!(same >= 6, "{same} of 8");
}

pub(crate) fn generate(engine: &mut Engine, prompts: &[&Prompt], tokens: usize) -> Vec<Vec<u32>> {
    let add = |prompt: &&Prompt| Request::new(prompt.ids.clone(), tokens).with_ends(Ends::Never);
    let ids: Vec<u64> = prompts.iter().map(|prompt| engine.add(add(prompt)).unwrap()).collect();
    let mut answers = vec![Vec::new(); ids.len()];
    while engine.has_work() {
        for output in engine.step().unwrap() {
            let at = ids.iter().position(|id| *id == output.id).unwrap();
            answers[at].push(output.token);
        }
    }
    assert!(answers.iter().all(|answer| answer.len() == tokens));
    answers
}

/// How many tokens are the same before the first near-tie that goes the other way.
fn same_tokens(prompt: &Prompt, answer: &[u32]) -> usize {
    let greedy = &prompt.f32;
    let Some(at) = answer.iter().zip(&greedy.tokens).position(|(own, other)| own != other) else {
        return answer.len();
    };
    let name = &prompt.name;
    assert!(greedy.margin[at] < NEAR_TIE, "{name}: token {at} differs, by a margin of {}", greedy.margin[at]);
    assert_eq!(answer[at], greedy.second[at], "{name}: token {at}");
    at
}

/// Perplexity is the exponential of the loss.
#[test]
fn the_perplexity_of_a_text_is_that_of_llama_cpp_on_cpu() {
    let options = Options::default().with_slots(64).with_step_rows(1024).with_tokens(1024, 1024);
    let Some(mut engine) = engine("cpu:0", options) else { return };
    let loss = &expected().loss;
    let rows = last_logits(engine.forward(), &loss.ids, loss.ids.len());
    let own: Vec<f64> = rows.iter().zip(&loss.ids[1..]).map(|(row, next)| loss_of(row, *next)).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let ratio = (mean(&own) - mean(&loss.of_token)).exp();
    println!("perplexity {:.5}; that of llama.cpp times {ratio:.6}", mean(&own).exp());
    let mut differences: Vec<(f64, usize)> =
        own.iter().zip(&loss.of_token).map(|(own, other)| (own - other).abs()).zip(0..).collect();
    differences.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest differences of a loss, and where: {:.4?}", &differences[..8]);
    assert!((ratio - 1.0).abs() < 0.001, "{ratio}");
}

/// The negative logarithm of the probability of a token.
fn loss_of(logits: &[f32], token: u32) -> f64 {
    let most = f64::from(logits[greatest(logits)]);
    let all: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    most + all.ln() - f64::from(logits[token as usize])
}
