//! The oracle against real data: q, k, v (post-RoPE, fp16) of SmolLM2-135M-Instruct on a text of 512 tokens,
//! whose causal outputs and log-sum-exps were computed in f64 by other code and stored as f32.
//!
//! The files are looked for in `FA_DATA_DIR`, else in `tests/data`.

use std::path::{Path, PathBuf};

use fastattention::reference::{attention, same_precision, Params, Tensor};
use fastattention::tiling::Mask;
use half::f16;
use safetensors::SafeTensors;

const FILES: [&str; 2] = ["smollm2_l00_s512.safetensors", "smollm2_l15_s512.safetensors"];
const SMOLLM2: Params = Params {
    batch: 1,
    num_heads: 9,
    num_heads_k: 3,
    head_dim: 64,
    head_dim_v: 64,
    seqlen_q: 512,
    seqlen_k: 512,
    softmax_scale: 0.125,
    mask: Mask::Causal,
};

fn data_dir() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::env::var_os("FA_DATA_DIR").map_or(own, PathBuf::from)
}

fn f16s(file: &SafeTensors<'_>, name: &str) -> Vec<f16> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(2);
    bytes.map(|b| f16::from_le_bytes([b[0], b[1]])).collect()
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(4);
    bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn max_error(got: &[f64], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(g, &w)| (g - f64::from(w)).abs()).fold(0.0, f64::max)
}

#[test]
fn stored_outputs_agree() {
    for name in FILES {
        let path = data_dir().join(name);
        let Ok(bytes) = std::fs::read(&path) else {
            eprintln!("skipped: {} is not readable; set FA_DATA_DIR", path.display());
            continue;
        };
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let [q, k, v] = ["q", "k", "v"].map(|tensor| f16s(&file, tensor));
        let (q, k, v) =
            (Tensor::dense(&q, 512, 9, 64), Tensor::dense(&k, 512, 3, 64), Tensor::dense(&v, 512, 3, 64));
        let exact = attention(&SMOLLM2, q, k, v);
        let (o, lse) = (f32s(&file, "o_causal"), f32s(&file, "lse_causal"));
        // Both were rounded to f32: half a unit of the last place of the largest magnitude, 32.
        let (o_error, lse_error) = (max_error(&exact.o, &o), max_error(&exact.lse, &lse));
        assert!(o_error < 2e-6 && lse_error < 2e-6, "{name}: o {o_error:e}, lse {lse_error:e}");
        // The plain f16 implementation is off by some roundings of f16 (2^-11 of values of order 1), not by
        // more.
        let plain = max_error(&same_precision(&SMOLLM2, q, k, v).o, &o);
        assert!((1e-5..0.05).contains(&plain), "{name}: same precision {plain:e}");
    }
}
