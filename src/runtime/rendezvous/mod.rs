//! How the processes of a job, one or more ranks each, come by one root info.

mod environment;
mod file;
mod tcp;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Communicator, Device, RootInfo};
use crate::{Error, ErrorKind, Result};

/// Passes the root info from rank 0 to the other ranks of a job, whose processes know each other from
/// environment variables or a file.
///
/// HCCL leaves this to the program; it is the same for the simulator and for NPUs. Every rank makes one
/// rendezvous with the same ranks, point and job, and calls [`Self::communicator`] or [`Self::exchange`]
/// once.
///
/// ```
/// use fastattention::runtime::{Device, MeetingPoint, Rendezvous};
///
/// // In a program that torchrun or mpirun starts: Rendezvous::from_env()?
/// let point = MeetingPoint::Tcp { host: "127.0.0.1".into(), port: 29501 };
/// let job = Rendezvous::new(0, 1, point)?;
/// let comm = job.communicator(&Device::open("sim")?)?;
/// assert_eq!((comm.rank(), comm.ranks()), (0, 1));
/// # Ok::<(), fastattention::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    rank: u32,
    ranks: u32,
    local_rank: u32,
    job: String,
    secret: Secret,
    point: MeetingPoint,
    timeout: Duration,
}

/// What only the ranks of a job know; empty when they know nothing that others do not. It is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
struct Secret(String);

impl Secret {
    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "set" })
    }
}

/// Where ranks get the root info.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeetingPoint {
    /// Rank 0 listens, the others connect.
    Tcp {
        /// Name or address of rank 0's machine, as the other ranks know it.
        host: String,
        /// A port that nothing else uses.
        port: u16,
    },
    /// Rank 0 writes a file that the others read. There must be none before. It is of the user who runs the
    /// ranks: what others have written, or may write to, is refused.
    File(PathBuf),
}

impl fmt::Display for MeetingPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeetingPoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            MeetingPoint::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// As HCCL waits for ranks (`HCCL_CONNECT_TIMEOUT`).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

impl Rendezvous {
    /// Rank `rank` of `ranks`. All ranks are of one machine: [`Self::with_local_rank`] says otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` for a rank that is not below `ranks`.
    pub fn new(rank: u32, ranks: u32, point: MeetingPoint) -> Result<Rendezvous> {
        if rank >= ranks {
            return Err(Error::invalid(format!(
                "Rendezvous: rank = {rank} given, a rank below ranks = {ranks} wanted"
            )));
        }
        let (job, secret, timeout) = (String::new(), Secret::default(), DEFAULT_TIMEOUT);
        Ok(Rendezvous { rank, ranks, local_rank: rank, job, secret, point, timeout })
    }

    /// What the launcher of this process says in environment variables.
    ///
    /// | what | torchrun | Open MPI |
    /// | --- | --- | --- |
    /// | rank | `RANK` | `OMPI_COMM_WORLD_RANK` |
    /// | ranks | `WORLD_SIZE` | `OMPI_COMM_WORLD_SIZE` |
    /// | local rank | `LOCAL_RANK` | `OMPI_COMM_WORLD_LOCAL_RANK` |
    /// | job | `TORCHELASTIC_RUN_ID`, `TORCHELASTIC_RESTART_COUNT`, when set | none |
    ///
    /// `RANK` decides which column counts. The point is `FASTATTENTION_RENDEZVOUS_FILE` when that is set;
    /// else host `MASTER_ADDR` with port `FASTATTENTION_RENDEZVOUS_PORT`, which is `MASTER_PORT` + 1 when
    /// not set, since on `MASTER_PORT` torchrun's own store listens. The time limit is that of
    /// `HCCL_CONNECT_TIMEOUT`; the secret is `FASTATTENTION_RENDEZVOUS_SECRET`, when that is set.
    ///
    /// # Errors
    /// `InvalidArgument` for a variable that is missing or wrong: its name, its value, what is wanted.
    pub fn from_env() -> Result<Rendezvous> {
        environment::read(|name| std::env::var_os(name))
    }

    /// The number of this rank among those of its machine: the number of its NPU.
    #[must_use]
    pub fn with_local_rank(self, local_rank: u32) -> Rendezvous {
        Rendezvous { local_rank, ..self }
    }

    /// Names the job, so that ranks of different jobs at one point do not meet. The first 255 bytes count.
    #[must_use]
    pub fn with_job(self, job: impl Into<String>) -> Rendezvous {
        Rendezvous { job: job.into(), ..self }
    }

    /// A secret of the job, which keeps others from taking part where they reach its point. All ranks have
    /// the same: a rank with another one, or with none, is refused. It is not sent: each side proves that
    /// it knows it. Random text of 16 characters or more wanted, since short ones can be guessed from a
    /// recorded meeting. What follows on the links of an NPU is not protected by it. A refusal proves
    /// nothing: whoever listens at the point in the place of rank 0 can end the ranks that ask there,
    /// though not take part. Empty is none.
    #[must_use]
    pub fn with_secret(self, secret: impl Into<String>) -> Rendezvous {
        Rendezvous { secret: Secret(secret.into()), ..self }
    }

    /// How long ranks wait for each other here; 120 s if not set. HCCL's own limits come on top, and so does
    /// the time that the system takes to find the address of a host's name, which it does without a
    /// limit: an address needs none.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Rendezvous {
        Rendezvous { timeout, ..self }
    }

    /// This rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// Number of ranks.
    pub fn ranks(&self) -> u32 {
        self.ranks
    }

    /// The number of this rank among those of its machine.
    pub fn local_rank(&self) -> u32 {
        self.local_rank
    }

    /// Where the ranks get the root info.
    pub fn point(&self) -> &MeetingPoint {
        &self.point
    }

    /// Makes the root info on `device` when this is rank 0, and passes it on. Rank 0 returns when all ranks
    /// have it, from a [`MeetingPoint::File`] when it is written; the file is left to the caller.
    ///
    /// # Errors
    /// `Timeout` when ranks are missing, whose numbers rank 0 tells, with what the last one said that it
    /// refused. `InvalidArgument` for a rank that rank 0 refuses, for a port in use and a file that
    /// exists. `Io` for other failures of network or file, also a file that another user may have
    /// written. As [`RootInfo::new`].
    pub fn exchange(&self, device: &Device) -> Result<RootInfo> {
        // Far away in place of what no clock can tell.
        let now = Instant::now();
        let deadline =
            now.checked_add(self.timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()));
        if self.rank == 0 {
            let root = RootInfo::new(device)?;
            match &self.point {
                MeetingPoint::Tcp { host, port } => tcp::give(self, (host, *port), &root, deadline)?,
                MeetingPoint::File(path) => file::give(self, path, &root)?,
            }
            return Ok(root);
        }
        match &self.point {
            MeetingPoint::Tcp { host, port } => tcp::get(self, (host, *port), deadline),
            MeetingPoint::File(path) => file::get(self, path, deadline),
        }
    }

    /// Joins the communicator of the job, one rank a process. A file is removed when that has been done, or
    /// has failed.
    ///
    /// # Errors
    /// As [`Self::exchange`] and [`Communicator::new`].
    pub fn communicator(&self, device: &Device) -> Result<Communicator> {
        let root = self.exchange(device)?;
        let joined = Communicator::new(device, &root, self.rank, self.ranks);
        if let (MeetingPoint::File(path), 0) = (&self.point, self.rank) {
            // All have read it. Whoever removed it before has done no harm.
            let _ = std::fs::remove_file(path);
        }
        joined
    }

    fn error(&self, kind: ErrorKind, text: impl fmt::Display) -> Error {
        Error::new(
            kind,
            format!("Rendezvous of rank {} of {} at {}: {text}", self.rank, self.ranks, self.point),
        )
    }
}
