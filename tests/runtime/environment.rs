//! Environment variables with wrong values, each in a process of its own: they are read once.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
#![allow(unsafe_code, reason = "calls a C function of the simulator")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fastattention::runtime::{Communicator, Device};
use fastattention::{sim, Soc};
use fastattention_testkit::child;

/// Set in the child.
const CHILD: &str = "FA_TEST_CHILD";

/// What the child found: each outcome on a line of its own, as kind and text.
fn outcomes(variables: &[(&str, &[u8])]) -> Vec<String> {
    let mut command = child::test(module_path!(), "child");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["FASTATTENTION_", "HCCL_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let variables = variables.iter().map(|(name, value)| (*name, OsStr::from_bytes(value)));
    let output = command.env(CHILD, "1").envs(variables).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().filter_map(|line| Some(line.split_once("outcome: ")?.1.to_owned())).collect()
}

fn tell<T>(outcome: fastattention::Result<T>) {
    match outcome {
        Ok(_) => eprintln!("\noutcome: Ok"),
        Err(error) => eprintln!("\noutcome: {:?}: {}", error.kind(), error.to_string().replace('\n', " | ")),
    }
}

#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    tell(Device::open("sim"));
    tell(Device::open("sim:1"));
    // What a C program gets: a wrong parameter, not a missing device.
    // SAFETY: takes a number.
    let code = unsafe { (sim::acl_table().aclrtSetDevice)(0) };
    eprintln!("\noutcome: code {code}");
    // Described by the program, not by the environment.
    let device = Device::simulated(sim::Config::new(Soc::by_name("Ascend910B2").unwrap()));
    tell(device.clone());
    let number = device.as_ref().unwrap().name().to_owned();
    tell(Device::open(&number));
    tell(Communicator::init_all(&[device.unwrap()]));
}

#[test]
fn a_wrong_value_is_an_argument_and_names_variable_value_and_what_is_wanted() {
    for (name, value, shown, want) in [
        ("FASTATTENTION_SIM_SEED", &b"x"[..], "\"x\"", "a number below 2^64 wanted"),
        ("FASTATTENTION_SIM_SEED", b"", "\"\"", "a number below 2^64 wanted"),
        ("FASTATTENTION_SIM_THREADS", b"-1", "\"-1\"", "a number of threads (0 = all) wanted"),
        ("FASTATTENTION_SIM_RACES", b"yes", "\"yes\"", "0 or 1 wanted"),
        ("FASTATTENTION_SIM_DEVICES", b"0", "\"0\"", "1 to 64 wanted"),
        ("FASTATTENTION_SIM_DEVICES", b"2\xff", "\"2\\xFF\"", "UTF-8 text wanted"),
        ("FASTATTENTION_SIM_SOC", b"Ascend910B2\xff", "\"Ascend910B2\\xFF\"", "UTF-8 text wanted"),
        ("FASTATTENTION_SIM_SEED", b"1\xff", "\"1\\xFF\"", "UTF-8 text wanted"),
        ("FASTATTENTION_SIM_THREADS", b"\xff", "\"\\xFF\"", "UTF-8 text wanted"),
        ("FASTATTENTION_SIM_RACES", b"0\xff", "\"0\\xFF\"", "UTF-8 text wanted"),
    ] {
        let refused = format!("InvalidArgument: environment variable {name} = {shown} given, {want}");
        let [first, second, code, rest @ ..] = &outcomes(&[(name, value)])[..] else {
            panic!("{name}: no outcome")
        };
        assert_eq!([first, second, code], [&refused, &refused, "code 107000"]);
        assert_eq!(rest, ["Ok", "Ok", "Ok"], "{name}: devices of the program");
    }
    let [soc, ..] = &outcomes(&[("FASTATTENTION_SIM_SOC", b"Ascend310P3")])[..] else { panic!("no outcome") };
    assert!(
        soc.starts_with("InvalidArgument: environment variable FASTATTENTION_SIM_SOC: SoC \"Ascend310P3\""),
        "{soc}"
    );
    assert!(soc.contains("Ascend910B1, Ascend910B2, Ascend910B3, Ascend910B4"), "{soc}");
}

#[test]
fn a_wrong_value_of_hccl_is_an_argument() {
    for (name, value, wanted) in [
        ("HCCL_EXEC_TIMEOUT", &b"-1"[..], "\"-1\" given, whole seconds from 0 to 2147483647 wanted"),
        ("HCCL_CONNECT_TIMEOUT", b"200\xff", "\"200\\xFF\" given, UTF-8 text wanted"),
        ("HCCL_DETERMINISTIC", b"true\xff", "\"true\\xFF\" given, UTF-8 text wanted"),
    ] {
        let outcomes = outcomes(&[(name, value)]);
        let last = outcomes.last().unwrap();
        assert!(last.starts_with("InvalidArgument: "), "{last}");
        assert!(last.ends_with(&format!("environment variable {name} = {wanted}")), "{last}");
    }
}

#[test]
fn a_number_beyond_the_simulated_devices_names_the_variable_that_adds_some() {
    let outcomes = outcomes(&[]);
    assert_eq!(outcomes[0], "Ok");
    let want = "device 1 given, a simulated device from 0 to 0 wanted; FASTATTENTION_SIM_DEVICES sets how many there are, 1 to 64";
    assert!(outcomes[1].starts_with("NoDevice: ") && outcomes[1].ends_with(want), "{}", outcomes[1]);
    assert_eq!(self::outcomes(&[("FASTATTENTION_SIM_DEVICES", b"2")])[..2], ["Ok", "Ok"]);
}
