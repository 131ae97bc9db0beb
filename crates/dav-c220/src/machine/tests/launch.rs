//! Launches as a whole: cores, determinism, stops.

use super::*;

use Pipe::{Mte2, Mte3, V};

#[test]
fn each_core_of_each_block_runs_once_and_knows_itself() {
    for (kernel_type, cores, subblocks) in [
        (KernelType::AivOnly, 1, 1),
        (KernelType::AicOnly, 1, 1),
        (KernelType::MixAic1Aiv2, 3, 2),
        (KernelType::MixAic1Aiv1, 2, 1),
    ] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let mut device = Device::new();
        device.config.threads = 3;
        let stats = device.run(kernel_type, 7, move || {
            assert_eq!((special(Special::BlockNum)?, special(Special::SubBlockDim)?), (7, subblocks));
            assert_eq!(special(Special::SysCnt)?, 0);
            let me =
                (special(Special::BlockIdx)?, special(Special::CoreType)?, special(Special::SubBlockId)?);
            log.lock().unwrap().push(me);
            issue("dsb", &[0])
        });
        assert_eq!(stats, Ok(LaunchStats { instructions: 7 * cores, ..LaunchStats::default() }));
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        let aic = |block| (kernel_type != KernelType::AivOnly).then_some((block, 0, 0));
        let aivs = |block| {
            let count = if kernel_type == KernelType::AicOnly { 0 } else { subblocks };
            (0..count).map(move |i| (block, 1, i))
        };
        let want: Vec<_> = (0..7).flat_map(|b| aic(b).into_iter().chain(aivs(b))).collect();
        assert_eq!(seen, want);
    }
}

/// A kernel that polls GM for another core's store gets its turn back: with the race check a fault, without
/// it a result.
#[test]
fn polling_does_not_hang() {
    for check_races in [true, false] {
        let mut device = Device::new();
        device.config.check_races = check_races;
        let at = device.memory.alloc(8).unwrap();
        device.memory.find(at).unwrap().write(at, &[0; 8]);
        let result = device.run(KernelType::MixAic1Aiv2, 1, move || {
            if is_aic()? {
                return Ok(());
            }
            if special(Special::SubBlockId)? == 1 {
                return store(at, 8, 1);
            }
            while load(at, 8)? == 0 {}
            Ok(())
        });
        if check_races {
            assert_fault(result, FaultKind::Race, "no cross-core flag orders them");
        } else {
            assert!(result.is_ok(), "{result:?}");
        }
    }
}

/// Each block streams tiles through two buffers; `broken` forgets one flag in block 5.
fn stream(device: &Device, input: u64, output: u64, broken: bool) -> Result<LaunchStats, Stop> {
    device.run(KernelType::AivOnly, 12, move || {
        let block = special(Special::BlockIdx)?;
        set(V, Mte2, 0)?;
        set(V, Mte2, 1)?;
        set(Mte3, V, 0)?;
        set(Mte3, V, 1)?;
        for tile in 0..8 {
            let (b, at) = (tile % 2, 64 * (8 * block + tile));
            let (x, y) = (ub(64 * b, 64), ub(1024 + 64 * b, 64));
            wait(V, Mte2, b)?;
            run_on(Mte2, (input + at, 64), x)?;
            if !(broken && block == 5 && tile == 3) {
                set(Mte2, V, b)?;
                wait(Mte2, V, b)?;
            }
            wait(Mte3, V, b)?;
            run_on(V, x, y)?;
            set(V, Mte2, b)?;
            set(V, Mte3, b)?;
            wait(V, Mte3, b)?;
            run_on(Mte3, y, (output + at, 64))?;
            set(Mte3, V, b)?;
        }
        wait(V, Mte2, 0)?;
        wait(V, Mte2, 1)?;
        wait(Mte3, V, 0)?;
        wait(Mte3, V, 1)
    })
}

#[test]
fn results_and_reports_do_not_depend_on_threads_and_results_not_on_the_seed() {
    let size = 64 * 8 * 12;
    let mut results = Vec::new();
    let mut reports = Vec::new();
    for threads in [1, 2, 5] {
        for seed in [None, Some(3), Some(4)] {
            let mut device = Device::new();
            (device.config.threads, device.config.seed) = (threads, seed);
            let (input, output) = (device.memory.alloc(size).unwrap(), device.memory.alloc(size).unwrap());
            let data: Vec<u8> = (0..size).map(|i| (i * i / 7) as u8).collect();
            device.memory.find(input).unwrap().write(input, &data);
            let stats = stream(&device, input, output, false).unwrap();
            results.push((stats, device.bytes(output, size as usize)));
            reports.push((seed, fault(stream(&device, input, output, true)).to_string()));
        }
    }
    results.iter().for_each(|result| assert_eq!(*result, results[0]));
    for (seed, report) in &reports {
        assert!(report.contains("no MTE2_V flag orders them; AIV0 of block 5"), "{report}");
        let same_seed: Vec<&String> = reports.iter().filter(|(s, _)| s == seed).map(|(_, r)| r).collect();
        assert_eq!(same_seed, [report; 3]);
    }
}

#[test]
fn seeds_do_change_the_order_of_pipes() {
    // With a missing flag and no race check the result shows which pipe was first.
    let first_bytes: std::collections::BTreeSet<u8> = (0..40)
        .map(|seed| {
            let mut device = Device::with_seed(seed);
            device.config.check_races = false;
            let out = device.memory.alloc(32).unwrap();
            let result = device.aiv(move || {
                run_on(Mte2, NONE, ub(0, 32))?;
                run_on(V, NONE, ub(32, 32))?;
                run_on(V, ub(0, 32), ub(32, 32))?;
                run_on(Mte3, ub(32, 32), (out, 32))
            });
            assert!(result.is_ok());
            device.bytes(out, 1)[0]
        })
        .collect();
    assert!(first_bytes.len() > 1, "{first_bytes:?}");
}

#[test]
fn memories_are_unwritten_at_the_start_of_every_block() {
    let result = Device::new().run(KernelType::AivOnly, 2, || {
        if special(Special::BlockIdx)? == 0 {
            store(ub(0, 0).0, 4, 5)
        } else {
            load(ub(0, 0).0, 4).map(|_| ())
        }
    });
    assert_fault(result, FaultKind::Uninitialised, "AIV0 of block 1, S insn 0 scalar_load");
}

#[test]
fn the_lowest_block_is_reported() {
    for threads in [1, 2, 6] {
        for _ in 0..5 {
            let mut device = Device::new();
            device.config.threads = threads;
            let result = device.run(KernelType::AivOnly, 30, || {
                let block = special(Special::BlockIdx)?;
                (0..30 * (30 - block)).try_for_each(|_| run_on(V, NONE, NONE))?;
                if block >= 2 {
                    store(ub(1, 0).0, 2, 0)?;
                }
                Ok(())
            });
            assert_eq!(fault(result).site.unwrap().block, 2);
        }
    }
}

#[test]
fn a_stop_reaches_suspended_cores_and_the_device_goes_on() {
    for device in orders() {
        let stopped = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = Arc::clone(&stopped);
        let result = device.run(KernelType::MixAic1Aiv2, 1, move || {
            let ended = if is_aic()? { cross_set(Pipe::Fix, 2, 99) } else { cross_wait(0) };
            count.fetch_add(u32::from(ended.is_err()), std::sync::atomic::Ordering::Relaxed);
            assert!(ended.is_ok() || issue("dsb", &[0]).is_err(), "every later call says stop");
            ended
        });
        assert_fault(result, FaultKind::Operand, "flag id = 99");
        // An AIV that had not started when the AIC stopped never starts.
        assert_ne!(stopped.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(device.aiv(|| sync(Mte2, V)).is_ok());
    }
}

#[test]
fn panics_and_nonsense_are_told_apart() {
    let panic = Device::new().aiv(|| issue("panics", &[]));
    assert_eq!(panic, Err(Stop::Defect("a bug of the simulator".into())));
    let code = Device::new().aiv(|| Err(Told));
    assert_eq!(code, Err(Stop::Defect("the kernel returned 1, but nothing stopped it".into())));
    let raw = |op, elem, num_args| {
        let instr = FasimInstr { op, elem, elem_dst: 0, num_args, args: [0; MAX_ARGS] };
        Device::new().aiv(move || issue_raw(&instr))
    };
    assert_fault(raw(999, 0, 0), FaultKind::Operand, "operation 999 of an image that has 13");
    assert_fault(raw(1, 77, 0), FaultKind::Operand, "source element type 77");
    assert_fault(raw(1, 0, 21), FaultKind::Operand, "21 operands given; an instruction has at most 20");
}

#[test]
fn outside_a_launch_every_entry_says_stop() {
    assert!(issue("dsb", &[0]).is_err() && special(Special::BlockIdx).is_err() && load(0, 1).is_err());
}

#[test]
fn header_faults_carry_their_text() {
    #[allow(unsafe_code, reason = "calls the C entry points as a kernel does")]
    let api = |kind| {
        Device::new().aiv(move || {
            // SAFETY: a C string that lives through the call.
            told(unsafe { (HOOKS.api_fault)(kind, c"TQue: no free buffer".as_ptr()) })
        })
    };
    assert_fault(api(0), FaultKind::Api, "Api: TQue: no free buffer; AIV0 of block 0");
    assert_fault(api(2), FaultKind::NoSuchPath, "NoSuchPath: TQue: no free buffer; AIV0 of block 0");
    let Err(Stop::Unsupported(unsupported)) = api(1) else { panic!("{:?}", api(1)) };
    assert_eq!(unsupported.detail, "TQue: no free buffer");
}
