//! Flags inside a core: pairing, misuse, deadlock.

use super::*;

use Pipe::{Mte1, Mte2, Mte3, M, S, V};

#[test]
fn a_wait_issued_before_its_set_goes_on_when_the_set_comes() {
    for device in orders() {
        let out = device.memory.alloc(32).unwrap();
        let result = device.aiv(move || {
            wait(Mte2, V, 3)?;
            run_on(V, ub(0, 32), ub(32, 32))?;
            set(V, Mte3, 0)?;
            wait(V, Mte3, 0)?;
            run_on(Mte3, ub(32, 32), (out, 32))?;
            run_on(Mte2, NONE, ub(0, 32))?;
            set(Mte2, V, 3)
        });
        assert!(result.is_ok(), "{result:?}");
        // MTE2 writes 1s; V writes 32 * 3 + 1 = 97; MTE3 writes 32 * 97 * 3 + 1 modulo 256.
        assert_eq!(device.bytes(out, 32), [(32u32 * 97 * 3 + 1) as u8; 32]);
    }
}

#[test]
fn setting_a_flag_again_is_legal_once_its_wait_is_issued() {
    for device in orders() {
        let reuse = device.aiv(|| {
            for _ in 0..100 {
                run_on(Mte2, NONE, ub(0, 32))?;
                set(Mte2, V, 0)?;
                wait(Mte2, V, 0)?;
                run_on(V, ub(0, 32), NONE)?;
                set(V, Mte2, 0)?;
                wait(V, Mte2, 0)?;
            }
            Ok(())
        });
        assert!(reuse.is_ok(), "{reuse:?}");
        let twice = device.aiv(|| {
            set(Mte2, V, 1)?;
            set(Mte2, V, 2)?;
            set(Mte2, V, 1)?;
            wait(Mte2, V, 1)
        });
        assert_fault(twice, FaultKind::FlagSetTwice, "MTE2_V event 1 is set again; insn 0 set it");
    }
}

#[test]
fn a_flag_left_set_is_reported_with_its_set() {
    for device in orders() {
        let leaked = device.aiv(|| {
            sync(Mte2, V)?;
            set(V, Mte3, 7)
        });
        assert_eq!(
            fault(leaked).to_string(),
            "Fault: LeakedFlag: V_MTE3 event 7 is still set when the kernel ends; \
             AIV0 of block 0, V insn 2 set_flag"
        );
    }
}

#[test]
fn a_wait_that_nothing_ends_is_a_deadlock_that_says_who_waits_for_what() {
    for device in orders() {
        let scalar = device.aiv(|| {
            wait(V, Mte3, 4)?;
            wait(Mte2, S, 2)
        });
        assert_eq!(
            fault(scalar).detail,
            "no core can go on: AIV0 of block 0, S insn 1 wait_flag waits for flag MTE2_S event 2; \
             AIV0 of block 0, MTE3 insn 0 wait_flag waits for flag V_MTE3 event 4"
        );
        let pipe = device.aic(|| wait(Mte1, M, 0));
        assert_fault(pipe, FaultKind::Deadlock, "M insn 0 wait_flag waits for flag MTE1_M event 0");
        let all = device.aiv(|| {
            wait(V, Mte3, 4)?;
            barrier_all()
        });
        assert_fault(all, FaultKind::Deadlock, "S insn 1 pipe_barrier waits for all pipes to finish");
    }
}

#[test]
fn unit_flags_keep_fix_behind_m_and_m_behind_fix() {
    for device in orders() {
        let out = device.memory.alloc(20).unwrap();
        let result = device.aic(move || {
            // M waits for a flag that comes late, so that FIX could overtake it in the default order too.
            wait(Mte2, M, 0)?;
            issue("go_m", &[0, 0, l0c(0, 0).0, 64, 2])?;
            for i in 0..10 {
                let whole = l0c(0, 64);
                issue("go_m", &[whole.0, whole.1, whole.0, whole.1, 2, 3])?;
                issue("go_fix", &[whole.0, whole.1, out + i, 1, 2, 3])?;
            }
            set(Mte2, M, 0)
        });
        assert!(result.is_ok(), "{result:?}");
        let step = |value: u8| value.wrapping_mul(192).wrapping_add(1);
        let want: Vec<u8> =
            std::iter::successors(Some(1), |v| Some(step(*v))).skip(1).take(10).map(step).collect();
        assert_eq!(device.bytes(out, 10), want);
    }
}

#[test]
fn a_full_queue_blocks_the_scalar_unit() {
    for device in orders() {
        // The set stands behind the 33rd instruction of a blocked queue: the scalar unit never reaches it.
        let fill = |count: u64| {
            device.aiv(move || {
                wait(Mte2, V, 0)?;
                (0..count).try_for_each(|_| run_on(V, NONE, NONE))?;
                set(Mte2, V, 0)
            })
        };
        assert!(fill(31).is_ok());
        assert_fault(fill(32), FaultKind::Deadlock, "S insn 32 go_v waits for room in the queue of V");
    }
}

#[test]
fn operands_of_flags_are_checked() {
    let cases: [(&'static str, &'static [u64], FaultKind, &str); 10] = [
        ("set_flag", &[4, 1, 8], FaultKind::Operand, "event = 8 of MTE2_V; events are 0 to 7"),
        ("wait_flag", &[1, 1, 0], FaultKind::Operand, "tpipe = V is the pipe that sets the flag"),
        ("set_flag", &[7, 1, 0], FaultKind::Operand, "pipe = 7"),
        ("set_flag", &[2, 1, 0], FaultKind::NoSuchPath, "pipe names pipe M, which an AIV does not have"),
        ("wait_flag", &[1, 10, 0], FaultKind::NoSuchPath, "tpipe names pipe FIX"),
        ("pipe_barrier", &[0], FaultKind::Operand, "pipe = S"),
        ("pipe_barrier", &[3], FaultKind::NoSuchPath, "pipe names pipe MTE1"),
        ("ffts_cross_core_sync", &[5, 0x31], FaultKind::Operand, "mode 3; modes are 0, 1 and 2"),
        ("ffts_cross_core_sync", &[5, 0x1001], FaultKind::Operand, "flag id = 16"),
        ("wait_flag_dev", &[16], FaultKind::Operand, "flag_id = 16; cross-core flags are 0 to 15"),
    ];
    for (name, operands, kind, text) in cases {
        assert_fault(Device::new().aiv(move || issue(name, operands)), kind, text);
    }
    assert_fault(
        Device::new().aiv(|| issue("ffts_cross_core_sync", &[0, 1])),
        FaultKind::Operand,
        "pipe = S",
    );
    assert_fault(
        Device::new().aiv(|| issue("ffts_cross_core_sync", &[5, 0x20])),
        FaultKind::Operand,
        "in bits 0..4, which must hold 1",
    );
}

#[test]
fn a_core_has_only_its_own_pipes_and_memories() {
    let v_on_aic = Device::new().aic(|| run_on(V, NONE, NONE));
    assert_fault(
        v_on_aic,
        FaultKind::NoSuchPath,
        "pipe V, which an AIC does not have; AIC of block 0, V insn 0",
    );
    for pipe in [M, Mte1, Pipe::Fix] {
        assert_fault(Device::new().aiv(move || run_on(pipe, NONE, NONE)), FaultKind::NoSuchPath, "an AIV");
    }
    let l1_on_aiv = Device::new().aiv(|| run_on(Mte2, NONE, l1(0, 32)));
    assert_fault(l1_on_aiv, FaultKind::NoSuchPath, "L1, which this core does not have");
    let ub_on_aic = Device::new().aic(|| load(ub(0, 0).0, 4).map(|_| ()));
    assert_fault(
        ub_on_aic,
        FaultKind::NoSuchPath,
        "address lies in UB; the scalar unit of this core reaches GM",
    );
    let l1_by_scalar = Device::new().aic(|| store(l1(0, 0).0, 4, 0));
    assert_fault(l1_by_scalar, FaultKind::NoSuchPath, "address lies in L1");
}

#[test]
fn scalar_accesses_are_checked() {
    let aiv = |at: u64, bytes| Device::new().aiv(move || store(at, bytes, 0));
    assert!(aiv(ub(0, 0).0, 8).is_ok());
    assert_fault(aiv(ub(2, 0).0, 4), FaultKind::Misaligned, "not a multiple of 4");
    assert_fault(aiv(ub(0, 0).0, 3), FaultKind::Operand, "3 bytes");
    assert_fault(aiv(ub(192 << 10, 0).0, 1), FaultKind::OutOfBounds, "UB");
    assert_fault(aiv(ub((192 << 10) - 256, 0).0, 1), FaultKind::Reserved, "the last 256 bytes");
    assert_fault(aiv(64, 8), FaultKind::OutOfBounds, "nothing is allocated");
    let device = Device::new();
    let gm = device.memory.alloc(16).unwrap();
    let result = device.aiv(move || {
        store(gm + 8, 8, 0x1122_3344_5566_7788)?;
        assert_eq!(load(gm + 10, 2)?, 0x5566);
        assert_eq!(load(gm + 15, 1)?, 0x11);
        load(gm, 8).map(|_| ())
    });
    assert_fault(result, FaultKind::Uninitialised, "byte 0x0 of GM");
}
