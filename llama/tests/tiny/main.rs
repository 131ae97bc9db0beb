//! A small Llama of random weights, written as safetensors and as GGUF: logits against plain arithmetic in
//! f64, and files that are wrong.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod hostile;
mod model;
mod reference;

use std::ops::Range;

use fastattention::runtime::Device;
use fastattention_llama::engine::{Engine, Options};
use fastattention_llama::files::ModelFiles;
use fastattention_llama::forward::{Slot, Step};
use model::{Kind, Tiny};

const TOKENS: [u32; 19] = [72, 101, 3, 250, 0, 256, 257, 9, 9, 9, 31, 32, 33, 100, 200, 201, 202, 17, 5];

/// Tokens of two sequences that a step takes.
type Ranges = [Range<usize>; 2];

/// Chunks, and both decoding.
const CHUNKS: [Ranges; 4] = [[0..9, 0..4], [9..17, 4..12], [17..18, 12..13], [18..19, 13..19]];

fn options() -> Options {
    Options::default().with_slots(3).with_step_rows(16).with_tokens(48, 96)
}

/// Logits of two sequences that are computed in several steps: pages in any order.
fn logits(files: &ModelFiles, device: &str, options: Options, steps: &[Ranges]) -> Vec<Vec<f32>> {
    let device = Device::open(device).unwrap();
    let mut engine = Engine::new(&device, &files.model().unwrap(), options).unwrap();
    let forward = engine.forward();
    // The second one has the same tokens backwards.
    let sequences = [TOKENS.to_vec(), TOKENS.iter().rev().copied().collect()];
    let pages = [vec![4, 0], vec![5, 2]];
    let mut out = vec![Vec::new(); 2];
    for ranges in steps {
        let mut step = Step::default();
        for (at, range) in ranges.iter().enumerate() {
            let (start, end) = (u32::try_from(range.start).unwrap(), u32::try_from(range.end).unwrap());
            step.tokens.extend(&sequences[at][range.clone()]);
            step.positions.extend(start..end);
            step.places.extend((start..end).map(|key| pages[at][key as usize / 16] * 16 + key % 16));
            step.slots.push(Slot { rows: end - start, keys: end, pages: pages[at].clone() });
        }
        let rows: u32 = step.slots.iter().map(|slot| slot.rows).sum();
        step.logits = (0..rows).collect();
        let all = forward.step(&step).unwrap();
        for (row, logits) in all.chunks_exact(model::VOCABULARY).enumerate() {
            out[usize::from(row >= step.slots[0].rows as usize)].push(logits.to_vec());
        }
    }
    out.concat()
}

/// Both devices, both formats, against the same plain arithmetic: weights are f16, so only activations are
/// rounded. Logits are about 1 in size; some 20 roundings of 2^-11 come before each.
#[test]
fn logits_are_those_of_plain_arithmetic() {
    Kind::ALL.into_iter().for_each(logits_of_kind_are_right);
}

fn logits_of_kind_are_right(kind: Kind) {
    let tiny = Tiny::of(kind, 1);
    let folder = tempfile::tempdir().unwrap();
    let (tensors, gguf) = (folder.path().join("tensors"), folder.path().join("tiny.gguf"));
    tiny.write_safetensors(&tensors);
    std::fs::write(&gguf, tiny.gguf()).unwrap();
    let backwards: Vec<u32> = TOKENS.iter().rev().copied().collect();
    let wanted = [reference::logits(&tiny, &TOKENS), reference::logits(&tiny, &backwards)].concat();
    let spread = wanted.iter().flatten().fold(0f64, |most, logit| most.max(logit.abs()));
    assert!(spread > 0.5, "{spread}: logits that say nothing");
    for path in [&tensors, &gguf] {
        let files = ModelFiles::open(path).unwrap();
        for device in ["cpu:0", "sim:0"] {
            let own = logits(&files, device, options(), &CHUNKS);
            assert_eq!(own.len(), wanted.len());
            for (row, (own, wanted)) in own.iter().zip(&wanted).enumerate() {
                for (own, wanted) in own.iter().zip(wanted) {
                    let error = (f64::from(*own) - wanted).abs();
                    assert!(error < 0.01 * spread, "{kind:?} on {device}, row {row}: {own}, {wanted} wanted");
                }
            }
        }
    }
}

/// A graph that was captured in the first step of its class serves the others, behind other steps and for
/// other lists.
#[test]
fn captured_steps_give_the_same_bits() {
    Kind::ALL.into_iter().for_each(captured_steps_of_kind_are_right);
}

fn captured_steps_of_kind_are_right(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("tiny.gguf");
    std::fs::write(&gguf, Tiny::of(kind, 1).gguf()).unwrap();
    let files = ModelFiles::open(&gguf).unwrap();
    let decode = |at: usize| [at..at + 1, at - 4..at - 3];
    let mut steps = vec![[0..9, 0..5]];
    steps.extend((9..14).map(decode));
    // A prompt's chunk among them, which is not captured.
    steps.push([14..17, 10..12]);
    steps.extend([[17..18, 12..13], [18..19, 13..14]]);
    for device in ["cpu:0", "sim:0"] {
        let wanted = logits(&files, device, options(), &steps);
        let captured = logits(&files, device, options().captured(), &steps);
        assert!(captured == wanted, "{kind:?} on {device}");
    }
}
