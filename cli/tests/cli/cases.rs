//! What `bench`, `trace` and `layer` can be asked for, beyond the usual shapes.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use super::{fails, fastattention, succeeds, text};

/// Rows of a bench as CSV.
struct Rows(Vec<csv::StringRecord>, csv::StringRecord);

impl Rows {
    fn of(line: &str) -> Self {
        let folder = tempdir().unwrap();
        let file = folder.path().join("b.csv");
        Self::at(line, &file)
    }

    fn at(line: &str, file: &Path) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        succeeds(&[&["bench"], &words[..], &["--csv", text(file)]].concat());
        let mut reader = csv::Reader::from_path(file).unwrap();
        let header = reader.headers().unwrap().clone();
        Self(reader.records().map(Result::unwrap).collect(), header)
    }

    fn column(&self, name: &str) -> Vec<&str> {
        let at = self.1.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name}: {:?}", self.1));
        self.0.iter().map(|row| &row[at]).collect()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.column(name).into_iter().map(|text| text.parse().unwrap()).collect()
    }
}

/// Two heads of 64 rows.
const SMALL: &str = "--seqlen-q 64 --num-heads 2 --head-dim 64 --mask none";

#[test]
fn every_size_takes_a_list() {
    let rows = Rows::of(
        "--seqlen-q 16,32 --num-heads 2 --num-heads-k 1,2 --head-dim 32,64 --head-dim-v 16,48 --dtype f16,bf16 \
         --mask none,causal --layout bnsd",
    );
    let names = ["seqlen_q", "num_heads_k", "head_dim", "head_dim_v", "dtype", "mask"];
    let mut cases: Vec<Vec<&str>> =
        (0..rows.0.len()).map(|i| names.iter().map(|name| rows.column(name)[i]).collect()).collect();
    cases.sort();
    cases.dedup();
    assert_eq!((rows.0.len(), cases.len()), (64, 64), "every combination, once");
}

#[test]
fn chips_have_other_clocks_and_fewer_cores() {
    let shape = "--seqlen-q 1024 --num-heads 4 --head-dim 64 --mask none";
    let rows = Rows::of(&format!("{shape} --clock 900,1800 --cores 1,24"));
    assert_eq!(rows.column("clock_mhz"), ["900", "900", "1800", "1800"]);
    assert_eq!(rows.column("cores"), ["1", "24", "1", "24"]);
    assert_eq!(rows.column("figures"), ["cann.toml"; 4]);
    let us = rows.numbers("model_core_us");
    assert!(us[0] > 1.5 * us[2] && us[2] > 4.0 * us[3], "{us:?}");
    let plain = Rows::of(shape);
    assert_eq!(plain.column("model_core_us"), [rows.column("model_core_us")[3]], "as without the flags");
    assert_eq!(
        fails(&["bench", "--cores", "25"]),
        "--cores 25 given, Ascend910B2 has 24; from 1 to 24 wanted"
    );
}

#[test]
fn a_file_changes_figures_and_describes_chips() {
    let folder = tempdir().unwrap();
    let (file, csv) = (folder.path().join("soc.toml"), folder.path().join("b.csv"));
    fs::write(&file, "[timing.control]\nlaunch_us = 3\ncore_start_us = 0\nmix_launch_us = 0\n").unwrap();
    let rows = Rows::at(&format!("{SMALL} --soc-file {}", text(&file)), &csv);
    assert_eq!(rows.column("figures"), ["changed"]);
    let [task, core] = ["model_task_us", "model_core_us"].map(|name| rows.numbers(name)[0]);
    assert!((task - core - 3.0).abs() < 0.011, "{task} {core}");

    fs::write(
        &file,
        "[[soc]]\nname = \"Mine\"\ncube_cores = 2\nvector_cores = 4\nclock_mhz = 1000\nl2_bytes = 100663296\n\
         hbm_bytes = 34359738368\n",
    )
    .unwrap();
    let error = fails(&["bench", "--soc", "mine", "--soc-file", text(&file)]);
    assert!(error.contains("missing field `memory`"), "{error}");
    let error =
        fails(&["trace", "--summary", "--soc-file", "/no/such/file", "--seqlen-q", "8", "--num-heads", "1"]);
    assert!(error.starts_with("reading /no/such/file: "), "{error}");
    fs::write(&file, "[timing.gm]\noutstanding = 0\n").unwrap();
    for command in ["bench", "plan --seqlen-q 8 --num-heads 1", "layer --seqlen 64"] {
        let words: Vec<&str> = command.split(' ').chain(["--soc-file", text(&file)]).collect();
        let error = fails(&words);
        assert!(error.contains("timing.gm.outstanding = 0 given, from "), "{error}");
    }
    let error =
        fails(&["plan", "--seqlen-q", "8", "--num-heads", "1", "--clock", "900", "--tuned", "unused"]);
    assert!(error.starts_with("a changed Ascend910B2 given; tuning results"), "{error}");
}

#[test]
fn products_have_sizes_layouts_types_and_tilings() {
    let rows =
        Rows::of("--op matmul --m 128,256 --n 1024 --k 256 --b-layout kn,nk --dtype-out f16,f32 --batch 3");
    assert_eq!(rows.0.len(), 8);
    for name in ["seqlen_q", "num_heads", "mask", "score_dtype"] {
        assert_eq!(rows.column(name), [""; 8], "{name}");
    }
    let (m, us, tflops) = (rows.numbers("m"), rows.numbers("model_core_us"), rows.numbers("tflops"));
    for ((m, us), tflops) in m.iter().zip(us).zip(tflops) {
        let wanted = 2.0 * 3.0 * m * 1024.0 * 256.0 / us / 1e6;
        // Of the rounding of both to the digits that are written.
        assert!((wanted - tflops).abs() < 0.051 + wanted * 0.0051 / us, "{wanted} {tflops}");
    }
    // C is written once: in f32 it has twice the bytes. Equal tiles read A and B equally often.
    let tiles = "--tiling tile_m=128,tile_n=128,block_m=128,block_n=128";
    let both =
        Rows::of(&format!("--op matmul --m 128 --n 1024 --k 256 --dtype-out f16,f32 --batch 3 {tiles}"));
    let bytes = both.numbers("gm_bytes");
    assert_eq!(bytes[1] - bytes[0], 3.0 * 128.0 * 1024.0 * 2.0);

    let product = "--op matmul --m 256 --n 256 --k 256";
    let tiled = Rows::of(&format!("{product} --tiling tile_m=64,block_m=64 --tiling num_cores=1"));
    assert!(tiled.column("tiling")[0].contains("tile 64 x"), "{:?}", tiled.column("tiling"));
    let (planned, us) = (Rows::of(product).numbers("model_core_us")[0], tiled.numbers("model_core_us"));
    assert!(us[1] > planned, "one core takes longer than all: {us:?} {planned}");
    // The linear layer of a shape takes the options, too.
    let linear = Rows::of(&format!("--op matmul {SMALL} --b-layout nk"));
    assert_eq!((linear.column("m"), linear.column("n")), (vec!["64"], vec!["128"]));
}

#[test]
fn tilings_of_attention_are_run_as_given() {
    let plan = succeeds(&["plan", "--seqlen-q", "64", "--num-heads", "2", "--head-dim", "64", "--explain"]);
    let (_, listed) = plan.split_once("candidates by predicted").unwrap();
    let names: Vec<&str> =
        listed.lines().skip(1).map(|line| line.trim().split_once("  ").unwrap().1).take(2).collect();
    let flags: Vec<String> =
        names.iter().map(|name| format!("--tiling {}", name.replace(", ", ",").replace(' ', "="))).collect();
    let rows = Rows::of(&format!("{SMALL} {}", flags.join(" ")));
    assert_eq!(rows.column("tiling"), names);
    let error = fastattention(&["bench", "--seqlen-q", "64", "--num-heads", "2", "--tiling", "block_m=24"]);
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(error.contains("block_m = 24 is none of"), "{error}");
}

#[test]
fn a_sample_runs_some_of_the_rows() {
    let rows = Rows::of(
        "--seqlen-q 65536 --seqlen-k 256 --num-heads 8 --head-dim 16 --mask none --sample --cold --clock 900",
    );
    let run: u32 = rows.column("rows_run")[0].parse().unwrap();
    assert!(run < 65536 && rows.column("l2") == ["cold"], "{run}");
    let error = fails(&["bench", "--sample"]);
    assert!(error.contains("flash_fwd, mask causal: a sample wanted; only rows of"), "{error}");
}

#[test]
fn flags_that_do_not_apply_are_refused() {
    for (line, wanted) in [
        ("--op flash_fwd --m 8 --n 8 --k 8", "flash_fwd: --m given; only matmul has it, wanted none"),
        ("--op copy --b-layout nk", "copy: --b-layout given; only matmul has it, wanted none"),
        ("--op matmul --m 8 --n 8", "matmul: --k is missing; --m, --n and --k wanted"),
        (
            "--op matmul --m 8 --n 8 --k 8 --seqlen-q 4",
            "matmul: --seqlen-q given beside --m, --n and --k; wanted none",
        ),
        (
            "--op matmul --m 8 --n 8 --k 8 --mask none",
            "matmul: --mask given beside --m, --n and --k; wanted none",
        ),
        ("--op copy --parts 2", "copy: --parts given; only merge has it, wanted none"),
        ("--op merge --tiling block_m=16", "merge: a tiling given; it has no choice, wanted none"),
        ("--op merge --mask causal", "merge: mask = causal given, none wanted: this operator has no mask"),
        ("--op copy --tiling block_m=16", "copy: a tiling given; it has no choice, wanted none"),
        (
            "--op matmul --m 8 --n 8 --k 8 --tiling preload=1",
            "matmul: its tiling has no preload; wanted block_m, ",
        ),
        (
            "--op matmul --m 8 --n 8 --k 8 --sample",
            "matmul, mask none: a sample wanted; only rows of flash_fwd",
        ),
        ("--op flash_fwd --tiling tile_m=16", "flash_fwd: its tiling has no tile_m; wanted block_m, "),
        (
            "--op matmul --m 4294967295 --n 8 --k 8",
            "1 of 1 cases failed\nmatmul on Ascend910B2: f16 m 4294967295",
        ),
    ] {
        let words: Vec<&str> = ["bench"].into_iter().chain(line.split(' ')).collect();
        let error = fails(&words);
        assert!(error.starts_with(wanted), "{line}: {error}");
    }
    for (flag, value) in [("--clock", "0"), ("--clock", "99999"), ("--tiling", "x"), ("--b-layout", "x")] {
        let output = fastattention(&["bench", flag, value]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(&format!("error: invalid value '{value}' for '{flag}")), "{stderr}");
    }
}

#[test]
fn merges_have_a_number_of_parts() {
    let rows = Rows::of("--op merge --parts 2,4 --seqlen-q 256 --num-heads 8 --head-dim 64");
    assert_eq!(rows.column("parts"), ["2", "4"]);
    // Each part and the result: 64 elements and lse of 8 heads of 256 rows.
    let rows_bytes = 256.0 * 8.0 * (64.0 * 2.0 + 4.0);
    assert_eq!(rows.numbers("gm_bytes"), [3.0 * rows_bytes, 5.0 * rows_bytes]);
}

#[test]
fn a_trace_takes_one_case_of_any_operator() {
    let product = ["--op", "matmul", "--m", "64", "--n", "64", "--k", "64"];
    let json: Value =
        serde_json::from_str(&succeeds(&[&["trace", "--json", "--dtype-out", "f32"][..], &product].concat()))
            .unwrap();
    assert_eq!(json[0]["kernel"], "fa_matmul_f16_f32");
    assert_eq!(
        fails(&["trace", "--summary", "--seqlen-q", "8,16", "--num-heads", "1"]),
        "the lists given make 2 cases, one wanted"
    );
    assert_eq!(fails(&["trace", "--summary", "--num-heads", "1"]), "--seqlen-q is missing; rows of q wanted");
    assert_eq!(
        fails(&["trace", "--summary", "--seqlen-q", "1"]),
        "--num-heads is missing; heads of q wanted"
    );
}

#[test]
fn a_layer_without_attention_is_its_projection() {
    let shape = [
        "layer",
        "--seqlen",
        "256",
        "--num-heads",
        "8",
        "--head-dim",
        "32",
        "--hidden",
        "128",
        "--ranks",
        "2",
    ];
    let us = |more: &[&str]| -> f64 {
        let told = succeeds(&[&shape[..], &["--simulate"], more].concat());
        let line = told.lines().find_map(|l| l.strip_prefix("model time of 2 ranks: ")).unwrap();
        line.split_once(' ').unwrap().0.parse().unwrap()
    };
    let (whole, projection) = (us(&[]), us(&["--no-attention"]));
    assert!(projection < whole, "{projection} {whole}");
    let slow = us(&["--no-attention", "--clock", "500"]);
    assert!(slow > projection, "{slow} {projection}");
    let other = us(&["--head-dim-v", "16", "--b-layout", "nk", "--mask", "none"]);
    assert!(other > 0.0, "{other}");
    let output = fastattention(&[&shape[..], &["--no-attention", "--mask", "none"]].concat());
    assert_eq!(output.status.code(), Some(2));
}
