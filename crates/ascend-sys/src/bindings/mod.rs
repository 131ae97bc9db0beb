//! What bindgen makes of the CANN headers: types, constants, functions. The committed files are those of CANN
//! 8.1.RC1 (`acl`, `hccl`) and CANN 9.1 (`later`); docs/bindings.md tells how they are made and checked.
//!
//! The functions are declared for their types only, and never called: nothing is linked.

macro_rules! generated {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])*
        #[allow(
            clippy::pedantic,
            dead_code,
            missing_debug_implementations,
            missing_docs,
            non_camel_case_types,
            non_snake_case,
            unreachable_pub,
            unsafe_code,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::multiple_unsafe_ops_per_block,
            clippy::undocumented_unsafe_blocks,
            reason = "generated: what the C headers say"
        )]
        pub mod $name {
            include!(concat!(env!("FA_BUILD_BINDINGS"), $file));
        })*
    };
}

generated! {
    /// ACL: what every supported release has.
    acl = "/acl.rs";
    /// HCCL.
    hccl = "/hccl.rs";
    /// ACL: functions that came after CANN 8.1.
    later = "/later.rs";
}
