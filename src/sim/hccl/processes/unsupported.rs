//! Systems without Unix-domain sockets: ranks are of one process.

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Weak;

use super::super::bootstrap::{JoinRequest, Place};
use super::super::failure::{refuse, result};
use super::super::member::Membership;
use super::super::root::Root;
use crate::sim::acl::border::Outcome;

const WHY: &str = "communicators across processes are not supported on this system, Linux or macOS wanted";

/// There is none.
pub(in super::super) struct Endpoint(Infallible);

impl Endpoint {
    pub(in super::super) fn open(_nonce: u64, _place: Weak<Place>) -> Result<Endpoint, Error> {
        Err(Error::new(ErrorKind::Unsupported, WHY))
    }

    pub(in super::super) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(in super::super) fn close(&self) {
        match self.0 {}
    }
}

pub(in super::super) fn join_remote(root: &Root, _guest: &JoinRequest) -> Outcome<Box<dyn Membership>> {
    refuse(result::NOT_SUPPORT, format!("rootInfo of process {} given: {WHY}", root.process))
}
