//! Small kernels, their numbers by hand.

use super::*;
use crate::testing::{kernel, PLAIN};

/// Runs a block of 32 threads that gets the address of 32 words, and gives the words.
fn words(lines: &[&str]) -> Result<Vec<u32>> {
    let mut all = vec![
        "S2R R0, SR_TID.X",
        "MOV R2, c[0x0][0x160]",
        "MOV R3, c[0x0][0x164]",
        "LEA R2, P0, R0, R2, 0x2",
        "IADD3.X R3, R3, RZ, RZ, P0, !PT",
    ];
    all.extend(lines);
    all.extend(["STG.E.SYS [R2], R1", "EXIT"]);
    let all: Vec<_> = all.into_iter().map(|line| (line, PLAIN)).collect();
    let mut memory = Memory::new();
    let out = memory.upload(&[0; 128]);
    let launch =
        Launch { grid: [1; 3], threads: [32, 1], shared_bytes: 1024, params: out.to_le_bytes().to_vec() };
    kernel(&all, 8).run_block(&mut memory, &launch, [0; 3])?;
    let bytes = memory.read(out, 128).unwrap();
    Ok(bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
}

fn of_lanes(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn integers_and_predicates() {
    let found = words(&["IMAD R1, R0, 0x3, -R0"]).unwrap();
    assert_eq!(found, of_lanes(|n| 2 * n));
    // The third source of LOP3's predicate counts, and so does that of EXIT.
    let odd = ["LOP3.LUT P1, RZ, R0, 0x1, RZ, 0xc0, !PT", "SEL R1, R0, 0x7, P1"];
    assert_eq!(words(&odd).unwrap(), of_lanes(|n| if n % 2 == 1 { n } else { 7 }));
    let ended = [
        "ISETP.GE.AND P1, PT, R0, 0x10, PT",
        "ISETP.GE.AND P2, PT, R0, 0x14, PT",
        "MOV R1, 0x9",
        "@P1 EXIT P2",
    ];
    assert_eq!(words(&ended).unwrap(), of_lanes(|n| if n >= 20 { 0 } else { 9 }));
    let minus = ["IADD3 R4, P1, R0, -0x10, RZ", "SEL R1, 0x1, RZ, P1"];
    assert_eq!(words(&minus).unwrap(), of_lanes(|n| u32::from(n >= 16)));
}

#[test]
fn lanes_branch_apart_and_meet() {
    let lines = [
        "BSSY B0, `(.L_meet)",
        "ISETP.LT.U32.AND P1, PT, R0, 0x8, PT",
        "@P1 BRA `(.L_small)",
        "MOV R1, 0x64",
        "BRA `(.L_meet)",
        ".L_small:",
        "MOV R1, 0x1",
        ".L_meet:",
        "BSYNC B0",
        "SHFL.BFLY PT, R1, R1, 0x8, 0x1f",
    ];
    // What a lane gets is what the lane eight away has: lanes 8 to 15 get 1.
    assert_eq!(words(&lines).unwrap(), of_lanes(|n| if (8..16).contains(&n) { 1 } else { 100 }));
}

#[test]
fn floats_and_halves() {
    let lines = ["I2F R4, R0", "FFMA R4, R4, 2, -1", "FMNMX R4, R4, 9, PT", "F2I.TRUNC.NTZ R1, R4"];
    let wanted = of_lanes(|n| (2 * n.cast_signed() - 1).min(9).cast_unsigned());
    assert_eq!(words(&lines).unwrap(), wanted);
    let half = ["I2F.U32 R4, R0", "F2F.F16.F32 R1, R4"];
    assert_eq!(words(&half).unwrap()[3], 0x4200);
}

/// a b of a quadpair with a[row][k] = row and b[k][column] = 1: every element of a row is four times the row.
#[test]
fn a_tensor_instruction_puts_rows_where_the_isa_says() {
    let mut lines = vec![
        // Row of a lane: (lane & 3) + 4 (lane >> 4).
        "LOP3.LUT R4, R0, 0x3, RZ, 0xc0, !PT",
        "SHF.R.U32.HI R5, RZ, 0x4, R0",
        "IMAD R4, R5, 0x4, R4",
        "I2F.U32 R4, R4",
        "F2F.F16.F32 R4, R4",
        "PRMT R4, R4, 0x1010, R4",
        "MOV R5, R4",
        "MOV R6, 0x3c003c00",
        "MOV R7, R6",
    ];
    let steps: Vec<String> =
        (0..4).map(|n| format!("HMMA.884.F32.F32.STEP{n} R{}, R4.ROW, R6.COL, RZ", 8 + 2 * n)).collect();
    lines.extend(steps.iter().map(String::as_str));
    // d[2], the first register of step 1: row (lane & 1) + 2 + 4 (lane >> 4).
    lines.push("F2I.TRUNC.NTZ R1, R10");
    assert_eq!(words(&lines).unwrap(), of_lanes(|n| 4 * ((n & 1) + 2 + 4 * (n >> 4))));
}

#[test]
fn what_is_wrong_is_said() {
    let text = |lines: &[&str]| words(lines).unwrap_err().to_string();
    // Of 1024 bytes of shared memory.
    for line in ["LDS.U R1, [0x400]", "STS [0x400], R1", "ATOMS.MAX RZ, [0x400], R1"] {
        assert_eq!(text(&[line]), format!("at 0x50: {line}: 4 bytes at 0x400 of a space of 0x400"));
    }
    assert!(text(&["LDG.E.SYS R1, [RZ]"]).contains("LDG.E.SYS R1, [RZ]: 4 bytes at"));
    assert_eq!(text(&["DADD R4, R4, R4"]), "at 0x50: DADD R4, R4, R4: the interpreter lacks this form");
    let much = Launch { grid: [1; 3], threads: [32, 1], shared_bytes: u32::MAX, params: Vec::new() };
    let error = kernel(&[("EXIT", PLAIN)], 0).run_block(&mut Memory::new(), &much, [0; 3]).unwrap_err();
    assert!(
        error.to_string().contains("4294967295 bytes of shared memory a block, at most 98304"),
        "{error}"
    );
    // An instruction that no lane takes may be any.
    assert!(words(&["MOV R1, RZ", "@!PT DADD R4, R4, R4"]).is_ok());
}
