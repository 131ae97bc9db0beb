//! The interfaces of the kernels. C++ defines them (`ascendc/kernels/families.h`, which describes its form).
//! This module reads them, and makes the Rust structures that kernels are launched with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the kernels of a family have in common: all but the types of elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name of the family and of its file in `ascendc/kernels`, without `.cpp`.
    pub name: String,
    /// The cores the kernels run on: `AIV_ONLY`.
    pub cores: String,
    /// In the order of the entry point.
    pub operands: Vec<Operand>,
}

/// An operand of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its type in C++.
    pub cpp_type: String,
    /// Its name, in both languages.
    pub name: String,
    /// What the kernel does with it.
    pub role: Role,
}

/// What a kernel does with an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads the tensor.
    In,
    /// Writes the tensor.
    Out,
    /// Writes and reads it; what was in it does not matter.
    Workspace,
    /// Takes it as a number.
    Value,
    /// Reads the structure of this name.
    TilingData(String),
}

/// The interface of every family of a header, sorted by name.
///
/// # Errors
/// A definition that is not of the form, or one of two that is missing: a defect of the header.
pub fn interfaces(header: &str) -> Result<Vec<Interface>, String> {
    let text = header.replace("\\\n", " ");
    let (mut cores, mut operands, mut shared) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let Some((name, value)) =
            line.strip_prefix("#define FA_").and_then(|rest| rest.split_once([' ', '(']))
        else {
            continue;
        };
        let list = || {
            let list = value.strip_prefix("X, SEP)").and_then(|text| list(text, &shared));
            list.ok_or_else(|| wrong(name, value, "(X, SEP) and X(type, name, role) SEP() ..."))
        };
        if let Some(family) = name.strip_suffix("_CORES") {
            cores.insert(family, value.trim().to_owned());
        } else if let Some(family) = name.strip_suffix("_OPERANDS") {
            operands.insert(family, list()?);
        } else if name.ends_with("_TENSORS") {
            let list = list()?;
            shared.insert(name, list);
        }
    }
    if let Some(family) = cores.keys().find(|family| !operands.contains_key(*family)) {
        return Err(format!("families.h: FA_{family}_CORES has no FA_{family}_OPERANDS"));
    }
    let family = |(name, operands): (&str, Vec<Operand>)| {
        let cores = cores
            .get(name)
            .ok_or_else(|| format!("families.h: FA_{name}_OPERANDS has no FA_{name}_CORES"))?;
        Ok(Interface { name: name.to_lowercase(), cores: cores.clone(), operands })
    };
    operands.into_iter().map(family).collect()
}

fn wrong(name: &str, value: &str, wanted: &str) -> String {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("families.h: FA_{name}({value} given, {wanted} wanted")
}

/// Operands and shared lists of operands, which are defined before they are used.
fn list(text: &str, shared: &BTreeMap<&str, Vec<Operand>>) -> Option<Vec<Operand>> {
    let mut operands = Vec::new();
    for part in text.split(" SEP() ").map(str::trim) {
        match part.strip_prefix("FA_").and_then(|rest| rest.strip_suffix("(X, SEP)")) {
            Some(name) => operands.extend_from_slice(shared.get(name)?),
            None => operands.push(operand(part)?),
        }
    }
    Some(operands)
}

fn operand(text: &str) -> Option<Operand> {
    let words: Vec<_> = text.strip_prefix("X(")?.strip_suffix(')')?.split(',').map(str::trim).collect();
    let [cpp_type, name, role] = words[..] else { return None };
    let role = match (cpp_type, role) {
        ("GM_ADDR", "in") => Role::In,
        ("GM_ADDR", "out") => Role::Out,
        ("GM_ADDR", "workspace") => Role::Workspace,
        ("uint64_t", "value") => Role::Value,
        ("GM_ADDR", structure) if structure.ends_with("TilingData") => Role::TilingData(structure.to_owned()),
        _ => return None,
    };
    Some(Operand { cpp_type: cpp_type.to_owned(), name: name.to_owned(), role })
}

impl Interface {
    /// The kernel type, as `KERNEL_TASK_TYPE_DEFAULT` names it.
    pub fn kernel_type(&self) -> String {
        format!("KERNEL_TYPE_{}", self.cores)
    }

    /// Type and name of each argument in C++.
    pub fn args(&self) -> Vec<String> {
        self.operands.iter().map(|o| format!("{} {}", o.cpp_type, o.name)).collect()
    }

    /// The structure of the operands in Rust, and its method that makes the argument list.
    pub fn to_rust(&self) -> String {
        let structure = self.structure();
        let lifetime = if self.operands.iter().all(|o| o.role == Role::Value) { "" } else { "<'a>" };
        let mut fields = String::new();
        let mut steps = String::new();
        for Operand { name, role, .. } in &self.operands {
            let (doc, rust_type, step) = match role {
                Role::In => ("Read.", "Operand<'a>".to_owned(), None),
                Role::Out => ("Written.", "Operand<'a>".to_owned(), None),
                Role::Workspace => ("Workspace.", "Operand<'a>".to_owned(), None),
                Role::Value => ("A number.", "u64".to_owned(), Some(format!(".u64(self.{name})"))),
                Role::TilingData(data) => (
                    "Tiling data.",
                    format!("&'a {data}"),
                    Some(format!(".place_holder(self.{name}.as_bytes())")),
                ),
            };
            let tensor = || format!(".operand(self.{name})?");
            // Writing to a String cannot fail.
            let _ = writeln!(fields, "    /// {doc}\n    pub {name}: {rust_type},");
            let _ = writeln!(steps, "            {}", step.unwrap_or_else(tensor));
        }
        let anonymous = lifetime.replace("'a", "'_");
        format!(
            "/// Operands of the kernels of `{}`, in their order.\n#[derive(Clone, Copy, Debug)]\n\
             pub struct {structure}{lifetime} {{\n{fields}}}\n\nimpl {structure}{anonymous} {{\n    \
             /// The argument list. It is not checked that the tensors are large enough.\n    ///\n    \
             /// # Errors\n    \
             /// `InvalidArgument` for an operand that starts past the end of its buffer.\n    \
             pub fn args(&self) -> Result<KernelArgs> {{\n        Ok(KernelArgs::new()\n{})\n    }}\n}}\n",
            self.name,
            steps.trim_end()
        )
    }

    /// The structure of what a kernel in Rust is launched with, and its method that reads the argument list.
    pub fn to_rust_kernel(&self) -> String {
        let structure = self.named("Arguments");
        let fields: String =
            self.operands.iter().map(|o| format!("    pub(crate) {}: u64,\n", o.name)).collect();
        let names = self.operands.iter().map(|o| &*o.name).collect::<Vec<_>>().join(", ");
        let count = self.operands.len();
        format!(
            "/// Addresses and numbers that a kernel of `{}` is launched with, in their order.\n\
             #[derive(Clone, Copy, Debug)]\n#[allow(dead_code, reason = \"not every kernel needs each\")]\n\
             pub(crate) struct {structure} {{\n{fields}}}\n\n#[allow(dead_code, reason = \"not every family has a kernel in Rust\")]\n\
             impl {structure} {{\n    \
             /// How many there are.\n    pub(crate) const COUNT: usize = {count};\n\n    \
             /// Those of an argument list; `None` for a list of another length.\n    \
             pub(crate) fn of(list: &[u64]) -> Option<Self> {{\n        \
             let &[{names}] = list else {{ return None }};\n        \
             Some(Self {{ {names} }})\n    }}\n}}\n",
            self.name,
        )
    }

    /// `FlashFwdOperands`
    fn structure(&self) -> String {
        self.named("Operands")
    }

    fn named(&self, end: &str) -> String {
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        self.name.split('_').filter(|word| !word.is_empty()).map(capital).collect::<String>() + end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "// A list is X(...).\n\
        #define FA_READ_TENSORS(X, SEP) X(GM_ADDR, src, in) SEP() X(uint64_t, bytes, value)\n\
        #define FA_READ_UB_CORES AIV_ONLY\n\
        #define FA_READ_UB_OPERANDS(X, SEP)     \\\n    FA_READ_TENSORS(X, SEP) SEP()  \\\n    X(GM_ADDR, tiling, ReadTilingData)\n\
        #define FA_READ_UB(...)\n#define FA_KERNEL(family, ...) FA_##family(__VA_ARGS__)\n";

    #[test]
    fn an_interface_is_read_and_becomes_rust() {
        let interfaces = interfaces(HEADER).unwrap();
        let [interface] = &interfaces[..] else { panic!("{interfaces:?}") };
        assert_eq!((&*interface.name, &*interface.kernel_type()), ("read_ub", "KERNEL_TYPE_AIV_ONLY"));
        assert_eq!(interface.args(), ["GM_ADDR src", "uint64_t bytes", "GM_ADDR tiling"]);
        let rust = interface.to_rust();
        let structure = "pub struct ReadUbOperands<'a> {\n    /// Read.\n    pub src: Operand<'a>,\n    /// A number.\n    \
            pub bytes: u64,\n    /// Tiling data.\n    pub tiling: &'a ReadTilingData,\n}\n";
        let list = "        Ok(KernelArgs::new()\n            .operand(self.src)?\n            \
            .u64(self.bytes)\n            .place_holder(self.tiling.as_bytes()))\n";
        assert!(rust.contains(structure) && rust.contains(list), "{rust}");
        let rust = interface.to_rust_kernel();
        let of = "        let &[src, bytes, tiling] = list else { return None };\n        \
            Some(Self { src, bytes, tiling })\n";
        assert!(rust.contains("COUNT: usize = 3;") && rust.contains(of), "{rust}");
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for (from, to, wanted) in [
            ("src, in)", "src, inout)", "FA_READ_TENSORS(X, SEP) X(GM_ADDR, src, inout) SEP() X("),
            ("X(GM_ADDR, src, in) SEP()", "X(GM_ADDR, src, in)", "FA_READ_TENSORS("),
            ("(X, SEP) SEP() ", "(X, SEP) ", "FA_READ_UB_OPERANDS("),
            ("uint64_t", "uint32_t", "FA_READ_TENSORS("),
            ("(X, SEP)", "(X)", "FA_READ_TENSORS(X) "),
            (
                "FA_READ_TENSORS(X, SEP) SEP()",
                "FA_ALL_TENSORS(X, SEP) SEP()",
                "FA_READ_UB_OPERANDS(X, SEP) FA_ALL_",
            ),
            ("#define FA_READ_UB_CORES AIV_ONLY\n", "", "FA_READ_UB_OPERANDS has no FA_READ_UB_CORES"),
            ("FA_READ_UB_OPERANDS", "FA_READ_OPERANDS", "FA_READ_UB_CORES has no FA_READ_UB_OPERANDS"),
        ] {
            let error = interfaces(&HEADER.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(&format!("families.h: {wanted}")), "{error}");
        }
    }
}
