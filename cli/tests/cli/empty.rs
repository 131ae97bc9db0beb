//! Problems without rows, keys or batch on the command line: they run, as in the API.

use std::fs;

use fastattention_testkit::compare::assert_all;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;
use serde_json::{json, Value};
use tempfile::tempdir;

use super::{succeeds, text};

fn answers(line: &str, more: &[&str]) -> String {
    succeeds(&line.split_whitespace().chain(more.iter().copied()).collect::<Vec<_>>())
}

/// Sizes of which one is nothing, and whether anything is launched for attention.
const EMPTY: [(&str, bool); 4] = [
    ("--seqlen-q 0", false),
    ("--seqlen-q 0 --seqlen-k 64", false),
    ("--seqlen-q 64 --batch 0", false),
    ("--seqlen-q 64 --seqlen-k 0", true),
];

#[test]
fn traces_and_summaries_of_nothing_say_so() {
    let folder = tempdir().unwrap();
    for (shape, is_launched) in EMPTY {
        for mask in ["none", "causal"] {
            let line = format!("trace --num-heads 2 --head-dim 64 --mask {mask} {shape}");
            let summary = answers(&line, &["--summary"]);
            assert_eq!(summary == "no launch: the problem has no rows\n", !is_launched, "{line}: {summary}");
            let json: Value = serde_json::from_str(&answers(&line, &["--json"])).unwrap();
            assert_eq!(json == json!([]), !is_launched, "{line}");
            for name in ["t.json", "t.json.gz"] {
                let file = folder.path().join(name);
                let told = answers(&line, &["-o", text(&file)]);
                assert_eq!(told.contains(": 0 instructions, 0 arrows"), !is_launched, "{line}: {told}");
                let mut json = fs::read(&file).unwrap();
                if name.ends_with("gz") {
                    json.clear();
                    let packed = fs::File::open(&file).unwrap();
                    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut json).unwrap();
                }
                let trace: Value = serde_json::from_slice(&json).unwrap();
                assert_eq!(trace["traceEvents"] == json!([]), !is_launched, "{line}");
            }
        }
    }
}

#[test]
fn every_operator_has_a_bench_of_nothing() {
    let folder = tempdir().unwrap();
    let csv = folder.path().join("b.csv");
    for (op, shape) in [
        (
            "flash_fwd,standard",
            "--head-dim 64 --seqlen-q 0,64 --seqlen-k 0,64 --batch 0,1 --mask none,causal",
        ),
        ("matmul,copy", "--head-dim 64 --seqlen-q 0,64 --batch 0,1 --mask none"),
        ("read-mask", "--seqlen-q 0,64 --batch 0,1 --mask none"),
        ("read-mask", "--seqlen-q 0,64 --seqlen-k 0,64 --mask none"),
    ] {
        let line = format!("bench --op {op} --num-heads 2 {shape}");
        answers(&line, &["--csv", text(&csv)]);
        let mut reader = csv::Reader::from_path(&csv).unwrap();
        let header = reader.headers().unwrap().clone();
        let at = |name: &str| header.iter().position(|h| h == name).unwrap();
        let mut has_some = false;
        for row in reader.records().map(Result::unwrap) {
            let is_nothing = &row[at("seqlen_q")] == "0" || &row[at("batch")] == "0";
            let (us, tflops) = (&row[at("model_task_us")], &row[at("tflops")]);
            if is_nothing {
                assert_eq!((us, tflops), ("0.00", "0.0"), "{row:?}");
            } else if &row[at("seqlen_k")] != "0" {
                assert_ne!(us, "0.00", "{row:?}");
                has_some = true;
            }
        }
        assert!(has_some, "{line}");
    }
}

#[test]
fn lengths_of_nothing_are_tuned_in_no_time() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("tuned.toml");
    let line = "tune --num-heads 1 --head-dim 64 --candidates 1 --seqlen-q 0,64 -o";
    let told = answers(line, &[text(&file)]);
    assert!(told.starts_with("seqlen_q 0: no rows, so there is no launch to tune\nseqlen_q 64: "), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap().matches("[[shape]]").count(), 1);
    let told = answers(
        "tune --num-heads 1 --head-dim 64 --candidates 1 --seqlen-q 64 --seqlen-k 0 -o",
        &[text(&file)],
    );
    assert!(told.starts_with("seqlen_q 64: model time"), "{told}");
}

#[test]
fn files_without_rows_keys_or_batch_are_run() {
    let folder = tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    for (q, k) in
        [([1, 0, 2, 16], [1, 5, 2, 16]), ([1, 3, 2, 16], [1, 0, 2, 16]), ([0, 3, 2, 16], [0, 5, 2, 16])]
    {
        let ones = |shape: [usize; 4]| f16::ONE.to_le_bytes().repeat(shape.iter().product());
        let (q_bytes, k_bytes) = (ones(q), ones(k));
        let view = |shape: [usize; 4], bytes| TensorView::new(Dtype::F16, shape.to_vec(), bytes).unwrap();
        let tensors = [("q", view(q, &q_bytes)), ("k", view(k, &k_bytes)), ("v", view(k, &k_bytes))];
        fs::write(&input, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let told = answers("run", &["-i", text(&input), "-o", text(&output)]);
        assert!(told.contains(&format!("batch {}, seqlen_q {}, seqlen_k {}", q[0], q[1], k[1])), "{told}");
        let bytes = fs::read(&output).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (o, lse) = (file.tensor("o").unwrap(), file.tensor("lse").unwrap());
        assert_eq!((o.shape(), lse.shape()), (&q[..], &[q[0], q[2], q[1]][..]));
        // Rows that see no key.
        assert_all(o.data(), &0, "o");
        let lse: Vec<f32> = lse.data().chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
        assert_all(&lse, &f32::NEG_INFINITY, "lse");
    }
}
