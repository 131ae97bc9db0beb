//! Tests that work with processes of their own: ranks of a job that meet, die and disagree, and programs
//! whose calls are recorded.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(target_os = "linux")]
mod acl_record;
#[cfg(target_os = "linux")]
mod hccl;
mod parallel;
