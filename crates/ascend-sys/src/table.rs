//! What a table of C functions is, for any list of names and signatures (ACL, HCCL).

#![allow(unsafe_code, reason = "turns addresses from a dynamic loader into C function pointers")]

use std::ffi::c_void;

/// A table of C functions that can be filled from a shared library.
pub(crate) trait FunctionTable: Sized {
    /// Fills the table by name.
    ///
    /// # Errors
    /// The names of all required functions that `lookup` does not find.
    ///
    /// # Safety
    /// An address that `lookup` returns must be that of the C function of this name with the signature of the
    /// CANN headers, and must stay valid for the life of the process.
    unsafe fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<*mut c_void>,
    ) -> Result<Self, Vec<&'static str>>;
}

/// Defines the table of a list of functions: the struct, and how it is filled.
macro_rules! define_table {
    (
        ($table:ident, $doc:literal)
        required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        optional { $($later:ident($($larg:ident: $ltype:ty),*) -> $lret:ty;)* }
    ) => {
        #[doc = $doc]
        /// A field has the name of its C function.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs, reason = "the C names are documented by the vendor")]
        #[allow(non_snake_case, reason = "a search for a C function finds every use")]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($arg: $type),*) -> $ret,)*
            $(pub $later: Option<unsafe extern "C" fn($($larg: $ltype),*) -> $lret>,)*
        }

        #[allow(unsafe_code, reason = "turns addresses from a dynamic loader into C function pointers")]
        impl $crate::table::FunctionTable for $table {
            unsafe fn from_lookup(
                lookup: impl Fn(&'static str) -> Option<*mut c_void>,
            ) -> Result<$table, Vec<&'static str>> {
                let required = [$(stringify!($name)),*];
                let missing: Vec<_> = required.into_iter().filter(|name| lookup(name).is_none()).collect();
                if !missing.is_empty() {
                    return Err(missing);
                }
                Ok($table {
                    $($name: {
                        let address = lookup(stringify!($name))
                            .unwrap_or_else(|| unreachable!("looked up above"));
                        // SAFETY: by this function's contract `address` is the C function of this signature.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> $ret>(address)
                        }
                    },)*
                    $($later: lookup(stringify!($later)).map(|address| {
                        // SAFETY: by this function's contract `address` is the C function of this signature.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ltype),*) -> $lret>(address)
                        }
                    }),)*
                })
            }
        }

        impl $table {
            /// The table as CANN 8.1 offers it: what came later is absent.
            #[must_use]
            pub fn without_later_functions(self) -> $table {
                $table { $($later: None,)* ..self }
            }
        }
    };
}
pub(crate) use define_table;

/// Checks at compile time that the signatures of a list are those of the C headers, whose bindings are in two
/// modules of [`super::bindings`], one for each half of the list.
macro_rules! check_signatures {
    (
        ($core:ident, $after:ident)
        required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        optional { $($later:ident($($larg:ident: $ltype:ty),*) -> $lret:ty;)* }
    ) => {
        $(const _: unsafe extern "C" fn($($type),*) -> $ret = $crate::bindings::$core::$name;)*
        $(const _: unsafe extern "C" fn($($ltype),*) -> $lret = $crate::bindings::$after::$later;)*
    };
}
pub(crate) use check_signatures;

/// A table of the functions of a module that have the C names: `list!(table_from_module(Table: module))`.
#[doc(hidden)]
#[macro_export]
macro_rules! table_from_module {
    (
        ($table:ident: $($module:tt)*)
        required { $($name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        optional { $($later:ident($($larg:ident: $ltype:ty),*) -> $lret:ty;)* }
    ) => {{
        use $($module)* as functions;
        $table {
            $($name: functions::$name,)*
            $($later: Some(functions::$later),)*
        }
    }};
}
