//! Every command with sizes at the ends of their ranges: a clear error or an answer, within a bound of time
//! and memory, never a panic.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fastattention_testkit::child;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::tempdir;

use super::TOOL;

/// Far from what a loaded machine needs for a refusal.
const LIMIT: Duration = Duration::from_secs(60);

/// Address space of the command, in KiB: far below what the sizes here would ask for.
const ADDRESS_SPACE: &str = "4000000";

/// Runs a program with limited memory, at most so long.
fn limited(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", ADDRESS_SPACE])
        .arg(program)
        .args(args)
        .env_remove("RANK");
    child::run(&mut command, LIMIT)
}

fn fastattention(args: &[&str]) -> Output {
    limited(Path::new(TOOL), args)
}

/// An error with all of `parts`, by a code that is neither a panic's nor a signal's.
fn refuses(args: &[&str], parts: &[&str]) {
    let output = fastattention(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {:?} {stderr}", output.status);
    assert!(stderr.starts_with("error: ") && !stderr.contains("panicked"), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
}

fn answers(args: &[&str]) -> String {
    let output = fastattention(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Words of a command line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Options of a shape, and what is said of them.
const SHAPES: [(&str, &[&str]); 10] = [
    ("--num-heads 1 --seqlen-q 4294967295", &["seqlen_q = 4294967295 is more than 2147483647"]),
    (
        "--num-heads 1 --seqlen-q 1 --seqlen-k 4294967295 --batch 4294967295",
        &["seqlen_k = 4294967295 is more than", "batch * num_heads = 4294967295 * 1 is more than"],
    ),
    ("--num-heads 4294967295 --seqlen-q 1", &["batch * num_heads = 1 * 4294967295 is more than 2147483647"]),
    // Far beyond 64 bits: neither a saturated stride as if it were given, nor overlapping rows.
    (
        "--num-heads 1073741823 --seqlen-q 2147483647 --batch 2 --head-dim 256",
        &["o_stride: batch stride of at least 18446744073709551615 elements; no device memory is that large"],
    ),
    ("--num-heads 8 --seqlen-q 2147483647", &["operands take 17"]),
    ("--num-heads 1 --seqlen-q 1 --head-dim 4294967295", &["head_dim = 4294967295 is not a multiple of 16"]),
    ("--num-heads 1 --seqlen-q 1 --head-dim-v 4294967295", &["head_dim_v = 4294967295 is not"]),
    ("--num-heads 1 --seqlen-q 1 --head-dim 0", &["head_dim = 0 is not a multiple of 16"]),
    ("--num-heads 0 --seqlen-q 1", &["num_heads = 0, wanted at least 1"]),
    ("--num-heads 4 --seqlen-q 1 --num-heads-k 4294967295", &["num_heads_k = 4294967295"]),
];

#[test]
fn shapes_are_refused_before_anything_is_allocated() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("tuned.toml");
    for (shape, parts) in SHAPES {
        for start in [&["plan"][..], &["trace", "--summary"], &["tune", "-o", file.to_str().unwrap()]] {
            refuses(&[start, &words(shape)].concat(), parts);
        }
        assert!(!file.exists(), "{shape}");
    }
}

#[test]
fn a_scale_that_nobody_gave_is_not_complained_of() {
    for head_dim in ["0", "4294967280"] {
        let line = format!("plan --num-heads 1 --seqlen-q 1 --score-dtype f16 --head-dim {head_dim}");
        let output = fastattention(&words(&line));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("head_dim = ") && !stderr.contains("scale"), "{stderr}");
    }
}

#[test]
fn every_operator_of_bench_refuses_products_beyond_its_numbers() {
    for (line, parts) in [
        (
            "--op matmul --seqlen-q 65536 --batch 65536",
            &["matmul: batch * seqlen_q = 65536 * 65536 is more than 4294967295"][..],
        ),
        (
            "--op matmul --seqlen-q 1 --num-heads 4294967295",
            &["matmul: num_heads * head_dim = 4294967295 * 128 is more than 4294967295"],
        ),
        ("--op matmul --seqlen-q 4294967295", &["m = 4294967295 is more than 2147483647"]),
        (
            "--op read-mask --seqlen-q 64 --batch 65536 --num-heads 65537",
            &["read-mask: batch * num_heads = 65536 * 65537 is more than 4294967295"],
        ),
        ("--op read-mask --seqlen-q 4294967295", &["is more than"]),
        (
            "--op copy --seqlen-q 4294967295 --num-heads 4294967295 --batch 4294967295",
            &["copy: f16 [batch, seqlen_q, num_heads, head_dim] = [4294967295, 4294967295, 4294967295, 128]"],
        ),
        ("--op standard --seqlen-q 1 --seqlen-k 4294967295", &["seqlen_k = 4294967295"]),
        ("--op flash_fwd --seqlen-q 4294967295", &["seqlen_q = 4294967295 is more than"]),
        ("--op flash_fwd --seqlen-q 4294967296", &["4294967296 is not in 0..=4294967295"]),
        ("--op flash_fwd --seqlen-q -1", &["invalid value '-1' for '--seqlen-q", "0..=4294967295"]),
    ] {
        refuses(&[&["bench", "--mask", "none"], &words(line)[..]].concat(), parts);
    }
}

#[test]
fn layers_are_refused_before_anything_is_allocated() {
    for (line, parts) in [
        ("--seqlen 1 --batch 4294967295", &["sequences have 4294967295 rows, at most 2147483647 wanted"][..]),
        (
            "--seqlen 4294967295 --batch 4294967295",
            &["sequences have 18446744065119617025 rows, at most 2147483647 wanted"],
        ),
        (
            "--seqlen 8 --ranks 1 --num-heads 4294967295 --head-dim 4294967295",
            &[
                "heads of a rank * head_dim_v = 4294967295 * 4294967295 is more than 4294967295",
                "attention: head_dim = 4294967295 is not a multiple",
            ],
        ),
        ("--seqlen 2147483647", &["attention: operands take", "projection: operands take"]),
        ("--seqlen 8 --hidden 4294967295", &["projection: n = 4294967295 is more than 2147483647"]),
        ("--seqlen 8 --ranks 4294967295", &["num_heads = 40, a multiple of ranks = 4294967295 wanted"]),
        ("--seqlen 8 --ranks 0", &["ranks = 0, wanted at least 1"]),
        (
            "--seqlen 8 --block-rows 4294967295,4294967295",
            &["block_rows with a sum of 8589934590 given, 8 wanted, the rows of all sequences"],
        ),
    ] {
        refuses(&[&["layer"], &words(line)[..]].concat(), parts);
    }
}

#[test]
fn files_with_such_shapes_are_refused() {
    let folder = tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    for (shape, parts) in [
        ([4294967295, 0, 16], &["seqlen_q = 4294967295 is more than", "num_heads = 0, wanted"][..]),
        ([0, 4294967295, 16], &["batch * num_heads = 1 * 4294967295 is more than"]),
        ([0, 1, 4294967295], &["head_dim = 4294967295 is not a multiple of 16"]),
        ([0, 1, 4294967296], &["q has shape [0, 1, 4294967296], wanted at most 4294967295"]),
    ] {
        let tensor = || TensorView::new(Dtype::F16, shape.to_vec(), &[]).unwrap();
        let tensors = ["q", "k", "v"].map(|name| (name, tensor()));
        std::fs::write(&input, safetensors::serialize(tensors, None).unwrap()).unwrap();
        refuses(&["run", "-i", input.to_str().unwrap(), "-o", output.to_str().unwrap()], parts);
        assert!(!output.exists());
    }
}

#[test]
fn numbers_that_an_option_has_no_use_for_are_refused() {
    for (line, parts) in [
        ("trace --seqlen-q 1 --num-heads 1 --summary --max-mb 0", &["invalid value '0' for '--max-mb"][..]),
        (
            "tune --seqlen-q 1 --num-heads 1 -o unused --candidates 0",
            &["invalid value '0' for '--candidates"],
        ),
        ("doctor --report unused --time-limit 0", &["invalid value '0' for '--time-limit"]),
        ("plan --seqlen-q 1 --num-heads 1 --mask window:4294967296,0", &["from 0 to 4294967295 or *"]),
        ("plan --seqlen-q 1 --num-heads 1 --softmax-scale 1e39", &["is beyond f32"]),
        ("plan --seqlen-q 1 --num-heads 1 --softmax-scale 1e-50", &["is 0 in f32"]),
        ("plan --seqlen-q 1 --num-heads 1 --softmax-scale -inf", &["softmax_scale = -inf is not finite"]),
    ] {
        refuses(&words(line), parts);
    }
    for scale in ["-1e-3", "-.5", "-2", "+1", "1e-3"] {
        answers(&["plan", "--seqlen-q", "1", "--num-heads", "1", "--softmax-scale", scale]);
    }
}

/// Rows, keys and batch of 0 are problems as others, as they are in the API.
#[test]
fn plans_of_nothing_are_plans() {
    let shape = |q: &str, k: &str, batch: &str| {
        format!("plan --num-heads 2 --head-dim 64 --seqlen-q {q} --seqlen-k {k} --batch {batch}")
    };
    for (line, part) in [
        (shape("0", "0", "1"), "0 items"),
        (shape("0", "64", "1"), "0 items"),
        (shape("64", "64", "0"), "0 items"),
        (shape("64", "0", "1"), "seqlen_k 0"),
    ] {
        let text = answers(&words(&line));
        assert!(text.contains(part), "{line}: {text}");
    }
    for line in ["layer --seqlen 0", "layer --seqlen 8 --batch 0", "layer --seqlen 0 --ranks 2 --simulate"] {
        let text = answers(&words(line));
        assert!(text.contains(" 0 rows") && text.contains("predicted model time 0.0 us"), "{line}: {text}");
    }
}

#[test]
fn a_bad_length_loses_no_other() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("tuned.toml");
    let line = "tune --num-heads 1 --head-dim 64 --candidates 1 --seqlen-q 4294967295,64,4294967294 -o";
    let output = fastattention(&[&words(line)[..], &[file.to_str().unwrap()]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in [
        "error: 2 of 3 lengths failed\nseqlen_q 4294967295: attention on Ascend910B2: seqlen_q = 4294967295 is more than",
        "\nseqlen_q 4294967294: ",
    ] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("seqlen_q 64: "), "{told}");
    let tuned = std::fs::read_to_string(&file).unwrap();
    assert!(tuned.contains("seqlen_q = 64"), "{tuned}");
}
