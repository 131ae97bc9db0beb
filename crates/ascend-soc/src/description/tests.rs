//! Changes of figures: what is taken, and what is refused by name.

use super::*;

fn changed(text: &str) -> Vec<Soc> {
    Description::built_in().with_changes(text).unwrap().socs().unwrap()
}

fn refused(text: &str) -> String {
    Description::built_in().with_changes(text).unwrap_err().to_string()
}

#[test]
fn changes_need_only_what_differs() {
    let [before, after] = [
        changed(""),
        changed("[timing.control]\nlaunch_us = 3\n[[soc]]\nname = \"Ascend910B2\"\nclock_mhz = 900"),
    ];
    assert_eq!(before, Soc::all());
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        let mut wanted = before.clone();
        wanted.timing.control.launch_us = 3.0;
        if wanted.name == "Ascend910B2" {
            wanted.clock_mhz = 900;
        }
        assert_eq!(*after, wanted);
    }
}

#[test]
fn a_new_soc_is_described_whole() {
    let first = Description::built_in().0["soc"][0].clone();
    let Value::Table(mut own) = first else { panic!("{first}") };
    own.insert("name".into(), "Mine".into());
    own.insert("cube_cores".into(), 30.into());
    own.insert("vector_cores".into(), 60.into());
    let text = toml::to_string(&toml::toml! { soc = [] }).unwrap().replace("soc = []\n", "");
    let text = text + "[[soc]]\n" + &toml::to_string(&own).unwrap().replace("[memory]", "[soc.memory]");
    let socs = changed(&text);
    assert_eq!((socs.last().unwrap().name.as_str(), socs.last().unwrap().cube_cores), ("Mine", 30));
    own.remove("l2_bytes");
    let text = "[[soc]]\n".to_owned() + &toml::to_string(&own).unwrap().replace("[memory]", "[soc.memory]");
    assert!(refused(&text).contains("missing field `l2_bytes`"), "{}", refused(&text));
}

#[test]
fn what_no_chip_has_is_refused_by_name() {
    for (text, wanted) in [
        ("[core]\nub_bytes = 1", "core given, only timing, links, soc can be changed"),
        ("[timing.control]\nlaunch = 1", "timing.control.launch is not in cann.toml; known there: "),
        ("[timing.vector.ops]\nvtan = 1", "timing.vector.ops.vtan is not in cann.toml; known there: "),
        ("[timing]\ncontrol = 1", "timing.control: integer given, table wanted"),
        ("[timing.control]\nlaunch_us = \"9\"", "timing.control.launch_us: string given, float wanted"),
        ("[timing.control]\nlaunch_us = nan", "timing.control.launch_us = NaN given, from 0 to 1000 wanted"),
        ("[timing.control]\nlaunch_us = -1", "timing.control.launch_us = -1 given, from 0 to 1000 wanted"),
        ("soc = 1", "soc: integer given, array wanted"),
        ("[[soc]]\nclock_mhz = 1", "soc: an entry without a name given, name = \"...\" wanted in each"),
        (
            "[[soc]]\nname = \"Ascend910B2\"\ncube_cores = 20",
            "soc.Ascend910B2.vector_cores = 48, twice cube_cores = 20 wanted",
        ),
        (
            "[[soc]]\nname = \"Ascend910B2\"\ncube_cores = 2000\nvector_cores = 4000",
            "soc.Ascend910B2.cube_cores = 2000, from 1 to 64 wanted",
        ),
        (
            "[[soc]]\nname = \"Ascend910B2\"\nmemory = { hbm_gbps = 0 }",
            "soc.Ascend910B2.memory.hbm_gbps = 0 given, from 1.53 to 1530000 wanted",
        ),
        ("[links]\nregimes = []", "links.regimes = [] given, at least one wanted"),
        ("[[[", "TOML parse error"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(wanted), "{text}: {message}");
    }
}

#[test]
fn every_number_has_a_name_and_can_be_set() {
    let built_in = Description::built_in();
    let numbers = built_in.numbers();
    assert!(numbers.len() > 150, "{}", numbers.len());
    for name in &numbers {
        let value = built_in.number(name).unwrap();
        assert_eq!(built_in.clone().set(name, value).unwrap(), value, "{name}");
    }
    let mut changed = built_in.clone();
    // Whole cycles, and a rate that is written without a fraction.
    assert_eq!(changed.set("timing.control.issue", 8.8).unwrap(), 9.0);
    assert_eq!(changed.set("soc.Ascend910B2.memory.hbm_gbps", 1500.5).unwrap(), 1500.5);
    let socs = changed.socs().unwrap();
    let soc = socs.iter().find(|soc| soc.name == "Ascend910B2").unwrap();
    assert_eq!((soc.timing.control.issue, soc.timing.memory.hbm_gbps), (9, 1500.5));
    let before = changed.clone();
    let error = changed.set("timing.gm.outstanding", f64::INFINITY).unwrap_err().to_string();
    assert!(error.starts_with("timing.gm.outstanding = "), "{error}");
    assert_eq!(changed, before, "what was refused changes nothing");
}

#[test]
fn an_unknown_number_lists_its_neighbours() {
    let error = |name: &str| Description::built_in().number(name).unwrap_err().to_string();
    assert!(error("timing.cube.haed").contains("there are timing.cube.head, timing.cube.latency"));
    assert_eq!(error("x"), "\"x\" is no number of cann.toml; names begin with timing., links., soc.");
}
