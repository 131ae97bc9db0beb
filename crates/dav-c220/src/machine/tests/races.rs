//! Which accesses are ordered, and which race.

use super::*;

use Pipe::{Fix, Mte1, Mte2, Mte3, M, S, V};

#[test]
fn a_flag_orders_each_pair_of_pipes_and_its_absence_is_found_in_every_order() {
    let aiv = [(Mte2, V), (V, Mte2), (V, Mte3), (Mte3, V), (Mte2, Mte3), (Mte3, Mte2)];
    let aic = [(Mte2, Mte1), (Mte1, M), (M, Fix), (Fix, M), (Mte1, Mte2), (Fix, Mte3), (M, Mte2)];
    for (pairs, kernel_type, at) in
        [(&aiv[..], KernelType::AivOnly, ub(0, 64)), (&aic[..], KernelType::AicOnly, l1(0, 64))]
    {
        for &(src, dst) in pairs {
            for device in orders() {
                let ordered = device.run(kernel_type, 1, move || {
                    run_on(src, NONE, at)?;
                    sync(src, dst)?;
                    run_on(dst, at, NONE)
                });
                assert_eq!(
                    ordered,
                    Ok(LaunchStats { instructions: 4, ..LaunchStats::default() }),
                    "{src}_{dst}"
                );
                for (first, second) in [((NONE, at), (at, NONE)), ((at, NONE), (NONE, at))] {
                    let raced = device.run(kernel_type, 1, move || {
                        run_on(src, first.0, first.1)?;
                        run_on(dst, second.0, second.1)
                    });
                    assert_eq!(fault(raced).kind, FaultKind::Race, "{src}_{dst}");
                }
            }
        }
    }
}

#[test]
fn a_race_names_both_instructions_the_overlap_and_the_missing_flag() {
    let raced = Device::new().aiv(|| {
        run_on(V, NONE, ub(0x800, 32))?;
        run_on(Mte2, NONE, ub(0x200, 0x400))?;
        run_on(V, ub(0x400, 0x400), NONE)
    });
    assert_eq!(
        fault(raced).to_string(),
        "Fault: Race: race on UB[0x400..0x600): write by AIV0 of block 0, MTE2 insn 1 go_mte2; \
         read by V insn 2 go_v; no MTE2_V flag orders them; AIV0 of block 0, V insn 2 go_v"
    );
}

#[test]
fn a_flag_in_the_wrong_direction_orders_nothing() {
    for device in orders() {
        let raced = device.aiv(|| {
            run_on(Mte2, NONE, ub(0, 64))?;
            sync(V, Mte2)?;
            run_on(V, ub(0, 64), NONE)
        });
        assert_eq!(fault(raced).kind, FaultKind::Race);
    }
}

#[test]
fn a_set_covers_only_what_was_issued_before_it() {
    for device in orders() {
        let raced = device.aiv(|| {
            set(Mte2, V, 0)?;
            run_on(Mte2, NONE, ub(0, 64))?;
            wait(Mte2, V, 0)?;
            run_on(V, ub(0, 64), NONE)
        });
        assert_eq!(fault(raced).kind, FaultKind::Race);
    }
}

#[test]
fn order_is_transitive_over_pipes() {
    for device in orders() {
        let ordered = device.aiv(|| {
            run_on(Mte2, NONE, ub(0, 64))?;
            sync(Mte2, V)?;
            run_on(V, NONE, ub(64, 64))?;
            sync(V, Mte3)?;
            run_on(Mte3, ub(0, 128), NONE)
        });
        assert!(ordered.is_ok(), "{ordered:?}");
    }
}

#[test]
fn in_a_pipe_only_write_after_read_needs_no_barrier() {
    let (at, no) = (ub(0, 64), NONE);
    for device in orders() {
        for ((read, write), (then_read, then_write), legal) in [
            ((no, at), (at, no), false),
            ((no, at), (no, at), false),
            ((at, no), (no, at), true),
            ((at, no), (at, no), true),
        ] {
            let pair = |between: fn() -> Kernel| {
                device.aiv(move || {
                    run_on(V, read, write)?;
                    between()?;
                    run_on(V, then_read, then_write)
                })
            };
            let bare = pair(|| Ok(()));
            assert_eq!(bare.is_ok(), legal, "{bare:?}");
            if let Err(Stop::Fault(f)) = bare {
                assert_eq!(f.kind, FaultKind::Race);
                assert!(f.detail.contains("no pipe_barrier of V"), "{f}");
            }
            assert!(pair(|| barrier(V)).is_ok());
            assert!(pair(barrier_all).is_ok());
            assert!(pair(|| sync(V, S)).is_ok(), "a round trip over the scalar unit");
            assert!(pair(|| sync(V, Mte3).and_then(|()| sync(Mte3, V))).is_ok(), "over another pipe");
            assert_eq!(pair(|| barrier(Mte2)).is_ok(), legal, "a barrier of another pipe");
        }
    }
}

#[test]
fn in_place_operands_of_one_instruction_do_not_race() {
    assert!(Device::new().aiv(|| run_on(V, ub(0, 64), ub(0, 64))).is_ok());
}

#[test]
fn waiting_by_the_scalar_unit_orders_what_is_issued_later() {
    for device in orders() {
        let ordered = device.aiv(|| {
            run_on(Mte2, NONE, ub(0, 64))?;
            sync(Mte2, S)?;
            run_on(V, ub(0, 64), NONE)?;
            run_on(Mte3, ub(0, 64), NONE)
        });
        assert!(ordered.is_ok(), "{ordered:?}");
        let raced = device.aiv(|| {
            run_on(Mte2, NONE, ub(0, 64))?;
            set(Mte2, S, 0)?;
            run_on(V, ub(0, 64), NONE)?;
            wait(Mte2, S, 0)
        });
        assert_eq!(fault(raced).kind, FaultKind::Race, "issued before the wait");
    }
}

#[test]
fn scalar_stores_need_a_flag_and_scalar_loads_do_not() {
    let at = ub(0, 32);
    for device in orders() {
        let bare = device.aiv(move || {
            store(at.0, 4, 7)?;
            run_on(V, at, NONE)
        });
        assert_fault(bare, FaultKind::Race, "no S_V flag orders them");
        let other_pipe = device.aiv(move || {
            store(at.0, 4, 7)?;
            sync(S, V)?;
            run_on(Mte3, at, NONE)
        });
        assert_fault(other_pipe, FaultKind::Race, "no S_MTE3 flag orders them");
        let flagged = device.aiv(move || {
            store(at.0, 4, 7)?;
            sync(S, V)?;
            run_on(V, at, NONE)
        });
        assert!(flagged.is_ok(), "{flagged:?}");
        let loads = device.aiv(move || {
            run_on(V, NONE, at)?;
            sync(V, S)?;
            assert_eq!(load(at.0, 1)?, 1);
            run_on(V, NONE, at)?;
            sync(V, Mte2)?;
            load(at.0 + 64, 1).map_or(Ok(()), |_| panic!("never written"))
        });
        assert_fault(loads, FaultKind::Uninitialised, "scalar_load");
        let early = device.aiv(move || {
            run_on(V, NONE, at)?;
            sync(V, S)?;
            run_on(V, NONE, at)?;
            load(at.0, 1).map(|_| ())
        });
        assert_fault(early, FaultKind::Race, "no V_S flag orders them");
        let behind = device.aiv(move || {
            run_on(V, NONE, at)?;
            sync(V, S)?;
            run_on(V, NONE, ub(64, 32))?;
            load(at.0, 1)?;
            run_on(Mte2, NONE, at)
        });
        assert!(behind.is_ok(), "a load is complete before the next issue: {behind:?}");
    }
}

#[test]
fn barrier_all_orders_everything() {
    for device in orders() {
        let ordered = device.aiv(|| {
            store(ub(64, 0).0, 8, 1)?;
            run_on(Mte2, NONE, ub(0, 64))?;
            barrier_all()?;
            run_on(V, ub(0, 96), NONE)?;
            barrier_all()?;
            run_on(Mte2, NONE, ub(0, 96))
        });
        assert!(ordered.is_ok(), "{ordered:?}");
    }
}

#[test]
fn exempt_pipes_are_ordered_by_the_hardware() {
    let accumulate = |pipe, how| issue(go_name(pipe), &[l0c(0, 0).0, 64, l0c(0, 0).0, 64, how]);
    for device in orders() {
        let safe = device.aic(move || {
            accumulate(M, 2)?;
            accumulate(M, 2)?;
            accumulate(Fix, 2)
        });
        assert!(safe.is_ok(), "{safe:?}");
        let bare = device.aic(move || {
            accumulate(M, 2)?;
            accumulate(M, 0)
        });
        assert_fault(bare, FaultKind::Race, "no pipe_barrier of M");
    }
}

#[test]
fn atomics_do_not_conflict_with_each_other() {
    for device in orders() {
        let at = device.memory.alloc(64).unwrap();
        let add = move || issue("go_mte3", &[0, 0, at, 64, 1]);
        let atomics = device.run(KernelType::AivOnly, 4, move || {
            add()?;
            add()
        });
        assert!(atomics.is_ok(), "{atomics:?}");
        let mixed = device.run(KernelType::AivOnly, 1, move || {
            add()?;
            run_on(Mte2, (at, 1), ub(0, 32))
        });
        assert_fault(mixed, FaultKind::Race, "bytes 0x0..0x1 of the GM allocation of 64 bytes: atomic by");
    }
}

/// Other launches are compared with all that a launch has done to the bytes.
#[test]
fn what_comes_before_atomics_is_remembered() {
    let device = Device::new();
    let at = device.memory.alloc(64).unwrap();
    let add = move || issue("go_mte3", &[0, 0, at, 64, 1]);
    let uses = |before: fn(u64) -> Kernel| {
        let body: Body =
            Arc::new(move || before(at).and_then(|()| add()).and_then(|()| add()).is_err().into());
        let kernel_type = KernelType::AivOnly;
        let function = Function { name: "test", kernel_type, ops: ops(), body, args: &[] };
        let (_, touched) = launch(&device.memory, &device.config, function, 1).unwrap();
        let ranges: Vec<_> = touched.ranges().flat_map(|(_, ranges)| ranges).collect();
        let [used] = ranges[..] else { panic!("one range wanted: {ranges:?}") };
        assert_eq!((used.start, used.end), (0, 64));
        used.uses
    };
    let adds = uses(|_| Ok(()));
    assert!(!adds.conflict(adds), "additions in any order");
    let zeroed = uses(|at| {
        run_on(Mte3, NONE, (at, 64))?;
        barrier(Mte3)
    });
    assert!(zeroed.conflict(adds) && adds.conflict(zeroed) && zeroed.conflict(zeroed));
    let read = uses(|at| {
        run_on(Mte2, (at, 64), NONE)?;
        sync(Mte2, Mte3)
    });
    assert!(read.conflict(adds) && adds.conflict(read) && read.conflict(read));
}

#[test]
fn accesses_that_touch_but_do_not_overlap_are_independent() {
    for device in orders() {
        let apart = device.aiv(|| {
            run_on(Mte2, NONE, ub(64, 64))?;
            run_on(V, ub(0, 64), ub(128, 64))?;
            run_on(V, ub(192, 64), ub(0, 64))
        });
        assert!(apart.is_ok(), "{apart:?}");
    }
}

#[test]
fn without_the_race_check_races_pass() {
    let mut device = Device::new();
    device.config.check_races = false;
    let raced = device.aiv(|| {
        run_on(Mte2, NONE, ub(0, 64))?;
        run_on(V, ub(0, 64), NONE)
    });
    assert!(raced.is_ok(), "{raced:?}");
}

/// Every access is also checked byte by byte against a list of all earlier accesses.
#[test]
fn intervals_agree_with_a_list_of_bytes() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let pipes = [V, Mte2, Mte3];
        let mut script: Vec<(usize, u64, u64, bool)> = Vec::new();
        // Rank of the newest barrier before each instruction: everything before a barrier is ordered.
        let mut since_barrier: Vec<(usize, u64, u64, bool)> = Vec::new();
        let mut want = None;
        for i in 0..60 {
            if rng.u32(..6) == 0 {
                script.push((usize::MAX, 0, 0, false));
                since_barrier.clear();
                continue;
            }
            // Pieces on both sides of a page of the shadow.
            let at = 0xffe0 + rng.u64(..64);
            let access = (rng.usize(..3), at, at + rng.u64(1..12), rng.u32(..4) == 0);
            let races = since_barrier.iter().any(|old| {
                let overlap = old.1 < access.2 && access.1 < old.2;
                let in_order = old.0 == access.0 && !old.3;
                overlap && (old.3 || access.3) && !in_order
            });
            since_barrier.push(access);
            script.push(access);
            if races {
                want = Some(i);
                break;
            }
        }
        let result = Device::new().aiv(move || {
            for (pipe, from, to, write) in &script {
                if *pipe == usize::MAX {
                    barrier_all()?;
                    continue;
                }
                let at = ub(*from, to - from);
                run_on(pipes[*pipe], if *write { NONE } else { at }, if *write { at } else { NONE })?;
            }
            Ok(())
        });
        match want {
            None => assert!(result.is_ok(), "seed {seed}: {result:?}"),
            Some(number) => {
                let fault = fault(result);
                assert_eq!(fault.kind, FaultKind::Race);
                assert_eq!(fault.site.unwrap().number, number, "seed {seed}");
            }
        }
    }
}
