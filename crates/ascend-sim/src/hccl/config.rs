//! What holds for a rank: its device's configuration, and the environment variables of the genuine library.

use std::ffi::OsString;
use std::time::Duration;

use ascend_sys::environment;
use serde::{Deserialize, Serialize};

use super::failure::{refuse, result};
use crate::acl::border::Outcome;
use crate::config::{HcclConfig, ReduceOrder};
use crate::reduce::ReduceRounding;

/// What holds for one rank: its device's configuration, completed by the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// `None`: no limit.
    pub(super) exec_timeout: Option<Duration>,
    pub(super) connect_timeout: Duration,
    pub(super) rounding: ReduceRounding,
    pub(super) order: ReduceOrder,
}

const DEFAULT_EXEC_S: u64 = 1836;
const MAX_EXEC_S: u64 = 0x7fff_ffff;
const CONNECT_S: std::ops::RangeInclusive<u64> = 120..=7200;
const DEFAULT_CONNECT_S: u64 = 120;
/// Added to the connect time, to tell the other ranks why it failed.
const CONNECT_EXTRA_S: u64 = 20;

impl Settings {
    /// Environment variables are those of the HCCL user guide (acl-runtime.md 4.3). `deterministic` is the
    /// choice of the communicator's own configuration, which goes before the environment.
    pub(super) fn new(
        config: &HcclConfig,
        deterministic: Option<bool>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Outcome<Settings> {
        let exec_timeout = match config.exec_timeout {
            Some(timeout) => Some(timeout),
            None => match seconds(&variable, "HCCL_EXEC_TIMEOUT", 0..=MAX_EXEC_S, DEFAULT_EXEC_S)? {
                0 => None,
                s => Some(Duration::from_secs(s)),
            },
        };
        let connect_timeout = match config.connect_timeout {
            Some(timeout) => timeout,
            None => {
                let s = seconds(&variable, "HCCL_CONNECT_TIMEOUT", CONNECT_S, DEFAULT_CONNECT_S)?;
                Duration::from_secs(s + CONNECT_EXTRA_S)
            }
        };
        let deterministic = match deterministic {
            Some(choice) => choice,
            None => deterministic_variable(&variable)?,
        };
        let order = if deterministic { ReduceOrder::Rank } else { config.order };
        Ok(Settings { exec_timeout, connect_timeout, rounding: config.rounding, order })
    }
}

fn wrong<T>(name: &str, value: &str, want: &str) -> Outcome<T> {
    refuse(result::PARA, environment::wrong(name, value, want))
}

fn text(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Outcome<Option<String>> {
    environment::text(variable, name).or_else(|e| refuse(result::PARA, e))
}

fn seconds(
    variable: impl Fn(&str) -> Option<OsString>,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Outcome<u64> {
    let Some(value) = text(variable, name)? else { return Ok(default) };
    match value.parse() {
        Ok(s) if range.contains(&s) => Ok(s),
        _ => wrong(name, &value, &format!("whole seconds from {} to {}", range.start(), range.end())),
    }
}

fn deterministic_variable(variable: impl Fn(&str) -> Option<OsString>) -> Outcome<bool> {
    let name = "HCCL_DETERMINISTIC";
    let Some(value) = text(variable, name)? else { return Ok(false) };
    match value.to_ascii_lowercase().as_str() {
        "false" => Ok(false),
        "true" | "strict" => Ok(true),
        _ => wrong(name, &value, "false, true or strict"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::result_of;
    use super::*;

    fn settings(
        config: &HcclConfig,
        deterministic: Option<bool>,
        pairs: &[(&str, &str)],
    ) -> Outcome<Settings> {
        Settings::new(config, deterministic, |name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn defaults_are_those_of_the_user_guide() {
        let got = settings(&HcclConfig::default(), None, &[]).unwrap();
        assert_eq!(got.exec_timeout, Some(Duration::from_secs(1836)));
        assert_eq!(got.connect_timeout, Duration::from_secs(140));
        assert_eq!((got.rounding, got.order), (ReduceRounding::EachStep, ReduceOrder::Rank));
    }

    #[test]
    fn the_environment_counts_where_the_configuration_is_silent() {
        let environment = [("HCCL_EXEC_TIMEOUT", "0"), ("HCCL_CONNECT_TIMEOUT", "200")];
        let got = settings(&HcclConfig::default(), None, &environment).unwrap();
        assert_eq!((got.exec_timeout, got.connect_timeout), (None, Duration::from_secs(220)));
        let ms = Duration::from_millis(5);
        let config =
            HcclConfig { exec_timeout: Some(ms), connect_timeout: Some(ms), ..HcclConfig::default() };
        let got = settings(&config, None, &environment).unwrap();
        assert_eq!((got.exec_timeout, got.connect_timeout), (Some(ms), ms));
    }

    #[test]
    fn determinism_undoes_the_permuted_order() {
        let config = HcclConfig { order: ReduceOrder::Permuted(7), ..HcclConfig::default() };
        let order = |own, value: Option<&str>| {
            let pairs: Vec<_> = value.map(|v| ("HCCL_DETERMINISTIC", v)).into_iter().collect();
            settings(&config, own, &pairs).unwrap().order
        };
        assert_eq!(order(None, None), ReduceOrder::Permuted(7));
        assert_eq!(order(None, Some("true")), ReduceOrder::Rank);
        assert_eq!(order(None, Some("STRICT")), ReduceOrder::Rank);
        assert_eq!(order(Some(false), Some("true")), ReduceOrder::Permuted(7));
        assert_eq!(order(Some(true), None), ReduceOrder::Rank);
    }

    #[test]
    fn a_wrong_variable_is_named_with_its_value() {
        for (name, value) in [
            ("HCCL_EXEC_TIMEOUT", "-1"),
            ("HCCL_EXEC_TIMEOUT", "2147483648"),
            ("HCCL_CONNECT_TIMEOUT", "119"),
            ("HCCL_CONNECT_TIMEOUT", "7201"),
            ("HCCL_DETERMINISTIC", "yes"),
        ] {
            let refusal = settings(&HcclConfig::default(), None, &[(name, value)]).unwrap_err();
            assert_eq!(result_of(refusal.code), result::PARA);
            assert!(refusal.text.contains(&format!("{name} = {value:?}")), "{}", refusal.text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        for name in ["HCCL_EXEC_TIMEOUT", "HCCL_CONNECT_TIMEOUT", "HCCL_DETERMINISTIC"] {
            let variable = |n: &str| (n == name).then(|| OsString::from_vec(vec![b'1', 0xff]));
            let refusal = Settings::new(&HcclConfig::default(), None, variable).unwrap_err();
            assert_eq!(result_of(refusal.code), result::PARA);
            let want = format!("environment variable {name} = \"1\\xFF\" given, UTF-8 text wanted");
            assert_eq!(refusal.text, want);
        }
    }
}
