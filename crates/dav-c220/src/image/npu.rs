//! Binaries for an NPU, as CANN's tools write them (acl-runtime.md 2.2): an ELF file with a symbol for each
//! kernel, or two for a kernel of both cores, and sections `.ascend.meta.<symbol>` that say what it runs on.
//! The simulator executes host builds of kernels; of these files it reads what is in them.

use std::collections::BTreeMap;
use std::fmt;

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

/// `e_machine` of NPU code (EM_HIIPU in CANN's open sources).
const MACHINE: u16 = 0x1029;

/// Byte of `e_machine` in an ELF header.
const MACHINE_AT: usize = 18;

const META: &str = ".ascend.meta.";

/// Records of a meta section: two bytes type, two bytes length, then the value.
const META_KERNEL_TYPE: u16 = 1;
const META_TASK_RATIO: u16 = 3;

/// Cores that a kernel runs on, as far as its meta section says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    Aic,
    Aiv,
    /// AIC to AIV.
    Mix(u16, u16),
    Unknown,
}

/// A kernel in an NPU binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NpuKernel {
    /// Name as `aclrtBinaryGetFunction` takes it.
    pub(crate) name: String,
    pub(crate) cores: Cores,
}

impl fmt::Display for NpuKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cores {
            Cores::Aic => write!(f, "{} (AIC)", self.name),
            Cores::Aiv => write!(f, "{} (AIV)", self.name),
            Cores::Mix(aic, aiv) => write!(f, "{} (MIX {aic}:{aiv})", self.name),
            Cores::Unknown => f.write_str(&self.name),
        }
    }
}

/// Is this an ELF file with NPU code?
pub(crate) fn is_npu_binary(data: &[u8]) -> bool {
    data.starts_with(b"\x7fELF") && data.get(MACHINE_AT..MACHINE_AT + 2) == Some(&MACHINE.to_le_bytes())
}

/// The kernels of an NPU binary, by name.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn kernels(data: &[u8]) -> Result<Vec<NpuKernel>, String> {
    let file =
        ElfFile64::<Endianness>::parse(data).map_err(|e| format!("an ELF file that cannot be read: {e}"))?;
    let machine = file.elf_header().e_machine(file.endian()).0;
    if machine != MACHINE {
        return Err(format!("ELF machine {machine:#x} given, {MACHINE:#x} (NPU) wanted"));
    }
    let mut meta = BTreeMap::new();
    for section in file.sections() {
        let name = section.name().map_err(|e| format!("a section without a name: {e}"))?;
        if let Some(symbol) = name.strip_prefix(META) {
            let records = section.data().map_err(|e| format!("section {name}: {e}"))?;
            meta.insert(symbol.to_owned(), read_cores(name, records)?);
        }
    }
    let mut found: BTreeMap<String, Cores> = BTreeMap::new();
    for symbol in file.symbols() {
        if !symbol.is_global() || !symbol.is_definition() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let symbol = symbol.name().map_err(|e| format!("a symbol without a name: {e}"))?;
        let cores = match meta.get(symbol) {
            Some(cores) => *cores,
            // Where sections say what is a kernel, other functions are none.
            None if meta.is_empty() => Cores::Unknown,
            None => continue,
        };
        let name = symbol.strip_suffix("_mix_aic").or(symbol.strip_suffix("_mix_aiv")).unwrap_or(symbol);
        found.insert(name.to_owned(), cores);
    }
    Ok(found.into_iter().map(|(name, cores)| NpuKernel { name, cores }).collect())
}

/// Reads the records of one meta section. Types that are not known are skipped: later compilers add some.
fn read_cores(section: &str, mut records: &[u8]) -> Result<Cores, String> {
    let (mut kernel_type, mut ratio) = (0, (1, 2));
    while !records.is_empty() {
        let (value, rest) = read_record(records).ok_or_else(|| {
            format!("section {section} ends inside a record ({} bytes left)", records.len())
        })?;
        match (u16::from_le_bytes([records[0], records[1]]), value) {
            (META_KERNEL_TYPE, [a, b, c, d]) => kernel_type = u32::from_le_bytes([*a, *b, *c, *d]),
            (META_TASK_RATIO, [a, b, c, d]) => {
                ratio = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            }
            _ => {}
        }
        records = rest;
    }
    Ok(match kernel_type {
        2 | 6 => Cores::Aic,
        3 | 7 => Cores::Aiv,
        4 | 5 => Cores::Mix(ratio.0, ratio.1),
        _ => Cores::Unknown,
    })
}

/// Value of the first record, and what follows it; `None` when it is cut off.
fn read_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u16::from_le_bytes([*records.get(2)?, *records.get(3)?]);
    records[4..].split_at_checked(usize::from(len))
}

#[cfg(test)]
mod tests;
