//! The simulated chip: what it reports on broken kernels, what its headers lower to, and its model time.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails; its numbers are small"
)]

mod activation_mutants;
mod argmax_mutants;
mod embedding_mutants;
mod faults;
mod flash_decode_mutants;
mod flash_fwd_matmul_mutants;
mod flash_fwd_mutants;
mod headers;
mod kv_append_mutants;
mod kv_append_rotary_mutants;
mod matmul_mutants;
mod merge_mutants;
mod mutation;
mod norm_mutants;
mod score_pass_mutants;
mod shift_keys_mutants;
mod timeline;
mod trace;
mod undefined;
