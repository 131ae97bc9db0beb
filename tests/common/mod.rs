//! What the attention tests share.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

pub mod cases;
pub mod compare;
pub mod data;
pub mod run;
