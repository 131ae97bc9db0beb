//! The facts of a launch that stand in an ELF file of machine code.

use std::collections::BTreeMap;

use object::elf::FileHeader64;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};

use crate::{Error, Result};

/// Attribute of `.nv.info.KERNEL` that tells of one parameter (`EIATTR_KPARAM_INFO`).
const KPARAM_INFO: u8 = 0x17;
/// Form of an attribute that has a size and bytes (`EIFMT_SVAL`).
const SIZED: u8 = 4;

/// What the file says of one kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) registers: u32,
    pub(crate) static_shared_bytes: u32,
    pub(crate) param_bytes: u32,
    /// Constant banks 2 (the kernel's), 3 and 4 (the module's).
    pub(crate) constants: BTreeMap<u8, Vec<u8>>,
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("no file of machine code: {error}"))
}

/// Names of the kernels in a file.
pub(crate) fn kernels(cubin: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile64::<Endianness>::parse(cubin).map_err(invalid)?;
    let names = file.sections().filter_map(|section| section.name().ok().map(str::to_owned));
    Ok(names.filter_map(|name| name.strip_prefix(".text.").map(str::to_owned)).collect())
}

pub(crate) fn facts(cubin: &[u8], kernel: &str) -> Result<Facts> {
    let file = ElfFile64::<Endianness>::parse(cubin).map_err(invalid)?;
    let bytes = |name: &str| {
        let section = file.section_by_name(name)?;
        section.data().ok().map(<[u8]>::to_vec)
    };
    let wanted = format!(".text.{kernel}");
    let header = FileHeader64::<Endianness>::parse(cubin).map_err(invalid)?;
    let endian = header.endian().map_err(invalid)?;
    let sections = header.sections(endian, cubin).map_err(invalid)?;
    let (_, text) = sections
        .section_by_name(endian, wanted.as_bytes())
        .ok_or_else(|| Error::Invalid(format!("the file has no kernel {kernel}")))?;
    let shared = sections.section_by_name(endian, format!(".nv.shared.{kernel}").as_bytes());
    let shared_bytes = shared.map_or(0, |(_, section)| section.sh_size(endian));
    let mut constants = BTreeMap::new();
    for bank in 2..=4 {
        let named = [format!(".nv.constant{bank}.{kernel}"), format!(".nv.constant{bank}")];
        if let Some(data) = named.iter().find_map(|name| bytes(name)) {
            constants.insert(bank, data);
        }
    }
    Ok(Facts {
        registers: text.sh_info(endian) >> 24,
        static_shared_bytes: u32::try_from(shared_bytes).map_err(invalid)?,
        param_bytes: param_bytes(&bytes(&format!(".nv.info.{kernel}")).unwrap_or_default()),
        constants,
    })
}

/// Bytes of the parameters, from the attributes of a kernel.
fn param_bytes(info: &[u8]) -> u32 {
    let mut end = 0;
    let mut rest = info;
    while let [form, attribute, size @ ..] = rest {
        let Some((size, data)) = size.split_first_chunk() else { break };
        let size = if *form == SIZED { usize::from(u16::from_le_bytes(*size)) } else { 0 };
        if *attribute == KPARAM_INFO {
            // A word that nobody needs, the number of the parameter, its offset, its size among other bits.
            let offset = data.get(6..8).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
            let bits = data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
            end = end.max(u32::from(offset.unwrap_or(0)) + (bits.unwrap_or(0) >> 18));
        }
        rest = data.get(size..).unwrap_or_default();
    }
    end
}
