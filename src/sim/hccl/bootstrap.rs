//! How the ranks of a communicator find each other: a root info names a meeting place in this process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::comm_config::CommConfig;
use super::config::Settings;
use super::failure::{refuse, result};
use super::group::Group;
use super::transfer::Arithmetic;
use crate::driver::hccl::ROOT_INFO_BYTES;
use crate::sim::acl::border::Outcome;
use crate::sim::acl::stream::{ring, wait_until};

/// Start of a root info of this simulator; process and place follow, little-endian, and zeros.
const MAGIC: &[u8; 16] = b"fa-sim-hccl-root";

/// What a rank brings.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) ranks: u32,
    pub(super) rank: u32,
    pub(super) device: i32,
    pub(super) settings: Settings,
    pub(super) config: CommConfig,
}

impl Guest {
    /// The first thing that all ranks must agree on and these two do not: its name and both values.
    fn difference(&self, other: &Guest) -> Option<(&'static str, String, String)> {
        differ("number of ranks", &self.ranks, &other.ranks)
            .or_else(|| differ("name", &self.config.name, &other.config.name))
            .or_else(|| differ("rounding of reductions", &self.settings.rounding, &other.settings.rounding))
            .or_else(|| differ("order of reductions", &self.settings.order, &other.settings.order))
    }
}

fn differ<T: PartialEq + fmt::Debug>(
    what: &'static str,
    own: &T,
    theirs: &T,
) -> Option<(&'static str, String, String)> {
    (own != theirs).then(|| (what, format!("{own:?}"), format!("{theirs:?}")))
}

#[derive(Default)]
struct Place {
    guests: Vec<Guest>,
    outcome: Option<Outcome<Arc<Group>>>,
}

static PLACES: Mutex<BTreeMap<u64, Arc<Mutex<Place>>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a meeting place, for one communicator.
pub(super) fn root_info() -> [u8; ROOT_INFO_BYTES] {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    locked(&PLACES).insert(number, Arc::default());
    let mut bytes = [0; ROOT_INFO_BYTES];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    bytes[20..28].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn place_of(bytes: &[u8; ROOT_INFO_BYTES]) -> Outcome<(u64, Arc<Mutex<Place>>)> {
    let (magic, rest) = bytes.split_at(16);
    let (process, rest) = rest.split_at(4);
    let (number, zeros) = rest.split_at(8);
    if magic != MAGIC || zeros.iter().any(|&b| b != 0) {
        return refuse(result::PARA, "rootInfo was not made by HcclGetRootInfo of this library");
    }
    let process = process.iter().rev().fold(0u32, |all, &b| all << 8 | u32::from(b));
    let number = number.iter().rev().fold(0u64, |all, &b| all << 8 | u64::from(b));
    if process != std::process::id() {
        return refuse(
            result::NOT_SUPPORT,
            format!(
                "rootInfo of process {process} given, one of this process ({}) wanted: the simulated ranks are threads",
                std::process::id()
            ),
        );
    }
    match locked(&PLACES).get(&number) {
        Some(place) => Ok((number, Arc::clone(place))),
        None => used_up(number),
    }
}

fn used_up<T>(number: u64) -> Outcome<T> {
    refuse(result::NOT_FOUND, format!("rootInfo {number} is used up: it makes one communicator, or fails to"))
}

/// Joins the communicator of a root info, and waits for its other ranks.
pub(super) fn join(bytes: &[u8; ROOT_INFO_BYTES], guest: &Guest) -> Outcome<Arc<Group>> {
    check_rank(guest)?;
    let (number, place) = place_of(bytes)?;
    {
        let mut place = locked(&place);
        if let Some(outcome) = &place.outcome {
            return outcome.clone().and_then(|_| used_up(number));
        }
        place.outcome = place.admit(guest);
    }
    ring();
    let timeout = guest.settings.connect_timeout;
    if !wait_until(Some(timeout), || locked(&place).outcome.is_some()) {
        let mut place = locked(&place);
        let text = place.missing_text(guest, timeout);
        place.outcome.get_or_insert_with(|| refuse(result::TIMEOUT, text));
        drop(place);
        ring();
    }
    locked(&PLACES).remove(&number);
    let outcome = locked(&place).outcome.clone();
    outcome.unwrap_or_else(|| unreachable!("waited for above"))
}

fn check_rank(guest: &Guest) -> Outcome {
    if guest.ranks == 0 {
        return refuse(result::PARA, "nRanks = 0 given, at least 1 wanted");
    }
    if guest.rank >= guest.ranks {
        return refuse(
            result::PARA,
            format!("rank = {} given, a rank below nRanks = {} wanted", guest.rank, guest.ranks),
        );
    }
    Ok(())
}

impl Place {
    /// Takes a rank in. `Some` when that decides whether there is a communicator.
    ///
    /// ASSUMPTION(hccl-one-device-one-rank): two ranks on one device are refused.
    fn admit(&mut self, guest: &Guest) -> Option<Outcome<Arc<Group>>> {
        for other in &self.guests {
            let refusal = guest.difference(other).map(|(what, own, theirs)| {
                format!(
                    "ranks disagree on the {what}: rank {} (device {}) gives {own}, rank {} (device {}) gives {theirs}",
                    guest.rank, guest.device, other.rank, other.device
                )
            });
            let taken = (guest.rank == other.rank || guest.device == other.device).then(|| {
                format!(
                    "rank {} on device {} given, while rank {} is on device {}; a device for each rank wanted",
                    guest.rank, guest.device, other.rank, other.device
                )
            });
            if let Some(text) = refusal.or(taken) {
                return Some(refuse(result::PARA, text));
            }
        }
        self.guests.push(guest.clone());
        if self.guests.len() < guest.ranks as usize {
            return None;
        }
        self.guests.sort_by_key(|guest| guest.rank);
        Some(Ok(group(&self.guests)))
    }

    fn missing_text(&self, guest: &Guest, waited: std::time::Duration) -> String {
        let missing: Vec<String> = (0..guest.ranks)
            .filter(|rank| self.guests.iter().all(|g| g.rank != *rank))
            .map(|rank| rank.to_string())
            .collect();
        format!("rank {} waited {waited:?} for rank {} of {}", guest.rank, missing.join(", "), guest.ranks)
    }
}

/// The communicator of all ranks, in order.
fn group(guests: &[Guest]) -> Arc<Group> {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let first = &guests[0];
    let name =
        first.config.name.clone().unwrap_or_else(|| {
            format!("sim_{}_{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed))
        });
    let arithmetic = Arithmetic { rounding: first.settings.rounding, order: first.settings.order };
    Arc::new(Group::new(name, guests.iter().map(|guest| guest.device).collect(), arithmetic))
}

/// A communicator whose ranks one thread names: they need not wait for each other.
pub(super) fn together(guests: &[Guest]) -> Outcome<Arc<Group>> {
    let mut place = Place::default();
    for guest in guests {
        check_rank(guest)?;
        if let Some(outcome) = place.admit(guest) {
            return outcome;
        }
    }
    refuse(result::PARA, "ndev = 0 given, at least 1 device wanted")
}
