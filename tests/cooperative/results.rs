//! What the store computes.

use fastattention::cooperative::{Division, LayerOrder, Placement, Problem};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{DType, ErrorKind};
use fastattention_testkit::device::simulator;

use crate::run::{divisions, host, placed, Done, Run};

fn problem(division: Division) -> Problem {
    Problem::new(DType::F16, 4, [3, 80, 8, 32], division)
        .with_num_heads_k(4)
        .with_head_dim_v(16)
        .with_page_size(16)
        .with_rows(3, 50)
        // Several chunks of a prompt.
        .with_chunk_bytes(4000)
        .batch_invariant()
}

/// Prompts and steps of both lanes, some side by side.
fn scenario(device: &Device, placement: &Placement) -> Vec<Done> {
    let mut run = Run::new(device, &host(), placement).unwrap();
    let mut done = vec![run.run(0, &[(0, 50)], true).unwrap(), run.run(1, &[(2, 17)], true).unwrap()];
    for rows in [1, 3, 1] {
        let a = run.queue(0, &[(0, rows)], false).unwrap();
        let b = run.queue(1, &[(1, 2), (2, rows)], false).unwrap();
        done.extend([run.finish(a).unwrap(), run.finish(b).unwrap()]);
    }
    // All of them on the other lane.
    done.push(run.run(1, &[(0, 1), (1, 1), (2, 2)], false).unwrap());
    done
}

#[test]
fn bits_do_not_depend_on_where_layers_heads_and_sequences_lie() {
    let device = host();
    let mut first: Option<Vec<Done>> = None;
    for division in divisions() {
        let done = scenario(&device, &placed(&problem(division)));
        match &first {
            None => {
                done.iter().for_each(|done| done.check(&problem(division)));
                first = Some(done);
            }
            Some(first) => {
                for (i, (own, first)) in done.iter().zip(first).enumerate() {
                    assert!(
                        own.bits() == first.bits(),
                        "{division:?}: step {i} differs from all on the device"
                    );
                }
            }
        }
    }
}

#[test]
fn a_window_on_the_device_and_the_rest_on_the_host_make_the_whole() {
    for window in [32, 48, 80] {
        let problem = problem(Division::Positions { window: Some(window) });
        scenario(&host(), &placed(&problem)).iter().for_each(|done| done.check(&problem));
    }
}

#[test]
fn a_simulated_device_and_the_host_agree_with_f64() {
    let divisions = [
        Division::Layers { order: LayerOrder::HostFirst, host: Some(1) },
        Division::Heads { device: Some(1) },
        Division::Sequences { device: Some(1) },
        Division::Positions { window: Some(32) },
    ];
    for division in divisions {
        let problem = Problem::new(DType::F16, 2, [2, 64, 4, 32], division)
            .with_num_heads_k(2)
            .with_page_size(16)
            .with_rows(2, 40)
            .with_chunk_bytes(3000);
        let mut run = Run::new(&simulator(|_| ()), &host(), &placed(&problem)).unwrap();
        run.run(0, &[(0, 40)], true).unwrap().check(&problem);
        let (a, b) = (run.queue(0, &[(0, 1)], false).unwrap(), run.queue(1, &[(1, 2)], false).unwrap());
        run.finish(a).unwrap().check(&problem);
        run.finish(b).unwrap().check(&problem);
        run.run(1, &[(0, 2), (1, 1)], false).unwrap().check(&problem);
    }
}

#[test]
fn a_prompt_that_was_computed_elsewhere_is_taken_over() {
    let mut first: Option<Vec<u16>> = None;
    for division in divisions() {
        let mut run = Run::new(&host(), &host(), &placed(&problem(division))).unwrap();
        run.import(0, 1, 47).unwrap();
        let own = run.run(0, &[(1, 2)], false).unwrap();
        own.check(&problem(division));
        let bits = own.bits();
        assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{division:?}");
    }
    let windows = problem(Division::Positions { window: Some(32) });
    let mut run = Run::new(&host(), &host(), &placed(&windows)).unwrap();
    run.import(0, 1, 50).unwrap();
    run.run(0, &[(1, 3)], false).unwrap().check(&windows);
}

#[test]
fn attention_and_taking_over_are_not_mixed_up() {
    use fastattention::cooperative::Args;
    let problem = problem(Division::Heads { device: Some(1) });
    let mut run = Run::new(&host(), &host(), &placed(&problem)).unwrap();
    let rows = |count: usize| Buffer::alloc(&run.device, 2 * count * 8 * 32).unwrap();
    let (few, many) = (rows(1), rows(20));
    let mut own = run.store.import(&run.lanes[0].1, 0, 20).unwrap();
    let text = run.store.attend(&mut own, 0, Args::new(&many, &many, &many, &many)).unwrap_err().to_string();
    assert!(text.contains("a step of Store::import given"), "{text}");
    let text = run.store.import_layer(&mut own, 0, &many, &few).unwrap_err().to_string();
    assert!(text.contains("Store::import_layer: 2560 bytes at byte 0 given"), "{text}");
    let text = run.store.import_layer(&mut own, 4, &many, &many).unwrap_err().to_string();
    assert!(text.contains("layer = 4 given, one below 4 wanted"), "{text}");
    run.store.import_layer(&mut own, 0, &many, &many).unwrap();
    drop(own);
    let mut other = run.store.prefill(&run.lanes[0].1, 1, 20).unwrap();
    let text = run.store.import_layer(&mut other, 0, &many, &many).unwrap_err().to_string();
    assert!(text.contains("a step with attention given, one of Store::import wanted"), "{text}");
    let text = run.store.import(&run.lanes[0].1, 0, 1).unwrap_err().to_string();
    assert!(text.contains("slot 0 with 20 keys given, one without keys wanted"), "{text}");
}

#[test]
fn a_fault_of_the_device_ends_the_lane_and_not_the_store() {
    use fastattention::cooperative::Args;
    let problem = Problem::new(
        DType::F16,
        2,
        [2, 64, 2, 32],
        Division::Layers { order: LayerOrder::DeviceFirst, host: Some(1) },
    )
    .with_page_size(16);
    let device = simulator(|_| ());
    let mut run = Run::new(&device, &host(), &placed(&problem)).unwrap();
    run.run(0, &[(0, 20)], true).unwrap().check(&problem);
    // k was never written.
    let mut step = run.store.step(&run.lanes[0].1, &[(0, 1)]).unwrap();
    let row = || Buffer::alloc(&device, 2 * 2 * 32).unwrap();
    let (q, k, v, o) = (row(), row(), row(), row());
    run.store.attend(&mut step, 0, Args::new(&q, &k, &v, &o)).unwrap();
    let error = run.lanes[0].0.synchronize().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
    // Without the row, and on a new lane, the sequence goes on.
    drop((step, run.lanes.remove(0)));
    run.store.truncate(0, 20).unwrap();
    let stream = Stream::new(&device).unwrap();
    let lane = run.store.lane(&stream).unwrap();
    run.lanes.insert(0, (stream, lane));
    run.run(0, &[(0, 1)], false).unwrap().check(&problem);
    run.run(1, &[(0, 1), (1, 1)], false).unwrap().check(&problem);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let problem = problem(Division::Positions { window: Some(32) });
    let mut run = Run::new(&host(), &host(), &placed(&problem)).unwrap();
    run.run(0, &[(1, 50)], true).unwrap();
    let mut refused = |rows: &[(u32, u32)], is_prompt, text: &str| {
        let error = run.queue(0, rows, is_prompt).err().unwrap();
        assert_eq!(error.to_string(), text);
    };
    refused(&[(3, 1)], false, "cooperative Store::step: slot = 3 given, one below 3 wanted");
    refused(
        &[(1, 1), (1, 1)],
        false,
        "cooperative Store::step: slot 1 behind slot 1 given, rising slots wanted",
    );
    refused(&[(0, 4)], false, "cooperative Store::step: 4 rows of slot 0 given, 1 to 3 wanted");
    refused(&[], false, "cooperative Store::step: no slots given, at least one wanted");
    refused(
        &[(1, 2)],
        true,
        "cooperative Store::prefill: slot 1 with 50 keys given, one without keys wanted",
    );
    let text = run.store.truncate(1, 10).unwrap_err().to_string();
    assert_eq!(text, "cooperative Store::truncate: 10 keys of slot 1 given, 0 or 32 to 50 wanted");
    let stream = Stream::new(&run.device).unwrap();
    let text = run.store.lane(&stream).unwrap_err().to_string();
    assert_eq!(text, "cooperative Store::lane: one more than 2 lanes given, lanes = 2 was planned");
    assert_eq!(run.store.keys(1).unwrap(), 50);
    run.run(0, &[(1, 3)], false).unwrap().check(&problem);
}
