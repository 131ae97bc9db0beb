//! Systems other than Linux: ranks are of one process. Linux shares memory whose length nobody can change,
//! and watches processes.

use std::convert::Infallible;
use std::io::{Error, ErrorKind};

use super::super::bootstrap::JoinRequest;
use super::super::failure::{refuse, result};
use super::super::member::Membership;
use super::super::root::Root;
use crate::acl::border::Outcome;

const WHY: &str = "communicators across processes are not supported on this system, Linux wanted";

/// There is none.
#[derive(Debug)]
pub(crate) struct Endpoint(Infallible);

impl Endpoint {
    pub(crate) fn open() -> Result<Endpoint, Error> {
        Err(Error::new(ErrorKind::Unsupported, WHY))
    }

    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }
}

pub(crate) fn join_remote(root: &Root, _guest: &JoinRequest) -> Outcome<Box<dyn Membership>> {
    refuse(result::NOT_SUPPORT, format!("rootInfo of process {} given: {WHY}", root.process))
}
