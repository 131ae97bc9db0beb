//! Model time of small kernels, against timelines written by hand, and what must hold of every kernel.
//!
//! The SoC's rates are round numbers: the scalar unit takes 2 cycles to issue; V is occupied for 150 and
//! shows its result 30 later; a transfer is occupied for a cycle a byte and shows its result 40 later; a flag
//! takes 10, one between the cores of a group 100, one of all cores 1000.

use super::oracle::{random_program, run as run_program};
use super::*;
use crate::time::{Cause, LaunchReport, ModelTime};
use ascend_soc::LocalPath;

use Pipe::{Fix, Mte2, Mte3, M, S, V};

fn soc() -> &'static Soc {
    let mut soc = Soc::by_name("Ascend910B2").unwrap().clone();
    let timing = &mut soc.timing;
    timing.control.issue = 2;
    timing.control.flag = 10;
    timing.control.cross_group = 100;
    timing.control.cross_all = 1000;
    timing.control.block_dispatch = 50;
    timing.control.core_start_us = 0.0;
    (timing.control.aic_prologue, timing.control.aiv_prologue) = (0, 0);
    timing.vector.min_occupancy = 150;
    timing.vector.other.latency = 30;
    let path = LocalPath { bytes_per_cycle: 1.0, latency: 40 };
    (timing.local.ub_to_ub, timing.local.l0c_to_l1) = (path, path);
    Box::leak(Box::new(soc))
}

/// A device in model time, without a search for races: these kernels leave out what does not matter to the
/// clocks.
fn timed() -> (Device, ModelTime) {
    let mut device = Device::new();
    let time = ModelTime::with_results().with_trace();
    device.config.soc = soc();
    device.config.check_races = false;
    device.config.model_time = Some(time.clone());
    (device, time)
}

fn report(
    kernel_type: KernelType,
    blocks: u32,
    kernel: impl Fn() -> Kernel + Send + Sync + 'static,
) -> LaunchReport {
    report_on(soc(), kernel_type, blocks, kernel)
}

fn report_on(
    soc: &'static Soc,
    kernel_type: KernelType,
    blocks: u32,
    kernel: impl Fn() -> Kernel + Send + Sync + 'static,
) -> LaunchReport {
    let (mut device, time) = timed();
    device.config.soc = soc;
    let result = device.run(kernel_type, blocks, kernel);
    assert!(result.is_ok(), "{result:?}");
    time.take_reports().pop().unwrap()
}

/// Starts and results of the instructions of one pipe on one core.
fn spans(report: &LaunchReport, core: &str, pipe: Pipe) -> Vec<(f64, f64)> {
    let here = report.trace.iter().filter(|e| e.core == core && e.pipe == pipe);
    here.map(|e| (e.start, e.done)).collect()
}

fn load_100(at: u64) -> Kernel {
    run_on(Mte2, NONE, ub(at, 100))
}

fn work() -> Kernel {
    run_on(V, NONE, NONE)
}

#[test]
fn two_pipes_with_one_flag() {
    let report = report(KernelType::AivOnly, 1, || {
        load_100(0)?; // issued 2: occupied until 102, result at 142
        sync(Mte2, V)?; // the flag is there at 152
        work()
    });
    assert_eq!(spans(&report, "AIV0", Mte2), [(2.0, 142.0)]);
    assert_eq!(spans(&report, "AIV0", V), [(152.0, 332.0)]);
    assert_eq!(report.cycles, 332.0);
    let pipes = &report.cores[0].pipes;
    assert_eq!(pipes[V as usize].busy, 180.0);
    assert_eq!(pipes[V as usize].stalls[&Cause::Flag(Mte2)], 152.0);
    assert_eq!(pipes[S as usize].busy, 8.0);
}

#[test]
fn double_buffering_hides_the_loads() {
    let report = report(KernelType::AivOnly, 1, || {
        for i in 0..4 {
            if i >= 2 {
                wait(V, Mte2, i % 2)?;
            }
            load_100(100 * (i % 2))?;
            set(Mte2, V, i % 2)?;
            wait(Mte2, V, i % 2)?;
            work()?;
            if i < 2 {
                set(V, Mte2, i % 2)?;
            }
        }
        Ok(())
    });
    // Loads 0 and 1 back to back; 2 and 3 wait for results 332 and 482 of V, and for the flag.
    assert_eq!(spans(&report, "AIV0", Mte2), [(2.0, 142.0), (102.0, 242.0), (342.0, 482.0), (492.0, 632.0)]);
    // V starts 10 behind the load's result, or when it is free.
    assert_eq!(spans(&report, "AIV0", V), [(152.0, 332.0), (302.0, 482.0), (492.0, 672.0), (642.0, 822.0)]);
    assert_eq!(report.cycles, 822.0);
}

#[test]
fn aic_and_aivs_play_ping_pong() {
    let report = report(KernelType::MixAic1Aiv2, 1, || {
        for _ in 0..2 {
            if is_aic()? {
                run_on(Mte2, NONE, l1(0, 100))?;
                cross_set(Mte2, 2, 0)?;
                cross_wait(1)?;
            } else {
                cross_wait(0)?;
                work()?;
                cross_set(V, 2, 1)?;
            }
        }
        Ok(())
    });
    // A half round is the instruction's issue (2), its cycles and 100 of the flag.
    assert_eq!(spans(&report, "AIC", Mte2), [(2.0, 142.0), (526.0, 666.0)]);
    for aiv in ["AIV0", "AIV1"] {
        assert_eq!(spans(&report, aiv, V), [(244.0, 424.0), (768.0, 948.0)]);
    }
    assert_eq!(report.cycles, 1048.0);
    let aic = report.cores.iter().find(|c| c.core == "AIC").unwrap();
    assert_eq!(aic.pipes[S as usize].stalls[&Cause::Cross], (524.0 - 4.0) + (1048.0 - 528.0));
}

#[test]
fn a_full_queue_holds_the_scalar_unit_back() {
    let report = report(KernelType::AivOnly, 1, || (0..40).try_for_each(|_| work()));
    // Instruction 39 enters when instruction 7 leaves the queue, at 2 + 7 * 150.
    let scalar = &report.cores[0].pipes[S as usize];
    assert_eq!(scalar.busy, 80.0);
    assert_eq!(scalar.stalls[&Cause::Queue(V)], 1052.0 - 80.0);
    assert_eq!(report.cycles, 2.0 + 40.0 * 150.0 + 30.0);
}

#[test]
fn a_pipe_barrier_waits_for_results() {
    let without = report(KernelType::AivOnly, 1, || {
        work()?;
        work()
    });
    assert_eq!(spans(&without, "AIV0", V), [(2.0, 182.0), (152.0, 332.0)]);
    let with = report(KernelType::AivOnly, 1, || {
        work()?;
        barrier(V)?;
        work()
    });
    assert_eq!(spans(&with, "AIV0", V), [(2.0, 182.0), (182.0, 362.0)]);
    assert_eq!(with.cores[0].pipes[V as usize].busy, 360.0);
}

#[test]
fn a_barrier_of_all_blocks_ends_with_the_slowest() {
    let report = report(KernelType::AivOnly, 4, || {
        (0..=special(Special::BlockIdx)?).try_for_each(|_| work())?;
        cross_set(V, 0, 5)?;
        cross_wait(5)?;
        work()
    });
    // Block 3 works until 2 + 4 * 150 + 30 = 632; the flag takes 1000, the next instruction 2 to issue.
    let last = report.trace.iter().filter(|e| e.pipe == V && e.start > 1000.0);
    assert_eq!(last.map(|e| e.start).collect::<Vec<_>>(), [1634.0; 4]);
    assert_eq!(report.cycles, 1814.0);
}

#[test]
fn blocks_beyond_the_cores_follow_after_the_dispatch() {
    let cores = soc().vector_cores;
    let report = report(KernelType::AivOnly, cores + 1, work);
    let second = report.trace.iter().find(|e| e.block == cores).unwrap();
    assert_eq!(second.start, 182.0 + 50.0 + 2.0);
    let before = &report.trace[second.before.unwrap() as usize];
    assert_eq!((before.group, before.done), (second.group, 182.0), "the block before on this core");
    let sum: f64 = report.critical_path().iter().map(|step| step.cycles).sum();
    assert_eq!(sum, report.cycles, "the path leads through both blocks to the start of the launch");
}

#[test]
fn loads_to_l0_and_copies_to_l1_meet_in_a_half_of_l1() {
    let mut soc = soc().clone();
    soc.timing.local.l1_row_bytes = 256;
    soc.timing.local.l1_to_l0a = LocalPath { bytes_per_cycle: 1.0, latency: 40 };
    let soc: &'static Soc = Box::leak(Box::new(soc));
    const L0A: u64 = 3 << 48;
    // A copy of 65536 bytes, a byte a cycle, a load of 100 beside it and one behind it.
    let loads = |at: u64| {
        let report = report_on(soc, KernelType::AicOnly, 1, move || {
            run_on(Mte2, NONE, l1(0, 65536))?;
            run_on(Pipe::Mte1, l1(at, 100), (L0A, 100))?;
            sync(Mte2, Pipe::Mte1)?;
            run_on(Pipe::Mte1, l1(at, 100), (L0A, 100))
        });
        spans(&report, "AIC", Pipe::Mte1).iter().map(|(start, done)| done - start).sum::<f64>()
    };
    assert_eq!(loads(256 << 10), 280.0, "the other half");
    assert_eq!(loads(128 << 10), 280.0 + 100.0 / 256.0);
}

/// With a launch of 2 us, 3 more for AIC and AIV together, a core every 1000 cycles, and a prologue of 300 on
/// an AIC and 200 on an AIV.
fn soc_with_starts() -> &'static Soc {
    let mut soc = soc().clone();
    let control = &mut soc.timing.control;
    (control.launch_us, control.mix_launch_us) = (2.0, 3.0);
    control.core_start_us = 1000.0 / f64::from(soc.clock_mhz);
    (control.aic_prologue, control.aiv_prologue) = (300, 200);
    Box::leak(Box::new(soc))
}

#[test]
fn cores_start_one_after_the_other_and_with_a_prologue() {
    let soc = soc_with_starts();
    let report = report_on(soc, KernelType::AivOnly, 3, work);
    // An instruction issues in 2 and has its result after 180.
    let starts: Vec<_> = report.trace.iter().map(|e| e.start).collect();
    assert_eq!(starts, [202.0, 1202.0, 2202.0]);
    assert_eq!(report.cycles, 2382.0);
    let us = |cycles: f64| cycles / f64::from(soc.clock_mhz);
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-9;
    assert!(near(report.core_us(), us(382.0)), "{}", report.core_us());
    assert!(near(report.mean_core_us(), us(382.0)), "{}", report.mean_core_us());
    assert!(near(report.task_us(), 2.0 + us(2382.0)), "{}", report.task_us());
    assert_eq!(report.cores[0].pipes[S as usize].busy, 202.0);
    let sum: f64 = report.critical_path().iter().map(|step| step.cycles).sum();
    assert_eq!(sum, report.cycles, "the path leads to the start of the launch");
}

#[test]
fn an_aic_and_its_aivs_start_together_and_each_has_its_prologue() {
    let soc = soc_with_starts();
    let report = report_on(soc, KernelType::MixAic1Aiv2, 2, || match is_aic()? {
        true => run_on(Mte2, NONE, l1(0, 100)),
        false => work(),
    });
    assert_eq!(report.launch_us, 5.0);
    assert_eq!(spans(&report, "AIC", Mte2), [(302.0, 442.0), (1302.0, 1442.0)]);
    for aiv in ["AIV0", "AIV1"] {
        assert_eq!(spans(&report, aiv, V), [(202.0, 382.0), (1202.0, 1382.0)]);
    }
}

#[test]
fn only_the_first_block_of_a_core_has_a_prologue() {
    let soc = soc_with_starts();
    let report = report_on(soc, KernelType::AivOnly, soc.vector_cores + 1, work);
    let second = report.trace.iter().find(|e| e.block == soc.vector_cores).unwrap();
    assert_eq!((second.group, second.start), (0, 382.0 + 50.0 + 2.0));
}

#[test]
fn under_unit_flag_the_cube_and_the_fixpipe_precede_each_other() {
    let report = report(KernelType::AicOnly, 1, || {
        [M, Fix, M].into_iter().try_for_each(|pipe| issue(go_name(pipe), &[0, 0, 0, 0, 0, 1]))
    });
    let cube = &soc().timing.cube;
    let result = 2.0 + (cube.head + cube.latency) as f64;
    let seen: Vec<_> = report.trace.iter().map(|e| (e.pipe, e.start, e.before)).collect();
    assert_eq!(seen, [(M, 2.0, None), (Fix, result, Some(0)), (M, result, Some(1))]);
    let fix = &report.cores[0].pipes[Fix as usize];
    assert_eq!(fix.busy, report.trace[1].done - 4.0, "in the pipe since its issue");
    assert_eq!(fix.stalls, [(Cause::Issue, 4.0)].into());
}

#[test]
fn bytes_of_a_pipe_are_counted_without_a_trace() {
    let (mut device, _) = timed();
    let time = ModelTime::with_results();
    device.config.model_time = Some(time.clone());
    let gm = device.memory.alloc(4096).unwrap();
    device.memory.find(gm).unwrap().write(gm, &[1; 4096]);
    let result = device.aiv(move || {
        run_on(Mte2, (gm, 1024), ub(0, 1024))?;
        load_100(2048)?;
        sync(Mte2, Mte3)?;
        run_on(Mte3, ub(0, 1024), (gm, 512))
    });
    assert!(result.is_ok(), "{result:?}");
    let report = time.take_reports().pop().unwrap();
    let bytes = Pipe::ALL.map(|pipe| report.cores[0].pipes[pipe as usize].gm_bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 1024, 512, 0]);
    let by_name = report.summary().pipe_gm_bytes;
    assert_eq!(
        by_name.into_iter().collect::<Vec<_>>(),
        [("AIV MTE2".into(), 1024), ("AIV MTE3".into(), 512)]
    );
}

/// A random program of one core, run in model time.
fn random_report(seed: u64) -> LaunchReport {
    let (device, time) = timed();
    let steps = random_program(&mut fastrand::Rng::with_seed(seed));
    let result = run_program(&device, &steps);
    assert!(result.is_ok(), "seed {seed}: {result:?}");
    time.take_reports().pop().unwrap()
}

#[test]
fn clocks_of_random_programs_are_consistent() {
    for seed in 0..300 {
        let report = random_report(seed);
        for pipe in [V, Mte2, Mte3] {
            let mut free = 0.0;
            for e in report.trace.iter().filter(|e| e.pipe == pipe) {
                assert!(
                    free <= e.start && e.start <= e.free && e.free <= e.done,
                    "seed {seed}: {e:?} after {free}"
                );
                assert!(e.done <= report.cycles, "seed {seed}: {e:?} ends behind {}", report.cycles);
                free = e.free;
            }
            let clock = &report.cores[0].pipes[pipe as usize];
            assert!(clock.busy <= report.cycles && clock.occupied <= clock.busy, "seed {seed}: {clock:?}");
            assert!(clock.stalls.values().all(|c| *c >= 0.0), "seed {seed}: {clock:?}");
        }
        assert_eq!(report, random_report(seed), "seed {seed} twice");
    }
}

/// Every core streams 64 KiB tiles from GM, the odd ones back to it; total cycles at `scale` times the rates
/// of memory.
fn streamed(scale: f64) -> f64 {
    let (mut device, time) = timed();
    let mut soc = soc().clone();
    let memory = &mut soc.timing.memory;
    memory.l2_read_gbps *= scale;
    memory.l2_slice_gbps *= scale;
    memory.hbm_gbps *= scale;
    memory.hbm_fill_gbps *= scale;
    soc.timing.gm.hbm_bytes_per_cycle *= scale;
    device.config.soc = Box::leak(Box::new(soc));
    let bytes = 48 * 8 * 65536;
    let gm = device.memory.alloc(bytes).unwrap();
    device.memory.find(gm).unwrap().write(gm, &vec![1; bytes as usize]);
    let result = device.run(KernelType::AivOnly, 48, move || {
        let block = special(Special::BlockIdx)?;
        for i in 0..8 {
            let tile = gm + (block * 8 + i) * 65536;
            let buffer = ub(65536 * (i % 2), 65536);
            run_on(Mte2, (tile, 65536), buffer)?;
            if i % 2 == 1 {
                sync(Mte2, Mte3)?;
                run_on(Mte3, buffer, (tile, 65536))?;
                sync(Mte3, Mte2)?;
            }
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    time.take_reports().pop().unwrap().cycles
}

#[test]
fn more_bandwidth_is_never_slower() {
    let cycles: Vec<f64> = [0.25, 0.5, 1.0, 2.0, 4.0].map(streamed).to_vec();
    for pair in cycles.windows(2) {
        // Another order of requests at a slice of L2 may cost a little.
        assert!(pair[1] <= 1.01 * pair[0], "{cycles:?}");
    }
    assert!(cycles[1] > 1.5 * cycles[2], "memory is what this kernel waits for: {cycles:?}");
}
