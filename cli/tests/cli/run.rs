//! `fastattention run`: results.

use std::fs;

use half::bf16;
use safetensors::tensor::Dtype;
use safetensors::SafeTensors;

use super::files::{assert_close, bf16s, f16s, f32s, qkv, smollm2, zeros, InputFolder, Q};
use super::succeeds;

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
    let folder = InputFolder::new(&[
        zeros("q", Dtype::BF16, &[2, 3, 2, 16]),
        zeros("k", Dtype::BF16, &[2, 3, 1, 16]),
        ("v", Dtype::BF16, vec![2, 3, 1, 32], bytes),
    ]);
    let (line, output) =
        folder.run(&["--mask", "window:1,0", "--softmax-scale", "-0.5", "--device", "sim:0"]);
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
    let folder = InputFolder::new(&[ones("q", 1), ones("k", 2), ones("v", 2)]);
    let lse = |options: &[&str]| {
        let (_, output) = folder.run(options);
        let output = SafeTensors::deserialize(&output).unwrap();
        let lse = f32s(output.tensor("lse").unwrap().data());
        fs::remove_file(folder.path("out.safetensors")).unwrap();
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
    let folder = InputFolder::new(&tensors);
    let (line, bnsd) = folder.run(&["--mask", "causal", "--layout", "bnsd"]);
    assert!(line.contains("f16 as bnsd, batch 1, seqlen_q 512, seqlen_k 512, num_heads 9,"), "{line}");
    let bnsd = SafeTensors::deserialize(&bnsd).unwrap();
    let (o, lse) = (bnsd.tensor("o").unwrap(), bnsd.tensor("lse").unwrap());
    assert_eq!((o.shape(), lse.shape()), (&[9, 512, 64][..], &[9, 512][..]));

    fs::remove_file(folder.path("out.safetensors")).unwrap();
    let output = folder.arg("out.safetensors");
    succeeds(&["run", "-i", &smollm2(), "-o", &output, "--mask", "causal"]);
    let bsnd = fs::read(&output).unwrap();
    let bsnd = SafeTensors::deserialize(&bsnd).unwrap();
    // The planner may take other tilings for the other order, and bits depend on them; elements that changed
    // places would differ by far more than two results do that are each this near to f64 (above).
    let bsnd_o = heads_first(bsnd.tensor("o").unwrap().data(), dims("q"));
    assert_close("o", &f16s(o.data()), &f16s(&bsnd_o), 2e-3);
    let bsnd_lse = bsnd.tensor("lse").unwrap();
    assert_close("lse, which has one order", &f32s(lse.data()), &f32s(bsnd_lse.data()), 1e-4);

    // Batches stand in front of both.
    let folder = InputFolder::new(&qkv(&[2, 3, 4, 16], &[2, 1, 5, 16], &[2, 1, 5, 32]));
    let (line, output) = folder.run(&["--layout", "bnsd"]);
    assert!(line
        .contains("batch 2, seqlen_q 4, seqlen_k 5, num_heads 3, num_heads_k 1, head_dim 16, head_dim_v 32"));
    assert_eq!(SafeTensors::deserialize(&output).unwrap().tensor("o").unwrap().shape(), [2, 3, 4, 32]);
    let wrong = InputFolder::new(&qkv(&[4, 32], Q, Q));
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
    let message =
        InputFolder::new(&qkv(Q, Q, Q)).refused(&["--score-dtype", "f16", "--softmax-scale", "1e-4"]);
    assert!(message.contains("softmax_scale = 0.0001 with score_dtype = f16"), "{message}");
}
