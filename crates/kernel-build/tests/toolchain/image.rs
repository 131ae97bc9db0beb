//! Device images as CANN's tools write them, as far as the build script reads them: symbols and records, no
//! code.

use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// Kernel types of CANN's headers (`kernel_utils_macros.h`).
pub(crate) const AIC: u32 = 2;
pub(crate) const AIV: u32 = 3;
pub(crate) const MIX_AIC_MAIN: u32 = 4;
pub(crate) const MIX_AIV_MAIN: u32 = 5;

/// A record of 4 bytes: type, length, value.
pub(crate) fn record(kind: u16, value: u32) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(4u16.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

/// The record of a kernel type and, for kernels of both core types, that of the ratio.
pub(crate) fn kernel_records(ktype: u32, ratio: Option<(u32, u32)>) -> Vec<u8> {
    let mut bytes = record(1, ktype);
    if let Some((aic, aiv)) = ratio {
        bytes.extend(record(3, aic | aiv << 16));
    }
    bytes
}

/// An image under construction.
pub(crate) struct Image {
    object: Object<'static>,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self { object: Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little) }
    }

    /// A defined function.
    pub(crate) fn symbol(mut self, name: &str) -> Self {
        let section = self.object.section_id(StandardSection::Text);
        let value = self.object.append_section_data(section, &[0; 16], 4);
        let section = SymbolSection::Section(section);
        self.object.add_symbol(function(name, section, value));
        self
    }

    /// A function that another object would have to define.
    pub(crate) fn undefined_symbol(mut self, name: &str) -> Self {
        self.object.add_symbol(function(name, SymbolSection::Undefined, 0));
        self
    }

    /// The section of a symbol, or with an empty name that of the binary.
    pub(crate) fn meta(mut self, symbol: &str, bytes: &[u8]) -> Self {
        let dot = if symbol.is_empty() { "" } else { "." };
        let name = format!(".ascend.meta{dot}{symbol}").into_bytes();
        let section = self.object.add_section(Vec::new(), name, SectionKind::ReadOnlyData);
        self.object.append_section_data(section, bytes, 4);
        self
    }

    /// A whole kernel that runs on vector cores.
    pub(crate) fn aiv_only(self, name: &str) -> Self {
        self.symbol(name).meta(name, &kernel_records(AIV, None))
    }

    /// A whole kernel of one AIC and two AIV.
    pub(crate) fn mix_1_2(mut self, name: &str) -> Self {
        for suffix in ["_mix_aic", "_mix_aiv"] {
            let symbol = format!("{name}{suffix}");
            self = self.symbol(&symbol).meta(&symbol, &kernel_records(MIX_AIC_MAIN, Some((1, 2))));
        }
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.object.write().expect("the writer takes what is added above")
    }
}

fn function(name: &str, section: SymbolSection, value: u64) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size: 16,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section,
        flags: SymbolFlags::None,
    }
}
