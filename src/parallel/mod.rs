//! Tiling-AllReduce: attention, output projection and AllReduce of a tensor-parallel layer, with the
//! communication behind the computation (FastAttention, paper.md 6).
//!
//! Every rank holds some heads, and the rows of the projection's weight that belong to them. Its product is
//! one summand of the layer's output, and the ranks add theirs up. Here the rows of the output are cut into
//! blocks: while the AllReduce of one block runs on a stream of its own, the cores compute attention and
//! projection of the next.
//!
//! A [`Problem`] is planned once, with the same plan on every rank, and its [`Plan`] launched for every layer
//! and step. [`plan`] chooses the blocks from a model of what computing and moving them takes; [`plan_with`]
//! takes the caller's.
//!
//! Attention and projection of a block are one kernel where they can be: [`AttentionMatmul`].
//!
//! **Results do not depend on the blocks**, bit by bit: rows are cut where the attention plan cuts them
//! anyway, the projection sums in one order for any number of rows, and the AllReduce adds element by
//! element. Where HCCL's own order depends on size or time, ask
//! for [`deterministic`](crate::runtime::CommunicatorOptions) reductions.
//!
//! Why blocks are scheduled by the host and not inside one kernel, and what the ranks have to agree on:
//! `docs/parallel.md`.

mod costs;
mod fused;
mod launch;
mod plan;
mod problem;
pub mod schedule;
mod sequences;

pub use fused::{kernel_name, AttentionMatmul};
pub use launch::{Args, AttentionArgs, LinearArgs, TilingAllReduce};
pub use plan::{plan, plan_with, Block, Plan};
pub use problem::{Linear, Problem};
pub use sequences::{Sequence, Sequences};
