//! What launchers say in environment variables.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{MeetingPoint, Rendezvous};
use crate::environment::{self, text};
use crate::{Error, Result};

/// Chooses the port.
pub(super) const PORT: &str = "FASTATTENTION_RENDEZVOUS_PORT";
const FILE: &str = "FASTATTENTION_RENDEZVOUS_FILE";
const TIMEOUT: &str = "HCCL_CONNECT_TIMEOUT";
const SECRET: &str = "FASTATTENTION_RENDEZVOUS_SECRET";

/// Names of rank, number of ranks and local rank.
const TORCHRUN: [&str; 3] = ["RANK", "WORLD_SIZE", "LOCAL_RANK"];
const OPEN_MPI: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"];

fn wrong(name: &str, value: impl fmt::Debug, want: impl fmt::Display) -> Error {
    Error::invalid(format!("Rendezvous: {}", environment::wrong(name, value, want)))
}

fn missing(names: &str, want: &str) -> Error {
    Error::invalid(format!("Rendezvous: environment variable {names} is not set, {want} wanted"))
}

fn number<T: FromStr + PartialOrd + fmt::Display>(
    name: &str,
    value: &str,
    range: &RangeInclusive<T>,
) -> Result<T> {
    let number = value.trim().parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| wrong(name, value, format_args!("a number from {} to {}", range.start(), range.end())))
}

pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Rendezvous> {
    let column = [TORCHRUN, OPEN_MPI].into_iter().find(|names| variable(names[0]).is_some());
    let Some([rank, ranks, local_rank]) = column else {
        let names = format!("{} or {}", TORCHRUN[0], OPEN_MPI[0]);
        return Err(missing(&names, "the rank of this process, as torchrun and mpirun set it,"));
    };
    let get = |name, range: RangeInclusive<u32>| match text(&variable, name)? {
        Some(value) => number(name, &value, &range),
        None => Err(missing(name, "a number")),
    };
    let ranks = get(ranks, 1..=u32::MAX)?;
    let (rank, local_rank) = (get(rank, 0..=ranks - 1)?, get(local_rank, 0..=ranks - 1)?);
    let timeout = match text(&variable, TIMEOUT)? {
        // The limits of the variable (HCCL user guide; acl-runtime.md 4.3).
        Some(value) => Some(Duration::from_secs(number(TIMEOUT, &value, &(120..=7200))?)),
        None => None,
    };
    let own = Rendezvous::new(rank, ranks, point(&variable)?)?
        .with_local_rank(local_rank)
        .with_job(job(&variable)?)
        .with_secret(secret(&variable)?);
    Ok(match timeout {
        Some(timeout) => own.with_timeout(timeout),
        None => own,
    })
}

fn point(variable: impl Fn(&str) -> Option<OsString>) -> Result<MeetingPoint> {
    // A path need not be text.
    if let Some(path) = variable(FILE) {
        if path.is_empty() {
            return Err(wrong(FILE, &path, "the path of a file"));
        }
        return Ok(MeetingPoint::File(path.into()));
    }
    let Some(host) = text(&variable, "MASTER_ADDR")?.filter(|host| !host.is_empty()) else {
        let names = format!("MASTER_ADDR (or {FILE})");
        return Err(missing(&names, "the address of rank 0's machine (or a path)"));
    };
    let port = match (text(&variable, PORT)?, text(&variable, "MASTER_PORT")?) {
        (Some(port), _) => number(PORT, &port, &(1..=u16::MAX))?,
        (None, Some(port)) => number("MASTER_PORT", &port, &(1..=u16::MAX - 1))? + 1,
        (None, None) => return Err(missing(&format!("MASTER_PORT or {PORT}"), "a port of rank 0's machine")),
    };
    Ok(MeetingPoint::Tcp { host, port })
}

/// The value is in no text.
fn secret(variable: impl Fn(&str) -> Option<OsString>) -> Result<String> {
    let Some(secret) = variable(SECRET) else { return Ok(String::new()) };
    secret.into_string().ok().filter(|secret| !secret.is_empty()).ok_or_else(|| {
        let text = "is empty or not UTF-8, a text that only the ranks of the job know wanted";
        Error::invalid(format!("Rendezvous: environment variable {SECRET} {text}"))
    })
}

/// Restarted workers are another job than those before.
fn job(variable: impl Fn(&str) -> Option<OsString>) -> Result<String> {
    let get = |name| text(&variable, name).map(Option::unwrap_or_default);
    let parts = [get("TORCHELASTIC_RUN_ID")?, get("TORCHELASTIC_RESTART_COUNT")?];
    Ok(parts.join("/").trim_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Rendezvous> {
        read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    const TORCH: [(&str, &str); 5] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node0"),
        ("MASTER_PORT", "29500"),
    ];

    fn tcp(host: &str, port: u16) -> MeetingPoint {
        MeetingPoint::Tcp { host: host.into(), port }
    }

    #[test]
    fn the_variables_of_torchrun() {
        let got = of(&TORCH).unwrap();
        assert_eq!((got.rank(), got.ranks(), got.local_rank()), (3, 4, 1));
        assert_eq!((got.point(), got.timeout), (&tcp("node0", 29501), Duration::from_secs(120)));
        let more = [
            (SECRET, "hidden"),
            ("TORCHELASTIC_RUN_ID", "j7"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
            (PORT, "77"),
            (TIMEOUT, "300"),
        ];
        let got = of(&[TORCH.as_slice(), &more].concat()).unwrap();
        assert_eq!((got.point(), got.job.as_str()), (&tcp("node0", 77), "j7/2"));
        assert_eq!(got.timeout, Duration::from_secs(300));
        assert_eq!(got.secret.as_bytes(), b"hidden");
        assert!(!format!("{got:?}").contains("hidden"));
    }

    #[test]
    fn the_variables_of_open_mpi() {
        let mut pairs: Vec<_> = OPEN_MPI.into_iter().zip(["0", "2", "0"]).collect();
        pairs.push((FILE, "/tmp/meet"));
        let got = of(&pairs).unwrap();
        assert_eq!((got.rank(), got.ranks(), got.local_rank(), got.job.as_str()), (0, 2, 0, ""));
        assert_eq!(got.point(), &MeetingPoint::File("/tmp/meet".into()));
        // Under both launchers the inner one, torchrun, counts.
        pairs.extend(TORCH);
        assert_eq!(of(&pairs).unwrap().rank(), 3);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let text = |pairs: &[(&str, &str)]| of(pairs).unwrap_err().to_string();
        assert!(text(&[]).contains("RANK or OMPI_COMM_WORLD_RANK is not set"), "{}", text(&[]));
        for (i, (name, _)) in TORCH.into_iter().enumerate().skip(1) {
            let mut pairs = TORCH.to_vec();
            pairs.remove(i);
            let text = text(&pairs);
            assert!(text.contains(name) && text.contains("is not set"), "{text}");
        }
        for (name, value, want) in [
            ("RANK", "4", "0 to 3"),
            ("RANK", "-1", "0 to 3"),
            ("RANK", "x", "0 to 3"),
            ("WORLD_SIZE", "0", "1 to 4294967295"),
            ("LOCAL_RANK", "", "0 to 3"),
            ("MASTER_PORT", "65535", "1 to 65534"),
            ("MASTER_PORT", "0", "1 to 65534"),
            (PORT, "65536", "1 to 65535"),
            (TIMEOUT, "5", "120 to 7200"),
        ] {
            let mut pairs = vec![(name, value)];
            pairs.extend(TORCH);
            let text = text(&pairs);
            assert!(text.contains(&format!("{name} = {value:?} given")) && text.contains(want), "{text}");
        }
        let text = text(&[TORCH.as_slice(), &[(FILE, "")]].concat());
        assert!(text.contains("FASTATTENTION_RENDEZVOUS_FILE = \"\" given"), "{text}");
        let error = of(&[TORCH.as_slice(), &[(SECRET, "")]].concat()).unwrap_err().to_string();
        assert!(error.contains("SECRET is empty or not UTF-8"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_text_are_refused_but_in_paths() {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let bytes = || OsString::from_vec(b"7\xff".to_vec());
        // `name` has the bytes, all others are those of torchrun.
        let with = |name: &str| {
            read(|n| {
                let torch = TORCH.iter().find(|(known, _)| *known == n).map(|(_, value)| value.into());
                if n == name {
                    Some(bytes())
                } else {
                    torch
                }
            })
        };
        let others = [PORT, TIMEOUT, "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"];
        for name in TORCH.map(|(name, _)| name).into_iter().chain(others) {
            let error = with(name).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            let want = format!("environment variable {name} = \"7\\xFF\" given, UTF-8 text wanted");
            assert!(error.to_string().contains(&want), "{error}");
        }
        let error = with(SECRET).unwrap_err().to_string();
        assert!(error.contains("SECRET is empty or not UTF-8") && !error.contains('7'), "{error}");
        let MeetingPoint::File(path) = with(FILE).unwrap().point().clone() else { panic!("not a file") };
        assert_eq!(path.as_os_str().as_bytes(), bytes().as_bytes());
    }
}
