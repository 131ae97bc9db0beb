//! Tiling data: what a planner hands to a kernel. C++ defines the structures
//! (`ascendc/include/fa/tiling_data.h`), and this module makes the Rust structures of them.
//!
//! The header has a strict form, which it describes itself, so that nothing in it can be passed over.

use std::fmt::Write as _;

/// A structure of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Its name, in both languages.
    pub name: String,
    /// The comment above it, line by line.
    pub docs: Vec<String>,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// A field of a [`Structure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, in both languages.
    pub name: String,
    /// The comment above it, line by line.
    pub docs: Vec<String>,
    /// Its type in Rust: `u32`, `[u64; 3]`.
    pub rust_type: String,
}

/// Types of the header and of Rust.
const TYPES: [(&str, &str); 4] =
    [("uint32_t", "u32"), ("int32_t", "i32"), ("uint64_t", "u64"), ("float", "f32")];

/// The structures of a header, in its order.
///
/// # Errors
/// A line that is not of the form, by its number and text.
pub fn structures(header: &str) -> Result<Vec<Structure>, String> {
    let mut structures: Vec<Structure> = Vec::new();
    let mut open: Option<Structure> = None;
    let mut docs = Vec::new();
    for (index, line) in header.lines().enumerate() {
        let text = line.trim();
        let wrong =
            |wanted: &str| Err(format!("tiling_data.h:{}: {text:?} given, {wanted} wanted", index + 1));
        if let Some(comment) = text.strip_prefix("//") {
            docs.push(comment.strip_prefix(' ').unwrap_or(comment).to_owned());
            continue;
        }
        match &mut open {
            Some(structure) => match field(text, std::mem::take(&mut docs)) {
                Some(field) => structure.fields.push(field),
                None if text == "};" => structures.extend(open.take()),
                None => {
                    return wrong(
                        "`type name;`, `type name[count];` or `};`, with a comment above each field",
                    )
                }
            },
            None => {
                let docs = std::mem::take(&mut docs);
                let name = text.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {"));
                match name.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric())) {
                    Some(name) => {
                        open = Some(Structure { name: name.to_owned(), docs, fields: Vec::new() });
                    }
                    None if text.is_empty() || text.starts_with('#') || text.contains("namespace fa") => {}
                    None => return wrong("`struct Name {`"),
                }
            }
        }
    }
    match open {
        Some(Structure { name, .. }) => Err(format!("tiling_data.h: struct {name} has no end")),
        None => Ok(structures),
    }
}

/// The field of a line, if it is one.
fn field(line: &str, docs: Vec<String>) -> Option<Field> {
    let (cpp, declarator) = line.strip_suffix(';')?.split_once(' ')?;
    let (_, rust) = TYPES.into_iter().find(|(name, _)| *name == cpp)?;
    let (name, rust_type) = match declarator.split_once('[') {
        None => (declarator, rust.to_owned()),
        Some((name, count)) => {
            let count: u32 = count.strip_suffix(']')?.parse().ok()?;
            (name, format!("[{rust}; {count}]"))
        }
    };
    let is_name =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (is_name && !docs.is_empty()).then(|| Field { name: name.to_owned(), docs, rust_type })
}

impl Structure {
    /// The Rust structure, as bytes the same. `bytemuck` refuses one with padding.
    pub fn to_rust(&self) -> String {
        // A float has no total equality.
        let eq = if self.fields.iter().any(|f| f.rust_type.contains("f32")) { "" } else { "Eq, " };
        let mut text = docs(&self.docs, "");
        let _ = write!(
            text,
            "#[repr(C)]\n#[derive(Clone, Copy, Debug, PartialEq, {eq}bytemuck::Pod, bytemuck::Zeroable)]\n\
             pub struct {} {{\n",
            self.name
        );
        for Field { name, docs: lines, rust_type } in &self.fields {
            let _ = writeln!(text, "{}    pub {name}: {rust_type},", docs(lines, "    "));
        }
        let _ = write!(
            text,
            "}}\n\nimpl {} {{\n    /// The bytes that the kernel receives.\n    \
             pub fn as_bytes(&self) -> &[u8] {{\n        bytemuck::bytes_of(self)\n    }}\n}}\n",
            self.name
        );
        text
    }

    /// A Rust expression of the layout that the Rust compiler gives the structure: name, size, and of each
    /// field name, offset and size.
    pub fn layout_to_rust(&self) -> String {
        let name = &self.name;
        let fields: String = self
            .fields
            .iter()
            .map(|Field { name: field, rust_type, .. }| {
                format!(
                    "    ({field:?}, std::mem::offset_of!({name}, {field}), std::mem::size_of::<{rust_type}>()),\n"
                )
            })
            .collect();
        format!("({name:?}, std::mem::size_of::<{name}>(), &[\n{fields}]),\n")
    }
}

fn docs(lines: &[String], indent: &str) -> String {
    lines.iter().map(|line| format!("{indent}/// {line}").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "// Licence\n#pragma once\n#include <cstdint>\n\nnamespace fa {\n\n// Tiling data.\n//\n// More.\n\
        struct XTilingData {\n    // Rows.\n    uint32_t rows;\n    // Strides,\n    // in elements.\n    uint64_t stride[3];\n};\n\n\
        // Other.\nstruct Y {\n    // Scale.\n    float scale;\n};\n\n}  // namespace fa\n";

    #[test]
    fn a_header_becomes_rust() {
        let structures = structures(HEADER).unwrap();
        assert_eq!(structures.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["XTilingData", "Y"]);
        let wanted = "/// Tiling data.\n///\n/// More.\n#[repr(C)]\n\
            #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]\npub struct XTilingData {\n    \
            /// Rows.\n    pub rows: u32,\n    \
             /// Strides,\n    /// in elements.\n    pub stride: [u64; 3],\n}\n";
        let text = structures[0].to_rust();
        assert!(text.starts_with(wanted), "{text}");
        assert!(structures[1].to_rust().contains("PartialEq, bytemuck::Pod"), "floats are not Eq");
        assert_eq!(
            structures[0].layout_to_rust(),
            "(\"XTilingData\", std::mem::size_of::<XTilingData>(), &[\n    \
             (\"rows\", std::mem::offset_of!(XTilingData, rows), std::mem::size_of::<u32>()),\n    \
             (\"stride\", std::mem::offset_of!(XTilingData, stride), std::mem::size_of::<[u64; 3]>()),\n]),\n"
        );
    }

    #[test]
    fn a_line_of_another_form_is_refused_by_its_number() {
        for (from, to, wanted) in [
            (
                "uint32_t rows;",
                "uint32_t rows, cols;",
                "tiling_data.h:12: \"uint32_t rows, cols;\" given, `type",
            ),
            ("uint32_t rows;", "uint16_t rows;", "tiling_data.h:12: \"uint16_t rows;\" given"),
            ("uint32_t rows;", "uint32_t rows = 1;", "tiling_data.h:12: "),
            ("stride[3]", "stride[kRank]", "tiling_data.h:15: "),
            ("    // Rows.\n", "", "tiling_data.h:11: \"uint32_t rows;\" given"),
            (
                "struct Y {",
                "struct Y : Z {",
                "tiling_data.h:19: \"struct Y : Z {\" given, `struct Name {` wanted",
            ),
            ("struct Y {", "static_assert(true);\nstruct Y {", "tiling_data.h:19: "),
            ("};\n\n}  // namespace fa\n", "", "tiling_data.h: struct Y has no end"),
        ] {
            assert!(HEADER.contains(from), "{from}");
            let error = structures(&HEADER.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
