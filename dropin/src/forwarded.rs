//! The functions that the simulator has, from its own lists of names and signatures.

use std::ffi::{c_char, c_void};

use ascend_sys::hccl::*;
use ascend_sys::*;
use fastattention::sim::{acl_table, client_table, hccl_table};

use crate::prepare;

/// Exports a list of functions; the optional ones only when a condition of `cfg` holds.
macro_rules! export {
    (
        ($table:ident, if $condition:meta)
        required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        optional { $($later:ident($($larg:ident: $ltype:ty),*) -> $lret:ty;)* }
    ) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
                prepare();
                // SAFETY: the caller keeps the contract of the C function of this name.
                unsafe { ($table().$name)($($arg),*) }
            }
        )*
        $(
            #[cfg($condition)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $later($($larg: $ltype),*) -> $lret {
                prepare();
                let function = $table().$later.unwrap_or_else(|| unreachable!("the simulator has all"));
                // SAFETY: the caller keeps the contract of the C function of this name.
                unsafe { function($($larg),*) }
            }
        )*
    };
}

// What is optional in the ACL lists came after CANN 8.1; every HCCL function was there.
ascend_sys::acl_functions!(export(acl_table, if feature = "cann-8-5"));
ascend_sys::client_functions!(export(client_table, if feature = "cann-8-5"));
ascend_sys::hccl_functions!(export(hccl_table, if all()));
