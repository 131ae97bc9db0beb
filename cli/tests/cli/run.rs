//! `fastattention run`: files in and out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastattention_testkit::compare::assert_same;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;
use tempfile::TempDir;

use super::{fails, succeeds, TOOL};

/// A name, element type, shape, and elements as little-endian bytes.
type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn zeros(name: &'static str, dtype: Dtype, shape: &[usize]) -> Tensor {
    let bytes =
        shape.iter().product::<usize>() * if dtype == Dtype::F32 || dtype == Dtype::I32 { 4 } else { 2 };
    (name, dtype, shape.to_vec(), vec![0; bytes])
}

fn write(path: &Path, tensors: &[Tensor]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn smollm2() -> String {
    format!("{}/../tests/data/smollm2_l00_s512.safetensors", env!("CARGO_MANIFEST_DIR"))
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn f16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
}

fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
}

fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "{name}[{i}]: got {g}, want {w}, tolerance {tolerance}");
    }
}

/// A directory with an input; `run` and `refused` name its files.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(tensors: &[Tensor]) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        write(&bench.path("in.safetensors"), tensors);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn run(&self, options: &[&str]) -> (String, Vec<u8>) {
        let (input, output) = (self.arg("in.safetensors"), self.arg("out.safetensors"));
        let line = succeeds(&[&["run", "--input", &input, "--output", &output], options].concat());
        assert_eq!(self.files(), ["in.safetensors", "out.safetensors"]);
        (line, fs::read(output).unwrap())
    }

    /// The message of a run that leaves nothing behind, without the input's path.
    fn refused(&self, options: &[&str]) -> String {
        let (input, output) = (self.arg("in.safetensors"), self.arg("out.safetensors"));
        let message = fails(&[&["run", "--input", &input, "--output", &output], options].concat());
        assert_eq!(self.files(), ["in.safetensors"], "{message}");
        message.replace(&format!("input {input}: "), "")
    }
}

fn refused(tensors: &[Tensor]) -> String {
    Bench::new(tensors).refused(&[])
}

const Q: &[usize] = &[4, 2, 16];

fn qkv(q: &[usize], k: &[usize], v: &[usize]) -> [Tensor; 3] {
    [zeros("q", Dtype::F16, q), zeros("k", Dtype::F16, k), zeros("v", Dtype::F16, v)]
}

#[test]
fn real_data_agrees_with_f64() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.safetensors");
    let line =
        succeeds(&["run", "--input", &smollm2(), "--output", output.to_str().unwrap(), "--mask", "causal"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in [
        "sim:0 (Ascend910B2)",
        "f16 as bsnd, batch 1, seqlen_q 512, seqlen_k 512, num_heads 9, num_heads_k 3, head_dim 64, head_dim_v 64, mask causal",
        "softmax_scale 0.125, scores f32",
        "block_m ",
        "block_n ",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert!(line.contains("host time of the simulation, not of a device"), "{line}");

    let (input, output) = (fs::read(smollm2()).unwrap(), fs::read(output).unwrap());
    let (input, output) =
        (SafeTensors::deserialize(&input).unwrap(), SafeTensors::deserialize(&output).unwrap());
    let (o, lse) = (output.tensor("o").unwrap(), output.tensor("lse").unwrap());
    assert_eq!((o.dtype(), o.shape()), (Dtype::F16, &[512, 9, 64][..]));
    assert_eq!((lse.dtype(), lse.shape()), (Dtype::F32, &[9, 512][..]));
    assert_close("o", &f16s(o.data()), &f32s(input.tensor("o_causal").unwrap().data()), 2e-3);
    assert_close("lse", &f32s(lse.data()), &f32s(input.tensor("lse_causal").unwrap().data()), 1e-4);
}

/// Keys of zero: every visible key has the same weight, so that o is a mean and lse a logarithm of a count.
#[test]
fn batches_of_bf16_with_a_longer_v_and_a_window() {
    let v: Vec<bf16> = (0..2 * 3 * 32).map(|i| bf16::from_f32((i / 32) as f32)).collect();
    let bytes = v.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bench = Bench::new(&[
        zeros("q", Dtype::BF16, &[2, 3, 2, 16]),
        zeros("k", Dtype::BF16, &[2, 3, 1, 16]),
        ("v", Dtype::BF16, vec![2, 3, 1, 32], bytes),
    ]);
    let (line, output) = bench.run(&["--mask", "window:1,0", "--softmax-scale", "-0.5", "--device", "sim:0"]);
    assert!(
        line.contains("bf16 as bsnd, batch 2, seqlen_q 3, seqlen_k 3, num_heads 2, num_heads_k 1, head_dim 16, head_dim_v 32"),
        "{line}"
    );
    assert!(line.contains("mask window(left 1, right 0), softmax_scale -0.5,"), "{line}");
    let output = SafeTensors::deserialize(&output).unwrap();
    let (o, lse) = (output.tensor("o").unwrap(), output.tensor("lse").unwrap());
    assert_eq!((o.dtype(), o.shape()), (Dtype::BF16, &[2, 3, 2, 32][..]));
    assert_eq!((lse.dtype(), lse.shape()), (Dtype::F32, &[2, 2, 3][..]));
    // Values of a batch are b, b + 1, b + 2; a row sees its own and the one before.
    let rows = [0.0, 0.5, 1.5, 3.0, 3.5, 4.5];
    let want: Vec<f32> = rows.iter().flat_map(|&x| [x; 2 * 32]).collect();
    assert_close("o", &bf16s(o.data()), &want, 0.0);
    let ln2 = std::f32::consts::LN_2;
    assert_close("lse", &f32s(lse.data()), &[0.0, ln2, ln2].repeat(4), 1e-6);
}

#[test]
fn the_scale_is_used() {
    let ones =
        |name, seqlen: usize| (name, Dtype::F16, vec![seqlen, 1, 16], [0x00, 0x3C].repeat(16 * seqlen));
    let bench = Bench::new(&[ones("q", 1), ones("k", 2), ones("v", 2)]);
    let lse = |options: &[&str]| {
        let (_, output) = bench.run(options);
        let output = SafeTensors::deserialize(&output).unwrap();
        let lse = f32s(output.tensor("lse").unwrap().data());
        fs::remove_file(bench.path("out.safetensors")).unwrap();
        lse
    };
    // Scores of 16 * scale; by default the scale is 1/4.
    let ln2 = std::f32::consts::LN_2;
    assert_close("default", &lse(&[]), &[4.0 + ln2], 1e-5);
    assert_close("0.125", &lse(&["--softmax-scale", "0.125"]), &[2.0 + ln2], 1e-5);
    assert_close("-1", &lse(&["--softmax-scale", "-1"]), &[-16.0 + ln2], 1e-5);
    assert_close("-1.25e-1", &lse(&["--softmax-scale", "-1.25e-1"]), &[-2.0 + ln2], 1e-5);
    assert_close("-.5", &lse(&["--softmax-scale=-.5"]), &[-8.0 + ln2], 1e-5);
}

/// `[seqlen, heads, dim]` elements, taken to `[heads, seqlen, dim]`.
fn heads_first(elements: &[u8], [seqlen, heads, dim]: [usize; 3]) -> Vec<u8> {
    let row = 2 * dim;
    let rows = (0..heads).flat_map(|h| (0..seqlen).map(move |s| s * heads + h));
    rows.flat_map(|at| elements[at * row..(at + 1) * row].iter().copied()).collect()
}

#[test]
fn a_file_with_heads_first_is_read_and_written_in_that_order() {
    let file = fs::read(smollm2()).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let dims = |name: &str| <[usize; 3]>::try_from(file.tensor(name).unwrap().shape()).unwrap();
    let tensors = ["q", "k", "v"].map(|name| {
        let [seqlen, heads, dim] = dims(name);
        let bytes = heads_first(file.tensor(name).unwrap().data(), [seqlen, heads, dim]);
        (name, Dtype::F16, vec![heads, seqlen, dim], bytes)
    });
    let bench = Bench::new(&tensors);
    let (line, bnsd) = bench.run(&["--mask", "causal", "--layout", "bnsd"]);
    assert!(line.contains("f16 as bnsd, batch 1, seqlen_q 512, seqlen_k 512, num_heads 9,"), "{line}");
    let bnsd = SafeTensors::deserialize(&bnsd).unwrap();
    let (o, lse) = (bnsd.tensor("o").unwrap(), bnsd.tensor("lse").unwrap());
    assert_eq!((o.shape(), lse.shape()), (&[9, 512, 64][..], &[9, 512][..]));

    fs::remove_file(bench.path("out.safetensors")).unwrap();
    let output = bench.arg("out.safetensors");
    succeeds(&["run", "-i", &smollm2(), "-o", &output, "--mask", "causal"]);
    let bsnd = fs::read(&output).unwrap();
    let bsnd = SafeTensors::deserialize(&bsnd).unwrap();
    assert_same(o.data(), &heads_first(bsnd.tensor("o").unwrap().data(), dims("q")), "o");
    assert_same(lse.data(), bsnd.tensor("lse").unwrap().data(), "lse has one order");

    // Batches stand in front of both.
    let bench = Bench::new(&qkv(&[2, 3, 4, 16], &[2, 1, 5, 16], &[2, 1, 5, 32]));
    let (line, output) = bench.run(&["--layout", "bnsd"]);
    assert!(line
        .contains("batch 2, seqlen_q 4, seqlen_k 5, num_heads 3, num_heads_k 1, head_dim 16, head_dim_v 32"));
    assert_eq!(SafeTensors::deserialize(&output).unwrap().tensor("o").unwrap().shape(), [2, 3, 4, 32]);
    let wrong = Bench::new(&qkv(&[4, 32], Q, Q));
    assert_eq!(
        wrong.refused(&["--layout", "bnsd"]),
        "q has shape [4, 32], wanted [heads, seqlen, dim] or [batch, heads, seqlen, dim]"
    );
}

#[test]
fn scores_are_of_the_type_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let run = |score_dtype: &str| {
        let output = dir.path().join(score_dtype);
        let line = succeeds(&[
            "run",
            "-i",
            &smollm2(),
            "-o",
            output.to_str().unwrap(),
            "--mask",
            "causal",
            "--score-dtype",
            score_dtype,
        ]);
        assert!(line.contains(&format!("scores {score_dtype};")), "{line}");
        fs::read(output).unwrap()
    };
    let (single, half) = (run("f32"), run("f16"));
    assert_ne!(single, half);
    let o = |file: &[u8]| f16s(SafeTensors::deserialize(file).unwrap().tensor("o").unwrap().data());
    assert_close("o", &o(&half), &o(&single), 2e-2);
    let message = Bench::new(&qkv(Q, Q, Q)).refused(&["--score-dtype", "f16", "--softmax-scale", "1e-4"]);
    assert!(message.contains("softmax_scale = 0.0001 with score_dtype = f16"), "{message}");
}

#[test]
fn missing_tensors_are_named_with_what_is_there() {
    let [q, k, v] = qkv(Q, Q, Q);
    assert_eq!(refused(&[q.clone(), v.clone()]), "no tensor k; wanted q, k and v, found: q, v");
    assert_eq!(refused(&[k, v]), "no tensor q; wanted q, k and v, found: k, v");
    assert_eq!(refused(&[]), "no tensor q; wanted q, k and v, found: none");
}

#[test]
fn element_types_that_do_not_work() {
    let [q, k, v] = qkv(Q, Q, Q);
    assert_eq!(
        refused(&[zeros("q", Dtype::F32, Q), k.clone(), v.clone()]),
        "q is f32; convert q, k and v to f16 or bf16 first (the Cube multiplies 16-bit floats)"
    );
    assert_eq!(
        refused(&[q.clone(), zeros("k", Dtype::I32, Q), v.clone()]),
        "k has elements of type I32, wanted F16 or BF16"
    );
    assert_eq!(refused(&[q, k, zeros("v", Dtype::BF16, Q)]), "v is bf16, q is f16; wanted one type for all");
}

#[test]
fn shapes_that_do_not_fit_together() {
    let four = &[1, 4, 2, 16];
    for (tensors, message) in [
        (
            qkv(&[4, 32], Q, Q),
            "q has shape [4, 32], wanted [seqlen, heads, dim] or [batch, seqlen, heads, dim]",
        ),
        (qkv(Q, &[4, 0, 16], Q), "v has num_heads_k = 2, k has 0"),
        (
            qkv(Q, &[1 << 33, 0, 16], Q),
            "k has shape [8589934592, 0, 16], wanted at most 4294967295 in every dimension",
        ),
        (qkv(Q, Q, four), "v has 4 dimensions, q has 3; wanted as many for all"),
        (qkv(four, &[2, 4, 2, 16], &[2, 4, 2, 16]), "k has batch = 2, q has 1; v has batch = 2, q has 1"),
        (qkv(Q, &[4, 2, 32], Q), "k has head_dim = 32, q has 16"),
        (qkv(Q, Q, &[5, 2, 16]), "v has seqlen_k = 5, k has 4"),
        (qkv(Q, Q, &[4, 1, 16]), "v has num_heads_k = 1, k has 2"),
        (
            qkv(Q, &[4, 2, 32], &[5, 1, 16]),
            "k has head_dim = 32, q has 16; v has seqlen_k = 5, k has 4; v has num_heads_k = 1, k has 2",
        ),
    ] {
        assert_eq!(refused(&tensors), message);
    }
}

#[test]
fn what_the_planner_refuses_is_told_in_full() {
    let message = refused(&qkv(&[4, 3, 24], &[4, 2, 24], &[4, 2, 16]));
    assert!(
        message.contains("num_heads = 3 is not a multiple of num_heads_k = 2; nearest: 2 or 4"),
        "{message}"
    );
    assert!(
        message.contains("head_dim = 24 is not a multiple of 16 from 16 to 256; nearest supported: 16 or 32"),
        "{message}"
    );
    let message = Bench::new(&qkv(Q, Q, Q)).refused(&["--softmax-scale", "inf"]);
    assert!(message.contains("softmax_scale = inf is not finite"), "{message}");
}

#[test]
fn devices_that_cannot_be_opened() {
    let bench = Bench::new(&qkv(Q, Q, Q));
    assert_eq!(
        bench.refused(&["--device", "gpu"]),
        "device \"gpu\" given, \"sim\", \"sim:N\" or \"npu:N\" wanted"
    );
    let message = bench.refused(&["--device", "sim:7"]);
    assert!(message.contains("aclrtSetDevice"), "{message}");
}

#[test]
fn inputs_that_cannot_be_read() {
    let bench = Bench::new(&qkv(Q, Q, Q));
    let output = bench.arg("out.safetensors");
    let missing = bench.arg("missing.safetensors");
    assert!(fails(&["run", "--input", &missing, "--output", &output])
        .starts_with(&format!("input {missing}: No such file")),);
    fs::write(bench.path("in.safetensors"), b"not safetensors").unwrap();
    let message = bench.refused(&[]);
    assert!(message.contains("in.safetensors is not a safetensors file: "), "{message}");
    // Cut off in the middle of the data.
    let whole = fs::read(smollm2()).unwrap();
    fs::write(bench.path("in.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let message = bench.refused(&[]);
    assert!(message.contains("in.safetensors is not a safetensors file: "), "{message}");
}

#[test]
fn outputs_that_cannot_be_written() {
    // The input is no good either: the output is looked at first.
    let bench = Bench::new(&[]);
    let input = bench.arg("in.safetensors");
    let to = |output: &str| fails(&["run", "--input", &input, "--output", output]);

    let nowhere = bench.arg("missing/out.safetensors");
    let message = to(&nowhere);
    assert!(message.starts_with(&format!("output {nowhere} cannot be written: ")), "{message}");
    assert!(message.contains("No such file"), "{message}");

    let dir = bench.arg("");
    assert_eq!(to(&dir), format!("output {dir} exists and is not a regular file"));
    assert_eq!(to("/"), "output / names no file");

    fs::write(bench.path("kept"), b"kept").unwrap();
    let mut permissions = fs::metadata(bench.path("kept")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(bench.path("kept"), permissions).unwrap();
    let kept = bench.arg("kept");
    assert_eq!(to(&kept), format!("output {kept} exists and is read-only"));
    assert_eq!(fs::read(bench.path("kept")).unwrap(), b"kept");
    assert_eq!(bench.files(), ["in.safetensors", "kept"]);
}

#[test]
fn the_input_is_never_overwritten() {
    let bench = Bench::new(&qkv(Q, Q, Q));
    let before = fs::read(bench.path("in.safetensors")).unwrap();
    let input = bench.arg("in.safetensors");
    let same = |output: &str| {
        let message = fails(&["run", "--input", &input, "--output", output]);
        assert_eq!(message, format!("output {output} is the input file; wanted another path"));
    };
    same(&input);
    same(&bench.arg("./in.safetensors"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&input, bench.path("link")).unwrap();
        same(&bench.arg("link"));
    }
    assert_eq!(fs::read(input.clone()).unwrap(), before);
}

#[test]
fn an_old_output_is_replaced_only_by_a_whole_one() {
    let bench = Bench::new(&qkv(Q, Q, &[5, 2, 16]));
    fs::write(bench.path("out.safetensors"), b"old").unwrap();
    let (input, output) = (bench.arg("in.safetensors"), bench.arg("out.safetensors"));
    fails(&["run", "--input", &input, "--output", &output]);
    assert_eq!(fs::read(&output).unwrap(), b"old");
    write(&bench.path("in.safetensors"), &qkv(Q, Q, Q));
    let (_, written) = bench.run(&[]);
    let mut names =
        Vec::from_iter(SafeTensors::deserialize(&written).unwrap().names().into_iter().map(str::to_owned));
    names.sort();
    assert_eq!(names, ["lse", "o"]);
}

/// The limit (900 blocks of 512 bytes) is above the kernel image, which is loaded through a file, and below
/// o.
#[cfg(unix)]
#[test]
fn a_failure_while_writing_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.safetensors");
    let ran = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$@\"", "sh", TOOL])
        .args(["run", "--input", &smollm2(), "--output", output.to_str().unwrap()])
        .output()
        .unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with(&format!("error: writing output {}: ", output.display())), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
