//! Environment variables: a value is taken as it is or refused, never ignored and never changed.

use std::ffi::OsString;
use std::fmt::{Debug, Display};

/// The value of a variable that is text; `None` when it is not set. `variable` reads the environment.
///
/// # Errors
/// The text of [`wrong`] for a value that is not UTF-8.
pub fn text(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<String>, String> {
    let text = |value: OsString| value.into_string().map_err(|value| wrong(name, &value, "UTF-8 text"));
    variable(name).map(text).transpose()
}

/// Says that a variable has a wrong value.
pub fn wrong(name: &str, value: impl Debug, want: impl Display) -> String {
    format!("environment variable {name} = {value:?} given, {want} wanted")
}
