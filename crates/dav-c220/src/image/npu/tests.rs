//! Files written by the same crate's writer, which shares no code with its reader's traversal here: sections,
//! symbols and records are laid out by hand.

use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::*;

/// A record of a meta section.
fn record(kind: u16, value: [u8; 4]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([4, 0]);
    bytes.extend(value);
    bytes
}

/// An NPU binary: functions of 16 bytes, and a meta section for those that have records.
fn npu_binary(functions: &[(&str, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Aarch64, object::Endianness::Little);
    let text = file.section_id(object::write::StandardSection::Text);
    for (name, records) in functions {
        let value = file.append_section_data(text, &[0; 16], 16);
        file.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size: 16,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
        if let Some(records) = records {
            let section =
                file.add_section(Vec::new(), format!("{META}{name}").into_bytes(), SectionKind::Other);
            file.append_section_data(section, records, 4);
        }
    }
    let mut bytes = file.write().unwrap();
    bytes[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&MACHINE.to_le_bytes());
    bytes
}

fn names(data: &[u8]) -> Vec<String> {
    kernels(data).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn kernels_are_listed_with_their_cores() {
    let mix = [record(1, [4, 0, 0, 0]), record(3, [1, 0, 2, 0])].concat();
    let data = npu_binary(&[
        ("fa_mix_aic", Some(mix.clone())),
        ("fa_mix_aiv", Some(mix)),
        ("add_custom", Some(record(1, [3, 0, 0, 0]))),
        ("product", Some([record(99, [7; 4]), record(1, [2, 0, 0, 0])].concat())),
        ("helper", None),
    ]);
    assert!(is_npu_binary(&data));
    assert_eq!(names(&data), ["add_custom (AIV)", "fa (MIX 1:2)", "product (AIC)"]);
}

#[test]
fn without_meta_sections_every_function_is_a_kernel() {
    assert_eq!(names(&npu_binary(&[("b", None), ("a", None)])), ["a", "b"]);
}

#[test]
fn a_cut_record_names_its_section() {
    let mut records = record(1, [3, 0, 0, 0]);
    records.truncate(6);
    let error = kernels(&npu_binary(&[("k", Some(records))])).unwrap_err();
    assert_eq!(error, "section .ascend.meta.k ends inside a record (6 bytes left)");
}

#[test]
fn other_files_are_told_apart() {
    let mut host = npu_binary(&[("k", None)]);
    host[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&62u16.to_le_bytes());
    assert!(!is_npu_binary(&host) && !is_npu_binary(b"\x7fELF") && !is_npu_binary(b""));
    assert_eq!(kernels(&host).unwrap_err(), "ELF machine 0x3e given, 0x1029 (NPU) wanted");
    let mut cut = npu_binary(&[("k", None)]);
    cut.truncate(70);
    assert!(kernels(&cut).unwrap_err().starts_with("an ELF file that cannot be read: "));
}

#[test]
fn loading_one_says_what_is_in_it_and_what_to_do() {
    let data = npu_binary(&[("add_custom", Some(record(1, [3, 0, 0, 0])))]);
    // SAFETY: nothing is loaded, as no library is named that stands in.
    let error = unsafe { crate::image::Image::load_bytes(&data) }.unwrap_err();
    assert!(
        error.starts_with("code for an NPU, with the kernels add_custom (AIV); the simulator runs"),
        "{error}"
    );
    assert!(error.ends_with("name it in FASTATTENTION_SIM_KERNELS"), "{error}");
}
