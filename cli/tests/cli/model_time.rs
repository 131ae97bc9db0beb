//! `fastattention trace`, `bench` and `tune`, as a user runs them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use fastattention::attention::{plan, Problem};
use fastattention::tiling::Tuned;
use fastattention::{DType, Soc};
use fastattention_testkit::compare::assert_same_text;
use serde_json::Value;
use tempfile::tempdir;

use super::{fails, fastattention, succeeds, text};

const SHAPE: [&str; 7] = ["trace", "--seqlen-q", "96", "--num-heads", "2", "--mask", "causal"];

fn trace(more: &[&str]) -> Vec<&'static str> {
    SHAPE.into_iter().chain(more.iter().map(|arg| &*String::leak((*arg).to_owned()))).collect()
}

#[test]
fn traces_are_written_plain_and_compressed() {
    let folder = tempdir().unwrap();
    let (plain, packed) = (folder.path().join("t.json"), folder.path().join("t.json.gz"));
    let told = succeeds(&trace(&["-o", text(&plain)]));
    assert!(told.contains(" instructions, "), "{told}");
    succeeds(&trace(&["-o", text(&packed)]));
    let plain = fs::read_to_string(&plain).unwrap();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(fs::File::open(&packed).unwrap()).read_to_string(&mut unpacked).unwrap();
    assert_same_text(&unpacked, &plain, "the same launch gives the same trace");
    let json: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(json["otherData"]["kernel"], "fa_flash_fwd_f16");
    let lines: BTreeSet<_> =
        json["traceEvents"].as_array().unwrap().iter().filter_map(|e| e["tid"].as_str()).collect();
    assert!(lines.contains("CUBE"), "{lines:?}");

    let integers = folder.path().join("i.json");
    succeeds(&trace(&["-o", text(&integers), "--integer-ids", "--groups", "0"]));
    let json: Value = serde_json::from_str(&fs::read_to_string(&integers).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    assert!(events.iter().all(|e| e["pid"].is_u64() && e["tid"].is_u64()));
    let names: BTreeSet<_> = events.iter().filter_map(|e| e["args"]["name"].as_str()).collect();
    assert!(names.contains("core0.cubecore0"), "{names:?}");
}

#[test]
fn summaries_are_printed_for_people_and_as_json() {
    let table = succeeds(&trace(&["--summary"]));
    assert!(table.contains("critical path") && table.contains("model time"), "{table}");
    let json: Value = serde_json::from_str(&succeeds(&trace(&["--json"]))).unwrap();
    assert_eq!(json[0]["kernel"], "fa_flash_fwd_f16");
    let path = json[0]["critical_path"].as_array().unwrap();
    assert!(path.len() > 3, "{path:?}");
    let cold: Value = serde_json::from_str(&succeeds(&trace(&["--json", "--cold"]))).unwrap();
    assert_eq!(json[0]["hbm_read_bytes"], 0);
    assert_ne!(cold[0]["hbm_read_bytes"].as_u64().unwrap(), 0);
}

#[test]
fn wrong_traces_are_refused_and_leave_no_file() {
    assert!(fails(&trace(&[])).contains("none of --output, --summary and --json given"));
    let folder = tempdir().unwrap();
    let file = folder.path().join("t.json");
    let message = fails(&trace(&["-o", text(&file), "--groups", "99"]));
    assert!(message.contains("the launch has no core 99"), "{message}");
    let message =
        fails(&["trace", "--seqlen-q", "8", "--num-heads", "1", "--head-dim", "24", "-o", text(&file)]);
    assert!(message.contains("head_dim = 24"), "{message}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn benches_write_a_table_and_csv() {
    let folder = tempdir().unwrap();
    let csv = folder.path().join("b.csv");
    let table = succeeds(&[
        "bench",
        "--seqlen-q",
        "64,128",
        "--num-heads",
        "2",
        "--head-dim",
        "64",
        "--mask",
        "none,window:16,0",
        "--csv",
        text(&csv),
    ]);
    assert!(table.starts_with("model time, not measured; op flash_fwd, soc Ascend910B2"), "{table}");
    assert_eq!(table.lines().count(), 2 + 4, "{table}");
    let mut reader = csv::Reader::from_path(&csv).unwrap();
    let header = reader.headers().unwrap().clone();
    let at =
        |name: &str| header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name}: {header:?}"));
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let number = |name: &str| row[at(name)].parse::<f64>().unwrap_or_else(|_| panic!("{name}: {row:?}"));
        assert!(number("model_task_us") > number("model_core_us"), "{row:?}");
        // Outside its slowest core a task has 3.5 us, and the start of that core: at most 2.3 us behind the
        // first (cann.toml). 0.005 is the rounding of each.
        let outside = number("model_task_us") - number("model_core_us");
        assert!((3.489..5.811).contains(&outside), "{row:?}");
        assert!(number("aic_m_busy_percent") > 0.0 && number("aic_m_busy_percent") < 100.0, "{row:?}");
        assert_eq!(number("l2_hit_percent"), 100.0, "the warm-up has filled L2: {row:?}");
        if &row[at("mask")] == "none" {
            let flops = 4.0 * number("seqlen_q") * number("seqlen_k") * 64.0 * 2.0;
            let tflops = flops / number("model_core_us") / 1e6;
            assert!((tflops - number("tflops")).abs() < 0.06, "{tflops}: {row:?}");
        }
    }
}

#[test]
fn every_operator_has_a_bench_and_refuses_what_it_has_no_use_for() {
    let shape = ["--seqlen-q", "128", "--num-heads", "2", "--mask"];
    let bench = |op: &[&str], mask: &str| {
        let args: Vec<_> = ["bench", "--op"].iter().chain(op).chain(&shape).copied().chain([mask]).collect();
        fastattention(&args)
    };
    let output = bench(&["flash_fwd,standard,matmul,merge,copy,read-mask"], "none");
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().count(), 2 + 6, "{table}{}", String::from_utf8_lossy(&output.stderr));
    // Both ways to list masks, and both in one.
    let output = bench(&["standard"], "none,causal");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2 + 2);
    assert!(bench(&["standard"], "causal").status.success());
    let output = bench(&["matmul"], "causal");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: matmul: mask = causal given, none wanted: this operator has no mask\n"
    );
}

#[test]
fn options_that_an_operator_has_no_use_for_are_refused() {
    for (kernel, options, text) in [
        ("matmul", "--score-dtype f16", "score_dtype = f16 given, none wanted: this operator has no scores"),
        ("copy", "--softmax-scale 1", "softmax_scale = 1 given, none wanted: this operator has no scores"),
        ("matmul", "--layout bnsd", "layout = bnsd given, bsnd wanted: this operator has no other layout"),
        ("copy", "--head-dim-v 64", "head_dim_v = 64 given, none wanted: this operator has neither k nor v"),
        (
            "read-mask",
            "--num-heads-k 1",
            "num_heads_k = 1 given, none wanted: this operator has neither k nor v",
        ),
        ("read-mask", "--dtype bf16", "dtype = bf16 given, none wanted: elements of a mask are bytes"),
        (
            "read-mask",
            "--head-dim 64 --head-dim-v 64",
            "head_dim = 64 given, none wanted: a mask has no head_dim",
        ),
    ] {
        let start = ["trace", "--summary", "--seqlen-q", "64", "--num-heads", "2", "--kernel", kernel];
        let message = fails(&start.into_iter().chain(options.split(' ')).collect::<Vec<_>>());
        assert_eq!(message, format!("{kernel}: {text}"));
    }
}

/// The softmax reads scores once: of f32 they are twice the bytes.
#[test]
fn unfused_attention_has_the_scores_that_were_asked_for() {
    let folder = tempdir().unwrap();
    let csv = folder.path().join("b.csv");
    let bytes = |options: &[&str]| -> Vec<(String, u64)> {
        let shape = ["bench", "--op", "standard", "--seqlen-q", "128", "--num-heads", "2", "--mask", "none"];
        succeeds(&[&shape[..], &["--csv", text(&csv)], options].concat());
        let mut reader = csv::Reader::from_path(&csv).unwrap();
        let header = reader.headers().unwrap().clone();
        let at = |name: &str| header.iter().position(|h| h == name).unwrap();
        let (scores, bytes) = (at("score_dtype"), at("gm_bytes"));
        reader
            .records()
            .map(|row| row.unwrap())
            .map(|row| (row[scores].to_owned(), row[bytes].parse().unwrap()))
            .collect()
    };
    let both = bytes(&["--score-dtype", "f32,f16"]);
    let [(single, of_f32), (half, of_f16)] = &both[..] else { panic!("{both:?}") };
    assert_eq!((single.as_str(), half.as_str()), ("f32", "f16"));
    // 2 heads of 128 x 128 scores, written by one kernel and read by the next.
    assert_eq!(of_f32 - of_f16, 2 * 2 * 128 * 128 * 2);
    assert_eq!(bytes(&[]), [("f16".to_owned(), *of_f16)], "the operands' type where none is given");
    assert_eq!(bytes(&["--dtype", "bf16"])[0].0, "bf16");
    let fused = succeeds(&["bench", "--seqlen-q", "128", "--num-heads", "2", "--mask", "none"]);
    assert!(fused.contains("score_dtype f32"), "{fused}");
    let trace: Value = serde_json::from_str(&succeeds(&[
        "trace",
        "--json",
        "--kernel",
        "standard",
        "--seqlen-q",
        "128",
        "--num-heads",
        "2",
        "--score-dtype",
        "f32",
    ]))
    .unwrap();
    assert_eq!(trace[1]["kernel"], "fa_softmax_f16_f32");
}

#[test]
fn what_was_finished_is_kept_when_another_case_fails() {
    let folder = tempdir().unwrap();
    let csv = folder.path().join("b.csv");
    let shape = ["bench", "--num-heads", "2", "--head-dim", "64", "--mask", "none", "--csv", text(&csv)];
    let output = fastattention(&[&shape[..], &["--seqlen-q", "64,4294967295,128"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let (table, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(table.lines().count(), 2 + 2, "{table}");
    assert!(
        stderr.starts_with(
            "error: 1 of 3 cases failed\nflash_fwd on Ascend910B2: f16 q [1, 4294967295, 2, 64]"
        ),
        "{stderr}"
    );
    assert!(stderr.contains("seqlen_q = 4294967295 is more than 2147483647"), "{stderr}");
    let rows = csv::Reader::from_path(&csv).unwrap().records().count();
    assert_eq!(rows, 2);

    // Nothing at all leaves nothing.
    fs::remove_file(&csv).unwrap();
    let message = fails(&[&shape[..], &["--seqlen-q", "4294967295"]].concat());
    assert!(message.starts_with("1 of 1 cases failed\n"), "{message}");
    assert!(!csv.exists());
}

#[test]
fn tune_writes_what_plan_reads() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let dir = tempdir().unwrap();
    let file = dir.path().join("tuned.toml");
    let path = text(&file);
    let shape = ["--num-heads", "1", "--head-dim", "64"];
    let tune = ["tune", "--seqlen-q", "128,300", "--candidates", "3", "--output", path];
    let printed = succeeds(&[&tune[..], &shape].concat());
    assert!(printed.contains("seqlen_q 128") && printed.contains("seqlen_q 300"), "{printed}");
    let tuned = Tuned::from_toml(&fs::read_to_string(&file).unwrap(), soc).unwrap();
    let problem = |seqlen| Problem::new(DType::F16, [1, seqlen, 1, 64]);
    let shape_of = |seqlen| *plan(&problem(seqlen), soc).unwrap().shape();
    for seqlen in [128, 300] {
        let results = tuned.results(&shape_of(seqlen));
        assert_eq!(results.len(), 3, "losers are kept, too");
        assert!(results.is_sorted_by(|a, b| a.model_us <= b.model_us), "{results:?}");
    }
    let chosen = tuned.results(&shape_of(300))[0].candidate.to_string();
    let plan = succeeds(&[&["plan", "--seqlen-q", "300", "--tuned", path][..], &shape].concat());
    assert!(plan.contains(&chosen) && plan.contains("from tuning results"), "{plan}");
}
