//! `fastattention plan` and `devices`, and what all commands make of wrong arguments.

use super::{fails, fastattention, succeeds, tool};

#[test]
fn bad_flags_are_refused_with_the_usage() {
    for (args, part) in [
        (&["run", "--input", "a"][..], "--output <OUTPUT>"),
        (
            &["run", "--input", "a", "--output", "b", "--mask", "casual"],
            "mask \"casual\" is not none, causal or window:L,R",
        ),
        (&["run", "--input", "a", "--output", "b", "--softmax-scale", "x"], "--softmax-scale"),
        (&["plan", "--seqlen-q", "-1", "--num-heads", "1", "--head-dim", "64"], "-1"),
        (
            &["plan", "--seqlen-q", "1", "--num-heads", "1", "--head-dim", "64", "--dtype", "f32"],
            "dtype \"f32\" is not f16 or bf16",
        ),
        (&["fly"], "unrecognized subcommand"),
    ] {
        let output = fastattention(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[test]
fn plans_are_printed() {
    let text = succeeds(&[
        "plan",
        "--seqlen-q",
        "4096",
        "--num-heads",
        "32",
        "--num-heads-k",
        "8",
        "--head-dim",
        "128",
        "--mask",
        "window:256,0",
        "--dtype",
        "bf16",
        "--soc",
        "Ascend910B4",
    ]);
    for part in [
        "flash_fwd bf16 on Ascend910B4",
        "num_heads 32, num_heads_k 8, head_dim 128, head_dim_v 128, seqlen_q 4096, seqlen_k 4096",
        "mask window(left 256, right 0)",
        "block_m ",
        "block_n ",
        "\nworkspace ",
        "\nwork ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    for memory in ["L1", "L0A", "L0B", "L0C", "UB"] {
        assert!(text.lines().any(|l| l.starts_with(&format!("{memory} "))), "no map of {memory} in\n{text}");
    }
}

#[test]
fn plans_that_cannot_be_made() {
    let message =
        fails(&["plan", "--seqlen-q", "1", "--num-heads", "1", "--head-dim", "65", "--soc", "Ascend910B9"]);
    assert!(
        message.starts_with("SoC \"Ascend910B9\" is not described in cann.toml; known: Ascend910B1"),
        "{message}"
    );
    let message = fails(&["plan", "--seqlen-q", "1", "--num-heads", "1", "--head-dim", "65"]);
    assert!(message.contains("head_dim = 65 is not a multiple of 16"), "{message}");
}

#[test]
fn socs_are_named_in_any_case() {
    for name in ["Ascend910B4", "ascend910b4", "910B4", "910b4"] {
        let text = succeeds(&["plan", "--seqlen-q", "1", "--num-heads", "1", "--soc", name]);
        assert!(text.starts_with("flash_fwd f16 on Ascend910B4\n"), "{text}");
        let text = succeeds(&["layer", "--seqlen", "8", "--soc", name]);
        assert!(text.contains("8 x Ascend910B4"), "{text}");
    }
    let names = "Ascend910B1, Ascend910B2, Ascend910B3, Ascend910B4";
    for line in [
        "plan --seqlen-q 1 --num-heads 1",
        "trace --seqlen-q 1 --num-heads 1 --summary",
        "bench",
        "layer --seqlen 8",
        "tune --seqlen-q 1 --num-heads 1 -o unused",
    ] {
        let args: Vec<&str> = line.split(' ').chain(["--soc", "910B"]).collect();
        assert_eq!(fails(&args), format!("SoC \"910B\" given, one of {names} wanted"), "{line}");
    }
    let output = tool().arg("devices").env("FASTATTENTION_SIM_SOC", "910b4").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("sim:0  simulator of Ascend910B4:"), "{text}");
}

#[test]
fn devices_are_listed_with_the_reason_for_what_is_missing() {
    let text = succeeds(&["devices"]);
    assert!(
        text.starts_with("sim:0  simulator of Ascend910B2: 24 Cube cores, 48 Vector cores, 64 GiB\n"),
        "{text}"
    );
    let npu = text.lines().find(|l| l.starts_with("npu")).unwrap_or_else(|| panic!("{text}"));
    // Without CANN the reason is the library, with CANN and no NPU the count; an NPU has its SoC there.
    let reasons = ["npu    not usable: no ACL library could be loaded", "aclrtGetDeviceCount", ": Ascend"];
    assert!(reasons.iter().any(|reason| npu.contains(reason)), "{text}");
    if npu.contains("no ACL library") {
        assert!(text.contains("libascendcl.so: "), "the paths tried: {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = tool()
        .args(["plan", "--seqlen-q", "64", "--num-heads", "1", "--head-dim", "64"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn plan_explains_its_choice() {
    let text = succeeds(&["plan", "--seqlen-q", "300", "--num-heads", "2", "--head-dim", "64", "--explain"]);
    let (chosen, candidates) = text.split_once("candidates by predicted model time").unwrap();
    let tiles =
        chosen.lines().find(|l| l.starts_with("level 1")).unwrap().trim_start_matches("level 1").trim();
    let best = candidates.lines().nth(1).unwrap();
    assert!(best.ends_with(tiles), "{best} is not {tiles}");
    assert!(candidates.split_once("rejected").unwrap().1.contains("more stages fit the same blocks"));
}
