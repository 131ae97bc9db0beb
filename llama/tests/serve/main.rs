//! The server over real sockets, with a small model of random weights, and with SmolLM2 as a process that a
//! client of OpenAI's asks.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]
#![allow(clippy::print_stdout, reason = "tests say why nothing was compared")]

mod answers;
mod ends;
mod http;
#[path = "../tiny/model.rs"]
#[allow(dead_code, reason = "tests/tiny uses all of it")]
mod model;
mod openai;
mod readers;
mod server;
mod wrong;
