//! C++ assertions from Rust bindings.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use syn::{
    Expr, Fields, ForeignItem, GenericArgument, Item, Lit, PathArguments, PointerMutability, ReturnType,
    Stmt, Type,
};

const PRELUDE: &str = "\
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <acl/acl.h>
#include <hccl/hccl.h>

/// An enum is its integer type in Rust.
template <class C, class Rust> constexpr bool is_like() {
    if constexpr (std::is_same_v<C, Rust>) {
        return true;
    } else if constexpr (std::is_enum_v<C>) {
        return std::is_same_v<std::underlying_type_t<C>, Rust>;
    } else {
        return false;
    }
}

";

/// Structures that begin with their own size, so that newer headers may make them longer.
const VERSIONED: [&str; 1] = ["HcclCommConfigDef"];

/// The versions of the API, and the ends of enums: they are not the same in all headers, and the crate uses
/// none.
fn varies(constant: &str) -> bool {
    constant.ends_with("_VERSION") || constant.ends_with("_RESERVED")
}

/// A C++ file that compiles if the headers agree with the bindings.
pub(crate) struct Program<F> {
    text: String,
    is_known: F,
    pub(crate) assertions: usize,
    /// Names of the bindings that the headers lack.
    pub(crate) absent: BTreeSet<String>,
}

impl<F: Fn(&str) -> bool> Program<F> {
    /// `is_known` tells whether the headers have a name.
    pub(crate) fn new(is_known: F) -> Self {
        Self { text: PRELUDE.to_owned(), is_known, assertions: 0, absent: BTreeSet::new() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Asserts everything that a file of bindings says.
    pub(crate) fn add(&mut self, bindings: &str) {
        for item in syn::parse_file(bindings).unwrap().items {
            match item {
                Item::Type(item) => {
                    let (name, target) = (item.ident.to_string(), cpp(&item.ty));
                    self.assert(&name, &format!("is_like<{name}, {target}>()"));
                }
                Item::Const(item) if item.ident == "_" => self.add_layout(&item.expr),
                Item::Const(item) => {
                    let name = item.ident.to_string();
                    if !varies(&name) {
                        self.assert(&name, &format!("{name} == {}", integer(&item.expr)));
                    }
                }
                Item::Struct(item) => self.add_fields(&item.ident.to_string(), &item.fields),
                Item::Union(item) => self.add_fields(&item.ident.to_string(), &Fields::Named(item.fields)),
                Item::ForeignMod(block) => block.items.iter().for_each(|item| self.add_function(item)),
                Item::Use(_) | Item::Impl(_) => {}
                _ => panic!("an item that this test does not know"),
            }
        }
    }

    fn assert(&mut self, name: &str, condition: &str) {
        if (self.is_known)(name) {
            self.assertions += 1;
            writeln!(self.text, "static_assert({condition}, \"{name}\");").unwrap();
        } else {
            self.absent.insert(name.to_owned());
        }
    }

    fn add_fields(&mut self, name: &str, fields: &Fields) {
        for field in fields {
            let field_name = field.ident.as_ref().unwrap().to_string();
            let condition =
                format!("is_like<decltype({name}::{}), {}>()", member(&field_name), cpp(&field.ty));
            self.assert(name, &condition);
        }
    }

    fn add_function(&mut self, item: &ForeignItem) {
        let ForeignItem::Fn(function) = item else { panic!("a foreign item that is no function") };
        let name = function.sig.ident.to_string();
        let args: Vec<_> = function.sig.inputs.iter().map(argument).collect();
        let signature = format!("{} (*)({})", returned(&function.sig.output), args.join(", "));
        self.assert(&name, &format!("std::is_same_v<decltype(&{name}), {signature}>"));
    }

    /// A block of `["Size of X"][size_of::<X>() - 16usize];`, whose numbers Rust's compiler has checked.
    fn add_layout(&mut self, block: &Expr) {
        let Expr::Block(block) = block else { panic!("a layout that is no block") };
        for statement in &block.block.stmts {
            let Stmt::Expr(Expr::Index(index), _) = statement else {
                panic!("a statement that is no layout")
            };
            let (Expr::Array(what), Expr::Binary(difference)) = (&*index.expr, &*index.index) else {
                panic!("a layout without its number")
            };
            let Some(Expr::Lit(what)) = what.elems.first() else { panic!("a layout without its name") };
            let Lit::Str(what) = &what.lit else { panic!("a layout whose name is no string") };
            self.add_number(&what.value(), integer(&difference.right));
        }
    }

    fn add_number(&mut self, what: &str, number: i128) {
        if let Some(name) = what.strip_prefix("Size of ") {
            let compare = if VERSIONED.contains(&name) { ">=" } else { "==" };
            self.assert(name, &format!("sizeof({name}) {compare} {number}"));
        } else if let Some(name) = what.strip_prefix("Alignment of ") {
            let compare = if VERSIONED.contains(&name) { ">=" } else { "==" };
            self.assert(name, &format!("alignof({name}) {compare} {number}"));
        } else if let Some(field) = what.strip_prefix("Offset of field: ") {
            let (name, field) = field.split_once("::").unwrap();
            self.assert(name, &format!("offsetof({name}, {}) == {number}", member(field)));
        } else {
            panic!("a layout that this test does not know: {what}");
        }
    }
}

/// bindgen appends an underscore to what is a keyword in Rust.
fn member(field: &str) -> &str {
    field.strip_suffix('_').unwrap_or(field)
}

fn argument(arg: &syn::FnArg) -> String {
    match arg {
        syn::FnArg::Typed(arg) => cpp(&arg.ty),
        syn::FnArg::Receiver(_) => panic!("a method"),
    }
}

fn returned(output: &ReturnType) -> String {
    match output {
        ReturnType::Default => "void".to_owned(),
        ReturnType::Type(_, ty) => cpp(ty),
    }
}

/// A Rust type in C++. Names that are not Rust's are names of the headers.
fn cpp(ty: &Type) -> String {
    match ty {
        Type::Ptr(pointer) => {
            let of = cpp(&pointer.elem);
            match pointer.mutability {
                PointerMutability::Const(_) => format!("{of} const *"),
                PointerMutability::Mut(_) => format!("{of} *"),
            }
        }
        Type::Array(array) => format!("{}[{}]", cpp(&array.elem), integer(&array.len)),
        Type::FnPtr(function) => {
            let args: Vec<_> = function.inputs.iter().map(|arg| cpp(&arg.ty)).collect();
            format!("{} (*)({})", returned(&function.output), args.join(", "))
        }
        Type::Path(path) => {
            let last = path.path.segments.last().unwrap();
            let name = last.ident.to_string();
            match (name.as_str(), &last.arguments) {
                ("Option", PathArguments::AngleBracketed(of)) => match of.args.first() {
                    Some(GenericArgument::Type(ty)) => cpp(ty),
                    _ => panic!("an option without a type"),
                },
                ("c_void", _) => "void".to_owned(),
                ("c_char", _) => "char".to_owned(),
                ("c_int", _) => "int".to_owned(),
                ("c_uint", _) => "unsigned int".to_owned(),
                ("usize", _) => "size_t".to_owned(),
                ("f32", _) => "float".to_owned(),
                ("u8" | "u16" | "u32" | "u64", _) => format!("uint{}_t", &name[1..]),
                ("i8" | "i16" | "i32" | "i64", _) => format!("int{}_t", &name[1..]),
                _ => name,
            }
        }
        _ => panic!("a type that this test does not know"),
    }
}

fn integer(expr: &Expr) -> i128 {
    match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(number) => number.base10_parse().unwrap(),
            _ => panic!("a constant that is no integer"),
        },
        Expr::Unary(negative) => -integer(&negative.expr),
        _ => panic!("a constant that is no literal"),
    }
}
