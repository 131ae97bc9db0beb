//! How requests are batched does not change what they get.

use fastattention::runtime::Device;
use fastattention_llama::engine::{Ends, Engine, Finish, Options, Request};
use fastattention_llama::sampling::Sampling;

use crate::expected::{expected, Prompt};
use crate::files;
use crate::greedy::generate;

const TOKENS: usize = 12;

fn engine(options: Options) -> Option<Engine> {
    let model = files()?.model().unwrap();
    Some(Engine::new(&Device::open("cpu:0").unwrap(), &model, options.batch_invariant()).unwrap())
}

/// All but the long one.
fn prompts() -> Vec<&'static Prompt> {
    expected().prompts.iter().filter(|prompt| prompt.ids.len() < 100).collect()
}

/// Alone, side by side, in chunks of any size, and with a cache so small that sequences lose their pages.
#[test]
fn batches_chunks_and_evictions_give_the_same_tokens() {
    let Some(mut alone) = engine(Options::default().with_slots(1).with_tokens(256, 256)) else { return };
    let wanted: Vec<Vec<u32>> =
        prompts().into_iter().flat_map(|prompt| generate(&mut alone, &[prompt], TOKENS)).collect();
    for step_rows in [16, 64, 512] {
        let mut engine = engine(Options::default().with_step_rows(step_rows).with_tokens(256, 2048)).unwrap();
        assert_eq!(generate(&mut engine, &prompts(), TOKENS), wanted, "chunks of {step_rows}");
        assert_eq!(engine.counts().evictions, 0);
        // Once more: whole pages of each prompt are there already.
        assert_eq!(generate(&mut engine, &prompts(), TOKENS), wanted, "shared, chunks of {step_rows}");
        assert!(engine.counts().shared > 0);
        assert_eq!(engine.free_pages().0, engine.free_pages().1);
    }
    let mut small = engine(Options::default().with_tokens(112, 176)).unwrap();
    assert_eq!(generate(&mut small, &prompts(), TOKENS), wanted, "a small cache");
    assert!(small.counts().evictions > 0, "{:?}", small.counts());
    assert_eq!(small.free_pages().0, small.free_pages().1);
}

#[test]
fn answers_end_and_requests_are_given_up() {
    let Some(mut engine) = engine(Options::default().with_slots(2).with_tokens(256, 512)) else { return };
    let chat = expected().prompts.iter().find(|prompt| prompt.name == "english").unwrap();
    let ask = |engine: &mut Engine, request: Request| {
        engine.add(request).unwrap();
        let (mut text, mut finish) = (String::new(), None);
        while engine.has_work() {
            for output in engine.step().unwrap() {
                text.push_str(&output.text);
                finish = output.finish;
            }
        }
        (text, finish)
    };
    let request = Request::new(chat.ids.clone(), 8).with_ends(Ends::Never);
    let (text, finish) = ask(&mut engine, request.clone());
    assert_eq!(finish, Some(Finish::Length));
    // A stop string out of the middle of the answer.
    let stop: String = text.chars().skip(6).take(5).collect();
    let (short, finish) = ask(&mut engine, request.clone().with_stops(vec![stop.clone()]));
    assert_eq!((finish, short.as_str()), (Some(Finish::Stop), text.split(&stop).next().unwrap()));
    // Seeds repeat.
    let mut sampling = Sampling::default();
    (sampling.temperature, sampling.seed) = (1.5, 7);
    let drawn = ask(&mut engine, request.clone().with_sampling(sampling));
    assert_eq!(ask(&mut engine, request.clone().with_sampling(sampling)), drawn);
    assert_ne!(drawn.0, text);
    // One runs, one waits.
    let ids: Vec<u64> = (0..3).map(|_| engine.add(request.clone()).unwrap()).collect();
    engine.step().unwrap();
    assert!(engine.cancel(ids[0]) && engine.cancel(ids[2]) && !engine.cancel(ids[2]));
    while engine.has_work() {
        assert!(engine.step().unwrap().iter().all(|output| output.id == ids[1]));
    }
    assert_eq!(engine.free_pages().0, engine.free_pages().1);
}

#[test]
fn wrong_requests_are_refused() {
    let Some(mut engine) = engine(Options::default().with_slots(1).with_tokens(64, 64)) else { return };
    let text =
        |engine: &mut Engine, prompt: Vec<u32>| engine.add(Request::new(prompt, 1)).unwrap_err().to_string();
    assert_eq!(text(&mut engine, vec![]), "request: a prompt of 0 tokens, 1 to 63 wanted");
    assert_eq!(text(&mut engine, vec![1; 64]), "request: a prompt of 64 tokens, 1 to 63 wanted");
    assert_eq!(text(&mut engine, vec![1, 49152]), "request: token 49152, one below 49152 wanted");
    let model = files().unwrap().model().unwrap();
    let device = Device::open("cpu:0").unwrap();
    let refused = Engine::new(&device, &model, Options::default().with_tokens(9000, 9000)).unwrap_err();
    assert_eq!(refused.to_string(), "engine: max_keys = 9000, 1 to 8192 wanted");
}
