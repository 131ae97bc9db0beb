//! Cross-core flags.

use super::*;

use Pipe::{Fix, Mte2, Mte3, S};

const MIX: KernelType = KernelType::MixAic1Aiv2;

#[test]
fn mode_2_hands_data_from_aic_to_aivs_and_back() {
    for device in orders() {
        let scores = device.memory.alloc(64).unwrap();
        let probs = device.memory.alloc(128).unwrap();
        let result = device.run(MIX, 1, move || {
            let half = probs + 64 * special(Special::SubBlockId)?;
            for _ in 0..5 {
                if is_aic()? {
                    run_on(Fix, NONE, (scores, 64))?;
                    cross_set(Fix, 2, 3)?;
                    cross_wait(4)?;
                    run_on(Mte2, (probs, 128), l1(0, 64))?;
                    sync(Mte2, Fix)?;
                } else {
                    cross_wait(3)?;
                    run_on(Mte2, (scores, 64), ub(0, 64))?;
                    sync(Mte2, Mte3)?;
                    run_on(Mte3, ub(0, 64), (half, 64))?;
                    cross_set(Mte3, 2, 4)?;
                    sync(Mte3, Mte2)?;
                }
            }
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn without_the_cross_core_flag_the_hand_over_races() {
    for device in orders() {
        let gm = device.memory.alloc(64).unwrap();
        let result = device.run(KernelType::MixAic1Aiv1, 1, move || {
            if is_aic()? {
                run_on(Fix, NONE, (gm, 64))
            } else {
                run_on(Mte2, (gm, 64), ub(0, 64))
            }
        });
        assert_fault(result, FaultKind::Race, "no cross-core flag orders them");
    }
    // The flag fires on the pipe that set it: a set on MTE2 does not cover FIX.
    for device in orders() {
        let gm = device.memory.alloc(64).unwrap();
        let result = device.run(KernelType::MixAic1Aiv1, 1, move || {
            if is_aic()? {
                run_on(Fix, NONE, (gm, 64))?;
                cross_set(Mte2, 2, 0)
            } else {
                cross_wait(0)?;
                run_on(Mte2, (gm, 64), ub(0, 64))
            }
        });
        assert_fault(result, FaultKind::Race, "FIX insn 0 go_fix");
    }
}

#[test]
fn the_aic_waits_for_both_aivs() {
    for device in orders() {
        let result = device.run(MIX, 1, || {
            if is_aic()? {
                return cross_wait(5);
            }
            if special(Special::SubBlockId)? == 0 {
                cross_set(Mte3, 2, 5)?;
            }
            Ok(())
        });
        assert_fault(
            result,
            FaultKind::Deadlock,
            "AIC of block 0, S insn 0 wait_flag_dev waits for cross-core flag 5, \
             set in mode 2 only by AIV0 of block 0, MTE3 insn 0 ffts_cross_core_sync",
        );
    }
    let one = Device::new().run(KernelType::MixAic1Aiv1, 1, || {
        if is_aic()? {
            cross_wait(5)
        } else {
            cross_set(Mte3, 2, 5)
        }
    });
    assert!(one.is_ok(), "{one:?}");
}

#[test]
fn mode_1_joins_the_two_aivs() {
    for device in orders() {
        let gm = device.memory.alloc(128).unwrap();
        let exchange = move |with_wait: bool| {
            device.run(MIX, 1, move || {
                if is_aic()? {
                    return Ok(());
                }
                let me = special(Special::SubBlockId)?;
                run_on(Mte3, NONE, (gm + 64 * me, 64))?;
                cross_set(Mte3, 1, 0)?;
                if with_wait {
                    cross_wait(0)?;
                }
                run_on(Mte2, (gm + 64 * (1 - me), 64), ub(0, 64))?;
                if with_wait {
                    Ok(())
                } else {
                    cross_wait(0)
                }
            })
        };
        let ordered = exchange(true);
        assert!(ordered.is_ok(), "{ordered:?}");
        assert_fault(exchange(false), FaultKind::Race, "no cross-core flag orders them");
    }
}

#[test]
fn a_counter_takes_fifteen_pending_sets() {
    for device in orders() {
        let fill = |count: u64| {
            device.run(KernelType::MixAic1Aiv1, 1, move || {
                if is_aic()? {
                    (0..count).try_for_each(|_| cross_set(Fix, 2, 1))?;
                    cross_set(Fix, 2, 2)
                } else {
                    cross_wait(2)?;
                    (0..count).try_for_each(|_| cross_wait(1))
                }
            })
        };
        assert!(fill(15).is_ok());
        assert_fault(fill(16), FaultKind::CounterOverflow, "cross-core flag 1 of AIV0 has 15 pending sets");
    }
}

#[test]
fn counters_left_over_are_reported() {
    let left = Device::new().run(MIX, 1, || if is_aic()? { cross_set(Fix, 2, 9) } else { Ok(()) });
    assert_fault(
        left,
        FaultKind::LeakedFlag,
        "cross-core flag 9 of AIV0 of block 0: 1 set(s) are never waited for; \
         the first, in mode 2, is AIC of block 0, FIX insn 0",
    );
    let half = Device::new().run(MIX, 1, || {
        let first = !is_aic()? && special(Special::SubBlockId)? == 0;
        if first {
            cross_set(Mte3, 2, 9)?;
        }
        Ok(())
    });
    assert_fault(half, FaultKind::LeakedFlag, "but the other AIV does not");
    let grid = Device::new().run(KernelType::AivOnly, 2, || cross_set(Mte3, 0, 14));
    assert_fault(grid, FaultKind::LeakedFlag, "1 set(s) in mode 0 are never waited for");
}

#[test]
fn modes_need_their_partners() {
    let pair = Device::new().run(KernelType::MixAic1Aiv1, 1, || cross_set(Mte3, 1, 0));
    assert_fault(pair, FaultKind::Operand, "mode 1, which joins the two AIVs of a group");
    let alone = Device::new().aiv(|| cross_set(Mte3, 2, 0));
    assert_fault(alone, FaultKind::Operand, "mode 2, which joins an AIC and its AIVs");
}

/// Every AIV writes its part, all synchronise, every AIV reads its neighbour's part; several rounds.
fn ring(device: &Device, blocks: u32, with_wait: bool) -> Result<LaunchStats, Stop> {
    let gm = device.memory.alloc(64 * u64::from(blocks)).unwrap();
    device.run(KernelType::AivOnly, blocks, move || {
        let me = special(Special::BlockIdx)?;
        let next = (me + 1) % special(Special::BlockNum)?;
        for round in 0..4 {
            run_on(Mte3, NONE, (gm + 64 * me, 64))?;
            cross_set(Mte3, 0, 14)?;
            if with_wait || round > 0 {
                cross_wait(14)?;
            }
            run_on(Mte2, (gm + 64 * next, 64), ub(0, 64))?;
            cross_set(Mte2, 0, 15)?;
            cross_wait(15)?;
        }
        if !with_wait {
            cross_wait(14)?;
        }
        Ok(())
    })
}

#[test]
fn mode_0_orders_all_groups() {
    for threads in [1, 2, 3, 8] {
        for seed in [None, Some(1), Some(2)] {
            let mut device = Device::new();
            (device.config.threads, device.config.seed) = (threads, seed);
            let result = ring(&device, 8, true);
            assert!(result.is_ok(), "{threads} threads, seed {seed:?}: {result:?}");
            let raced = ring(&device, 8, false);
            assert_fault(raced, FaultKind::Race, "no cross-core flag of mode 0 orders them");
        }
    }
}

#[test]
fn mode_0_joins_the_cores_of_one_kind() {
    // SyncAll<false>: AIVs to AIC (mode 2), AICs among each other (mode 0), AIC to AIVs (mode 2).
    for threads in [1, 4] {
        let mut device = Device::new();
        device.config.threads = threads;
        let gm = device.memory.alloc(64 * 8).unwrap();
        let result = device.run(MIX, 4, move || {
            if is_aic()? {
                cross_wait(12)?;
                cross_set(Fix, 0, 11)?;
                cross_wait(11)?;
                return cross_set(Mte3, 2, 13);
            }
            let me = 2 * special(Special::BlockIdx)? + special(Special::SubBlockId)?;
            run_on(Mte3, NONE, (gm + 64 * me, 64))?;
            cross_set(Mte3, 2, 12)?;
            cross_wait(13)?;
            run_on(Mte2, (gm, 64 * 8), ub(0, 64))
        });
        assert!(result.is_ok(), "{threads} threads: {result:?}");
    }
}

#[test]
fn mode_0_that_a_block_leaves_out_is_a_deadlock() {
    for threads in [1, 2, 4] {
        let mut device = Device::new();
        device.config.threads = threads;
        let result = device.run(KernelType::AivOnly, 4, || {
            if special(Special::BlockIdx)? == 2 {
                return Ok(());
            }
            cross_set(Mte3, 0, 6)?;
            cross_wait(6)
        });
        assert_eq!(
            fault(result).detail,
            "no core can go on: AIV0 of block 0, S insn 1 wait_flag_dev waits for cross-core flag 6, \
             set in mode 0 by AIV0 of block 0, MTE3 insn 0 ffts_cross_core_sync but not by all other blocks"
        );
    }
}

#[test]
fn mode_0_needs_all_blocks_resident() {
    let sync_all = || {
        cross_set(Mte3, 0, 14)?;
        cross_wait(14)
    };
    assert!(Device::new().run(KernelType::AivOnly, 48, sync_all).is_ok());
    let result = Device::new().run(KernelType::AivOnly, 49, sync_all);
    assert_fault(result, FaultKind::Deadlock, "all 49 blocks, but at most 48 run at once on Ascend910B2");
    let cubes = Device::new().run(KernelType::AicOnly, 25, sync_all);
    assert_fault(cubes, FaultKind::Deadlock, "all 25 blocks, but at most 24");
    assert!(Device::new().run(KernelType::AivOnly, 100, || sync(Mte2, S)).is_ok(), "without mode 0");
}

#[test]
fn groups_that_write_the_same_bytes_race() {
    for threads in [1, 2, 4] {
        for _ in 0..5 {
            let mut device = Device::new();
            device.config.threads = threads;
            let gm = device.memory.alloc(64).unwrap();
            let result = device.run(KernelType::AivOnly, 2, move || run_on(Mte3, NONE, (gm, 64)));
            assert_eq!(
                fault(result).detail,
                "race on bytes 0x0..0x40 of the GM allocation of 64 bytes: \
                 write by AIV0 of block 0, MTE3 insn 0 go_mte3; write by AIV0 of block 1, MTE3 insn 0 go_mte3; \
                 no cross-core flag of mode 0 orders them"
            );
        }
    }
}
