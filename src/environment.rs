//! Environment variables with a wrong value as errors of this crate.

use std::ffi::OsString;
use std::fmt::{Debug, Display};

use ascend_sys::environment;

use crate::{Error, Result};

/// The value of a variable that is text; `None` when it is not set. `variable` reads the environment.
///
/// # Errors
/// `InvalidArgument` for a value that is not UTF-8.
pub(crate) fn text(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<String>> {
    environment::text(variable, name).map_err(Error::invalid)
}

/// A variable with a wrong value.
pub(crate) fn wrong(name: &str, value: impl Debug, want: impl Display) -> Error {
    Error::invalid(environment::wrong(name, value, want))
}
