//! How the ranks of a communicator find each other: a root info names a gathering in the process that
//! made it.
//!
//! Ranks of that process go there directly. Others connect to its endpoint (`processes`), where a thread
//! meets in their stead.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ascend_sys::hccl::{COMM_NAME_BYTES, ROOT_INFO_BYTES};
use serde::{Deserialize, Serialize};

use super::comm_config::CommConfig;
use super::config::Settings;
use super::failure::{refusal, refuse, result};
use super::group::RankGroup;
use super::home::Home;
use super::member::{Member, Membership};
use super::processes::{join_remote, Endpoint};
use super::root::Root;
use super::transfer::Arithmetic;
use crate::acl::border::{Outcome, Refusal};
use crate::acl::wait::{ring, wait_until};

/// What a rank brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JoinRequest {
    pub(super) ranks: u32,
    pub(super) rank: u32,
    pub(super) home: Home,
    pub(super) settings: Settings,
    pub(super) config: CommConfig,
}

impl JoinRequest {
    /// The first thing that all ranks must agree on and these two do not: its name and both values.
    fn difference(&self, other: &JoinRequest) -> Option<(&'static str, String, String)> {
        let name =
            |request: &JoinRequest| request.config.name.clone().unwrap_or_else(|| "no name".to_owned());
        differ("number of ranks", &self.ranks, &other.ranks)
            .or_else(|| {
                let is_other = self.config.name != other.config.name;
                is_other.then(|| ("name", name(self), name(other)))
            })
            .or_else(|| differ("rounding of reductions", &self.settings.rounding, &other.settings.rounding))
            .or_else(|| differ("order of reductions", &self.settings.order, &other.settings.order))
    }

    /// "rank 1 (device 3)", also with its process when the ranks are from several.
    pub(super) fn text(&self, with_process: bool) -> String {
        format!("rank {} ({})", self.rank, self.home.text(with_process))
    }
}

fn differ<T: PartialEq + fmt::Debug>(
    what: &'static str,
    own: &T,
    theirs: &T,
) -> Option<(&'static str, String, String)> {
    (own != theirs).then(|| (what, format!("{own:?}"), format!("{theirs:?}")))
}

/// So many missing ranks are named; a number of ranks that is wrong can be large.
const NAMED: usize = 16;

/// So many root infos wait for ranks at a time. Each takes a few bytes; all share one thread and one
/// descriptor.
const MAX_GATHERINGS: usize = 4096;

/// Where the ranks of one communicator meet.
#[derive(Debug)]
pub(super) struct Gathering {
    number: u64,
    nonce: u64,
    state: Mutex<State>,
    /// For ranks of other processes, until they have met.
    endpoint: Mutex<Option<Endpoint>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<JoinRequest>,
    outcome: Option<Outcome<Arc<RankGroup>>>,
}

static GATHERINGS: Mutex<BTreeMap<u64, Arc<Gathering>>> = Mutex::new(BTreeMap::new());

fn gatherings() -> MutexGuard<'static, BTreeMap<u64, Arc<Gathering>>> {
    GATHERINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a gathering, for one communicator.
pub(super) fn root_info() -> [u8; ROOT_INFO_BYTES] {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let mut root = Root::new(number);
    let endpoint = Endpoint::open();
    root.endpoint = endpoint.as_ref().map(|endpoint| endpoint.name().to_owned()).map_err(ToString::to_string);
    let (state, endpoint) = (Mutex::default(), Mutex::new(endpoint.ok()));
    let forgotten = {
        let mut gatherings = gatherings();
        gatherings.insert(number, Arc::new(Gathering { number, nonce: root.nonce, state, endpoint }));
        let is_full = gatherings.len() > MAX_GATHERINGS;
        let oldest = gatherings
            .values()
            .find(|gathering| is_full && gathering.is_empty())
            .map(|gathering| gathering.number);
        oldest.and_then(|number| gatherings.remove(&number))
    };
    // Outside the lock: the endpoint has one of its own.
    drop(forgotten);
    root.to_bytes()
}

fn used_up<T>(number: u64) -> Outcome<T> {
    let text = format!(
        "rootInfo {number} is used up: it makes one communicator, or fails to, and {MAX_GATHERINGS} that no \
         rank has joined are kept"
    );
    refuse(result::NOT_FOUND, text)
}

/// The gathering of a root info of this process, for a peer who knows its nonce.
#[cfg(target_os = "linux")]
pub(super) fn gathering_of(number: u64, nonce: u64) -> Outcome<Arc<Gathering>> {
    let Some(gathering) = gatherings().get(&number).cloned() else { return used_up(number) };
    if gathering.nonce != nonce {
        return refuse(result::PARA, "rootInfo: its nonce is not that of the process of the endpoint");
    }
    Ok(gathering)
}

/// Joins the communicator of a root info, and waits for its other ranks.
pub(super) fn join(bytes: &[u8; ROOT_INFO_BYTES], request: &JoinRequest) -> Outcome<Box<dyn Membership>> {
    check(request)?;
    let root = Root::from_bytes(bytes)?;
    let gathering = gatherings().get(&root.number).filter(|gathering| gathering.nonce == root.nonce).cloned();
    match gathering {
        Some(gathering) => Ok(Box::new(Member { group: gathering.meet(request)?, rank: request.rank })),
        None if root.process == std::process::id() => used_up(root.number),
        None => join_remote(&root, request),
    }
}

/// Checks what does not depend on the other ranks. Requests of other processes are to be checked too.
fn check(request: &JoinRequest) -> Outcome {
    if request.ranks == 0 {
        return refuse(result::PARA, "nRanks = 0 given, at least 1 wanted");
    }
    if request.rank >= request.ranks {
        return refuse(
            result::PARA,
            format!("rank = {} given, a rank below nRanks = {} wanted", request.rank, request.ranks),
        );
    }
    let name_bytes = request.config.name.as_ref().map_or(0, String::len);
    if name_bytes >= COMM_NAME_BYTES {
        let text = format!("a name of {name_bytes} bytes given, at most {} wanted", COMM_NAME_BYTES - 1);
        return refuse(result::PARA, text);
    }
    Ok(())
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has no rank come?
    fn is_empty(&self) -> bool {
        let state = self.state();
        state.requests.is_empty() && state.outcome.is_none()
    }

    /// Have the ranks met, or failed to?
    #[cfg(target_os = "linux")]
    pub(super) fn has_ended(&self) -> bool {
        self.state().outcome.is_some()
    }

    /// Waits here for the other ranks.
    pub(super) fn meet(&self, request: &JoinRequest) -> Outcome<Arc<RankGroup>> {
        check(request)?;
        {
            let mut state = self.state();
            if let Some(outcome) = &state.outcome {
                return outcome.clone().and_then(|_| used_up(self.number));
            }
            state.outcome = state.admit(request);
        }
        ring();
        let timeout = request.settings.connect_timeout;
        if !wait_until(Some(timeout), || self.state().outcome.is_some()) {
            let text = self.state().missing_text(request, timeout);
            self.give_up(refusal(result::TIMEOUT, text));
        }
        gatherings().remove(&self.number);
        drop(self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take());
        let outcome = self.state().outcome.clone();
        outcome.unwrap_or_else(|| unreachable!("waited for above"))
    }

    /// There will be no communicator, unless there is one.
    pub(super) fn give_up(&self, why: Refusal) {
        self.state().outcome.get_or_insert(Err(why));
        ring();
    }
}

impl State {
    /// Takes a rank in. `Some` when that decides whether there is a communicator.
    ///
    /// ASSUMPTION(hccl-one-device-one-rank): two ranks on one device are refused.
    fn admit(&mut self, request: &JoinRequest) -> Option<Outcome<Arc<RankGroup>>> {
        for other in &self.requests {
            let several = request.home.process != other.home.process;
            let refusal = request.difference(other).map(|(what, own, theirs)| {
                format!(
                    "ranks disagree on the {what}: {} gives {own}, {} gives {theirs}",
                    request.text(several),
                    other.text(several)
                )
            });
            let taken = (request.rank == other.rank || request.home == other.home).then(|| {
                format!(
                    "rank {} on {} given, while rank {} is on {}; a device for each rank wanted",
                    request.rank,
                    request.home.text(several),
                    other.rank,
                    other.home.text(several)
                )
            });
            if let Some(text) = refusal.or(taken) {
                return Some(refuse(result::PARA, text));
            }
        }
        self.requests.push(request.clone());
        if self.requests.len() < request.ranks as usize {
            return None;
        }
        self.requests.sort_by_key(|request| request.rank);
        Some(Ok(group(&self.requests)))
    }

    fn missing_text(&self, request: &JoinRequest, waited: Duration) -> String {
        let missing = (0..request.ranks).filter(|rank| self.requests.iter().all(|g| g.rank != *rank));
        let named: Vec<String> = missing.take(NAMED).map(|rank| rank.to_string()).collect();
        let missing = request.ranks as usize - self.requests.len();
        let more = if missing > NAMED { format!(" and {} more", missing - NAMED) } else { String::new() };
        let named = named.join(", ");
        format!("rank {} waited {waited:?} for rank {named}{more} of {}", request.rank, request.ranks)
    }
}

/// The communicator of all ranks, in order.
fn group(requests: &[JoinRequest]) -> Arc<RankGroup> {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let first = &requests[0];
    let name =
        first.config.name.clone().unwrap_or_else(|| {
            format!("sim_{}_{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed))
        });
    let arithmetic = Arithmetic { rounding: first.settings.rounding, order: first.settings.order };
    Arc::new(RankGroup::new(name, requests.iter().map(|request| request.home).collect(), arithmetic))
}

/// A communicator whose ranks one thread names: they need not wait for each other.
pub(super) fn together(requests: &[JoinRequest]) -> Outcome<Arc<RankGroup>> {
    let mut state = State::default();
    for request in requests {
        check(request)?;
        if let Some(outcome) = state.admit(request) {
            return outcome;
        }
    }
    refuse(result::PARA, "ndev = 0 given, at least 1 device wanted")
}
