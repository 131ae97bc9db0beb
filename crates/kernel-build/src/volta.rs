//! Reads `cuda/kernels.csv`, the table of the Volta kernels, which `cuda/make_ptx.py` compiles them from.
//!
//! Lines are cut at their commas: the table is this crate's own and quotes nothing, and a parser of CSV would
//! be one more package to build for every user.

use std::path::Path;

/// The columns that Rust reads, by the fields of its `Kernel`.
const FIELDS: [&str; 7] =
    ["head_dim", "rows", "columns", "shared_bytes", "blocks", "key_groups", "blocks_for_memory"];

/// A Rust array of the structures `Kernel` for each kind of kernel, named like it. `ptx` is the folder of
/// their texts.
///
/// # Errors
/// A table without a column, or with a line of another form: a defect of this crate.
pub fn tables_to_rust(table: &str, ptx: &Path) -> Result<String, String> {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    let column = |name: &str| {
        let found = head.iter().position(|other| *other == name);
        found.ok_or_else(|| format!("cuda/kernels.csv: no column {name}"))
    };
    let (name, kind) = (column("kernel")?, column("kind")?);
    let fields = FIELDS.map(|field| Ok((field, column(field)?))).into_iter();
    let fields = fields.collect::<Result<Vec<_>, String>>()?;
    let mut kinds: Vec<(&str, Vec<String>)> = Vec::new();
    for line in lines {
        if line.len() != head.len() {
            let text = line.join(",");
            return Err(format!("cuda/kernels.csv: {text:?} given, {} fields wanted", head.len()));
        }
        let path = ptx.join(format!("{}.ptx", line[name]));
        let text = format!("Text {{ name: {:?}, ptx: include_str!({path:?}) }}", line[name]);
        let numbers: Vec<_> = fields.iter().map(|&(field, at)| format!("{field}: {}", line[at])).collect();
        let entry = format!("Kernel {{ text: {text}, {} }}", numbers.join(", "));
        match kinds.iter_mut().find(|(other, _)| *other == line[kind]) {
            Some((_, entries)) => entries.push(entry),
            None => kinds.push((line[kind], vec![entry])),
        }
    }
    let array = |(kind, entries): &(&str, Vec<String>)| {
        let (count, name) = (entries.len(), kind.to_uppercase());
        format!("pub(super) static {name}: [Kernel; {count}] = [\n{},\n];\n", entries.join(",\n"))
    };
    Ok(kinds.iter().map(array).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "kernel,kind,head_dim,columns,rows,key_groups,shared_bytes,blocks,blocks_for_memory,registers\n";

    #[test]
    fn a_kind_is_an_array() {
        let table = format!("{HEAD}a,forward,32,16,128,1,4096,3,2,168\nj,combine,8,64,1,1,64,5,1,64\n");
        assert_eq!(
            tables_to_rust(&table, Path::new("/ptx")).unwrap(),
            "pub(super) static FORWARD: [Kernel; 1] = [\n\
             Kernel { text: Text { name: \"a\", ptx: include_str!(\"/ptx/a.ptx\") }, head_dim: 32, rows: 128, \
             columns: 16, shared_bytes: 4096, blocks: 3, key_groups: 1, blocks_for_memory: 2 },\n];\n\
             pub(super) static COMBINE: [Kernel; 1] = [\n\
             Kernel { text: Text { name: \"j\", ptx: include_str!(\"/ptx/j.ptx\") }, head_dim: 8, rows: 1, \
             columns: 64, shared_bytes: 64, blocks: 5, key_groups: 1, blocks_for_memory: 1 },\n];\n"
        );
    }

    #[test]
    fn tables_of_another_form_are_told() {
        let error = |table: &str| tables_to_rust(table, Path::new("/ptx")).unwrap_err();
        assert_eq!(error("kernel,kind\n"), "cuda/kernels.csv: no column head_dim");
        assert_eq!(
            error(&format!("{HEAD}a,forward\n")),
            "cuda/kernels.csv: \"a,forward\" given, 10 fields wanted"
        );
    }
}
