//! `replay`: launches as the library's feature `tracing` tells them (`src/runtime/launches.rs`).

use std::fs;

use fastattention::append::{Pairing, Rotary};
use fastattention::attention::Mask;
use fastattention::serving::KvLayout;
use fastattention::{append, attention, serving, DType, Soc};
use serde_json::{json, Value};

use super::{fails, succeeds};

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn launch(operation: &str, plan: &str, operands: &[(&str, u64)]) -> Value {
    let operands: Vec<Value> = operands
        .iter()
        .map(|(name, bytes)| json!({"name": name, "address": "0x1000", "bytes": bytes, "is_written": false}))
        .collect();
    let plan: Value = serde_json::from_str(plan).unwrap();
    json!({"operation": operation, "stream": "0x1", "plan": plan, "operands": operands})
}

fn of_attention() -> Value {
    let problem = attention::Problem::new(DType::F16, [1, 40, 2, 64]).with_mask(Mask::Causal).with_lse();
    let plan = attention::plan(&problem, soc()).unwrap();
    let [q, k, v, o, lse] = plan.shape().operand_bytes();
    let operands =
        [("q", q), ("k", k), ("v", v), ("o", o), ("lse", lse), ("workspace", plan.workspace_bytes())];
    launch("attention launch", &plan.to_json().unwrap(), &operands)
}

fn serving_problem() -> serving::Problem {
    let kv = KvLayout::paged(16, 12);
    serving::Problem::packed(DType::Bf16, [9, 4, 64], [3, 7], 60, kv)
        .with_num_heads_k(2)
        .with_mask(Mask::Causal)
}

fn of_serving() -> Value {
    let plan = serving::plan(&serving_problem().checked(), soc()).unwrap();
    let [q, k, v, o] = plan.operand_bytes();
    let lists =
        [("row_starts", plan.row_starts_bytes()), ("lengths", 12), ("block_table", plan.table_bytes())];
    let operands = [
        &[("q", q), ("k", k), ("v", v), ("o", o)][..],
        &lists,
        &[("status", 96), ("workspace", plan.workspace_bytes())],
    ]
    .concat();
    launch("serving launch", &plan.to_json().unwrap(), &operands)
}

fn of_append() -> Value {
    let rotary = Rotary::new(Pairing::Halves, 64, 100).with_q();
    let plan = append::plan(&append::Problem::new(9, &serving_problem()).with_rotary(rotary), soc()).unwrap();
    let [k, v, k_cache, v_cache] = plan.operand_bytes();
    let [q, q_out] = plan.query_bytes();
    let operands = [
        ("k", k),
        ("v", v),
        ("k_cache", k_cache),
        ("v_cache", v_cache),
        ("places", plan.places_bytes()),
        ("positions", plan.positions_bytes()),
        ("table", plan.table_bytes()),
        ("q", q),
        ("q_out", q_out),
    ];
    launch("append launch", &plan.to_json().unwrap(), &operands)
}

#[test]
fn told_launches_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    // As tracing-subscriber has it.
    let event = json!({"level": "DEBUG", "fields": {"launch": of_serving().to_string()}, "target": "x"});
    fs::write(path, format!("{}\nnot JSON\n\n{event}\n{}\n", of_attention(), of_append())).unwrap();
    let text = succeeds(&["replay", path]);
    let lines: Vec<_> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line 1: attention on sim:0", "line 4: serving on sim:0", "line 5: append on sim:0"]);
    assert!(succeeds(&["replay", path, "--line", "5", "--device", "cpu"])
        .starts_with("line 5: append on cpu:0, "));
    let text = fails(&["replay", path, "--line", "2"]);
    assert!(text.contains("no launch given in line 2, a line with `operation`"), "{text}");
}

#[test]
fn what_is_no_launch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    assert!(fails(&["replay", path]).contains("log: "), "a file that is not there");
    let good = of_attention();
    let changed = |change: fn(&mut Value)| {
        let mut launch = good.clone();
        change(&mut launch);
        launch
    };
    for (launch, why) in [
        (json!({}), "no launch given"),
        (
            changed(|l| l["plan"] = "a text".into()),
            "a launch whose plan is no JSON given, a launch of attention",
        ),
        (changed(|l| l["plan"]["operator"] = "merge".into()), "merge given, a launch of attention"),
        (
            changed(|l| l["plan"]["soc"] = "Ascend910B4".into()),
            "soc = \"Ascend910B4\" given, \"Ascend910B2\"",
        ),
        (changed(|l| l["operands"] = Value::Null), "line 1: operands are missing"),
        (changed(|l| l["operands"][1]["name"] = "kk".into()), "operands: k is missing"),
        (changed(|l| l["operands"][1]["bytes"] = 8.into()), "k has 8 bytes, the plan needs"),
        (
            changed(|l| l["operands"][1]["bytes"] = u64::MAX.into()),
            "operand k: bytes = 18446744073709551615 given, 0 to ",
        ),
        (changed(|l| l["operands"][4]["name"] = "x".into()), "lse is missing"),
    ] {
        fs::write(path, launch.to_string()).unwrap();
        let text = fails(&["replay", path]);
        assert!(text.contains(why), "{why:?} in {text}");
    }
}
