//! `fastattention run`: inputs and outputs that do not work.

use std::fs;
use std::process::Command;

use safetensors::tensor::Dtype;
use safetensors::SafeTensors;

use super::files::{qkv, refused, smollm2, write, zeros, InputFolder, Q};
use super::{fails, TOOL};

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
        "q is f32; convert q, k and v to f16 or bf16 first (kernels multiply 16-bit floats)"
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
    let message = InputFolder::new(&qkv(Q, Q, Q)).refused(&["--softmax-scale", "inf"]);
    assert!(message.contains("softmax_scale = inf is not finite"), "{message}");
}

#[test]
fn devices_that_cannot_be_opened() {
    let folder = InputFolder::new(&qkv(Q, Q, Q));
    assert_eq!(
        folder.refused(&["--device", "gpu"]),
        "device \"gpu\" given, \"sim:N\", \"cpu:N\" or \"npu:N\" wanted"
    );
    let message = folder.refused(&["--device", "sim:7"]);
    assert!(message.contains("aclrtSetDevice"), "{message}");
}

#[test]
fn inputs_that_cannot_be_read() {
    let folder = InputFolder::new(&qkv(Q, Q, Q));
    let output = folder.arg("out.safetensors");
    let missing = folder.arg("missing.safetensors");
    assert!(fails(&["run", "--input", &missing, "--output", &output])
        .starts_with(&format!("input {missing}: No such file")),);
    fs::write(folder.path("in.safetensors"), b"not safetensors").unwrap();
    let message = folder.refused(&[]);
    assert!(message.contains("in.safetensors is not a safetensors file: "), "{message}");
    // Cut off in the middle of the data.
    let whole = fs::read(smollm2()).unwrap();
    fs::write(folder.path("in.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let message = folder.refused(&[]);
    assert!(message.contains("in.safetensors is not a safetensors file: "), "{message}");
}

#[test]
fn outputs_that_cannot_be_written() {
    // The input is no good either: the output is looked at first.
    let folder = InputFolder::new(&[]);
    let input = folder.arg("in.safetensors");
    let to = |output: &str| fails(&["run", "--input", &input, "--output", output]);

    let nowhere = folder.arg("missing/out.safetensors");
    let message = to(&nowhere);
    assert!(message.starts_with(&format!("output {nowhere} cannot be written: ")), "{message}");
    assert!(message.contains("No such file"), "{message}");

    let dir = folder.arg("");
    assert_eq!(to(&dir), format!("output {dir} exists and is not a regular file"));
    assert_eq!(to("/"), "output / names no file");

    fs::write(folder.path("kept"), b"kept").unwrap();
    let mut permissions = fs::metadata(folder.path("kept")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.path("kept"), permissions).unwrap();
    let kept = folder.arg("kept");
    assert_eq!(to(&kept), format!("output {kept} exists and is read-only"));
    assert_eq!(fs::read(folder.path("kept")).unwrap(), b"kept");
    assert_eq!(folder.files(), ["in.safetensors", "kept"]);
}

#[test]
fn the_input_is_never_overwritten() {
    let folder = InputFolder::new(&qkv(Q, Q, Q));
    let before = fs::read(folder.path("in.safetensors")).unwrap();
    let input = folder.arg("in.safetensors");
    let same = |output: &str| {
        let message = fails(&["run", "--input", &input, "--output", output]);
        assert_eq!(message, format!("output {output} is the input file; wanted another path"));
    };
    same(&input);
    same(&folder.arg("./in.safetensors"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&input, folder.path("link")).unwrap();
        same(&folder.arg("link"));
    }
    assert_eq!(fs::read(input.clone()).unwrap(), before);
}

#[test]
fn an_old_output_is_replaced_only_by_a_whole_one() {
    let folder = InputFolder::new(&qkv(Q, Q, &[5, 2, 16]));
    fs::write(folder.path("out.safetensors"), b"old").unwrap();
    let (input, output) = (folder.arg("in.safetensors"), folder.arg("out.safetensors"));
    fails(&["run", "--input", &input, "--output", &output]);
    assert_eq!(fs::read(&output).unwrap(), b"old");
    write(&folder.path("in.safetensors"), &qkv(Q, Q, Q));
    let (_, written) = folder.run(&[]);
    let mut names =
        Vec::from_iter(SafeTensors::deserialize(&written).unwrap().names().into_iter().map(str::to_owned));
    names.sort();
    assert_eq!(names, ["lse", "o"]);
}

/// The limit (4000 blocks of 512 bytes) is above the kernel image, which is loaded through a file, and below
/// o.
#[cfg(unix)]
#[test]
fn a_failure_while_writing_leaves_nothing() {
    let folder = InputFolder::new(&qkv(&[65536, 2, 16], Q, Q));
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.safetensors");
    let ran = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh", TOOL])
        .args(["run", "--input", &folder.arg("in.safetensors"), "--output", output.to_str().unwrap()])
        .output()
        .unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with(&format!("error: writing output {}: ", output.display())), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
