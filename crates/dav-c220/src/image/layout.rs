//! Does a shared library for this host hold what its headers say? The dynamic loader believes them: what they
//! promise beyond the end of the file, or at a wrong place, it maps all the same, and the process dies at the
//! first access.
//!
//! Program headers, which the loader follows, are compared with the length of the file and with the section
//! headers, which say the same in another way and stand at the end, where a file is cut first. What the
//! sections hold cannot be checked.

use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::Endianness;

/// Smallest page of the hosts: segments are mapped by whole pages.
const PAGE: u64 = 4096;
/// Most bytes that a library may take, by far: what the addressing of its code reaches.
const MAX_SPAN: u64 = 1 << 31;

/// A part of a library that is mapped into memory, in addresses of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) is_readable: bool,
    pub(super) is_executable: bool,
    is_writable: bool,
    /// Where it begins in the file, and its bytes there; behind them is zero.
    offset: u64,
    file_bytes: u64,
}

impl Segment {
    fn holds(&self, start: u64, bytes: u64) -> bool {
        start >= self.start && start.checked_add(bytes).is_some_and(|end| end <= self.end)
    }

    /// Does this part of it come from that place in the file?
    fn comes_from(&self, start: u64, bytes: u64, offset: u64) -> bool {
        let at = start.wrapping_sub(self.start);
        self.holds(start, bytes)
            && at.checked_add(bytes).is_some_and(|end| end <= self.file_bytes)
            && offset == self.offset.wrapping_add(at)
    }
}

type Header = ProgramHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;

/// A library whose headers are compared with each other.
struct File<'a> {
    endian: Endianness,
    data: &'a [u8],
    segments: Vec<Segment>,
    sections: SectionTable<'a, FileHeader64<Endianness>>,
}

/// Checks a library; returns its segments, in order of address.
///
/// # Errors
/// What does not fit.
pub(super) fn check(data: &[u8]) -> Result<Vec<Segment>, String> {
    let wrong = |e| format!("an ELF file that is damaged or cut off: {e}");
    let header = FileHeader64::<Endianness>::parse(data).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    let kind = header.e_type(endian);
    if kind != elf::ET_DYN {
        return Err(format!("ELF type {} given, {} (a shared library) wanted", kind.0, elf::ET_DYN.0));
    }
    let headers = header.program_headers(endian, data).map_err(wrong)?;
    let sections = header.sections(endian, data).map_err(wrong)?;
    if sections.is_empty() && header.e_shoff(endian) != 0 {
        return Err("an ELF file that is damaged: its table of sections has none".into());
    }
    let segments = load_segments(headers, endian, data.len() as u64)?;
    let (table, table_bytes) = (header.e_phoff(endian), size_of_val(headers) as u64);
    let file = File { endian, data, segments, sections };
    if file.sections.iter().any(|section| file.overlaps(section, table, table_bytes)) {
        return Err(format!(
            "an ELF file whose {} program headers lie in its sections: it is damaged",
            headers.len()
        ));
    }
    for header in headers {
        file.check_header(header)?;
    }
    for section in file.sections.iter() {
        file.check_section(section, headers)?;
    }
    Ok(file.segments)
}

/// The segments that are mapped.
fn load_segments(headers: &[Header], endian: Endianness, file_len: u64) -> Result<Vec<Segment>, String> {
    let mut segments: Vec<Segment> = Vec::new();
    for header in headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD) {
        let (start, offset) = (header.p_vaddr(endian), header.p_offset(endian));
        let (bytes, file_bytes) = (header.p_memsz(endian), header.p_filesz(endian));
        let (align, flags) = (header.p_align(endian), header.p_flags(endian));
        let number = segments.len();
        if offset.checked_add(file_bytes).is_none_or(|end| end > file_len) {
            return Err(format!(
                "load segment {number} takes {file_bytes} bytes at byte {offset} of a file of {file_len}: it is damaged or cut off"
            ));
        }
        let end = start.checked_add(bytes).filter(|_| file_bytes <= bytes);
        let end = end.filter(|end| {
            let (first, last) = (segments.first().map_or(start, |s| s.start), segments.last());
            last.is_none_or(|last| last.end <= start) && *end - first.min(*end) <= MAX_SPAN
        });
        let is_aligned = align.is_power_of_two()
            && align.is_multiple_of(PAGE)
            && start.wrapping_sub(offset).is_multiple_of(align);
        let Some(end) = end.filter(|_| is_aligned) else {
            return Err(format!(
                "load segment {number} = {{address {start:#x}, {bytes} bytes, {file_bytes} of them at byte {offset} of the file, alignment {align:#x}}}: the file is damaged"
            ));
        };
        segments.push(Segment {
            start,
            end,
            is_readable: flags.contains(elf::PF_R),
            is_executable: flags.contains(elf::PF_X),
            is_writable: flags.contains(elf::PF_W),
            offset,
            file_bytes,
        });
    }
    if segments.is_empty() {
        return Err("an ELF file without anything to load".into());
    }
    Ok(segments)
}

impl File<'_> {
    fn segment(&self, start: u64, bytes: u64) -> Option<&Segment> {
        self.segments.iter().find(|s| s.holds(start, bytes))
    }

    /// Are bytes of the section in this part of the file?
    fn overlaps(&self, section: &Section, start: u64, bytes: u64) -> bool {
        let range = section.file_range(self.endian);
        range.is_some_and(|(at, len)| len > 0 && at < start + bytes && start < at.saturating_add(len))
    }

    fn name(&self, section: &Section) -> &[u8] {
        self.sections.section_name(self.endian, section).unwrap_or_default()
    }

    /// What the loader and the unwinder do with a program header that is not mapped itself.
    fn check_header(&self, header: &Header) -> Result<(), String> {
        let endian = self.endian;
        let (kind, start, bytes) = (header.p_type(endian), header.p_vaddr(endian), header.p_memsz(endian));
        let fits = match kind {
            elf::PT_DYNAMIC | elf::PT_GNU_EH_FRAME | elf::PT_NOTE | elf::PT_GNU_PROPERTY | elf::PT_PHDR => {
                let segment = self.segment(start, bytes);
                // The loader writes addresses into the dynamic section.
                bytes == header.p_filesz(endian)
                    && segment.is_some_and(|s| {
                        s.comes_from(start, bytes, header.p_offset(endian))
                            && (s.is_writable || kind != elf::PT_DYNAMIC)
                    })
            }
            // Made read-only after loading, to the last whole page.
            elf::PT_GNU_RELRO => {
                let end = start.saturating_add(bytes) / PAGE * PAGE;
                let stays_writable = |section: &Section| {
                    let (at, bytes) = (section.sh_addr(endian), section.sh_size(endian));
                    matches!(self.name(section), b".data" | b".bss")
                        && at < end
                        && at.saturating_add(bytes) > start / PAGE * PAGE
                };
                self.segment(start, 0).is_some_and(|s| s.is_writable && end.saturating_sub(s.end) < PAGE)
                    && !self.sections.iter().any(stays_writable)
            }
            elf::PT_TLS => {
                header.p_align(endian).is_power_of_two()
                    && header.p_align(endian) <= PAGE
                    && header.p_filesz(endian) <= bytes
                    && bytes <= MAX_SPAN
                    && self
                        .segments
                        .iter()
                        .any(|s| s.comes_from(start, header.p_filesz(endian), header.p_offset(endian)))
            }
            _ => true,
        };
        if fits {
            return Ok(());
        }
        Err(format!(
            "program header {{type {:#x}, address {start:#x}, {bytes} bytes}} names what is not mapped so: the file is damaged",
            kind.0
        ))
    }

    /// A section that is in memory lies in a segment that may be used as it says, and what is found through a
    /// program header of its own is found there.
    fn check_section(&self, section: &Section, headers: &[Header]) -> Result<(), String> {
        let endian = self.endian;
        let (flags, kind) = (section.sh_flags(endian), section.sh_type(endian));
        let (start, bytes, offset) =
            (section.sh_addr(endian), section.sh_size(endian), section.sh_offset(endian));
        if !flags.contains(elf::SHF_ALLOC) || bytes == 0 {
            return Ok(());
        }
        let has_no_data = kind == elf::SHT_NOBITS;
        let is_thread_local = flags.contains(elf::SHF_TLS);
        let is_mapped = has_no_data && is_thread_local
            || self.segment(start, bytes).is_some_and(|s| {
                s.is_readable
                    && (s.is_writable || !flags.contains(elf::SHF_WRITE))
                    && (s.is_executable || !flags.contains(elf::SHF_EXECINSTR))
                    && (has_no_data || s.comes_from(start, bytes, offset))
            });
        let by = match (kind, self.name(section)) {
            _ if is_thread_local => Some(elf::PT_TLS),
            (elf::SHT_DYNAMIC, _) => Some(elf::PT_DYNAMIC),
            (_, b".eh_frame_hdr") => Some(elf::PT_GNU_EH_FRAME),
            _ => None,
        };
        let is_found = by.is_none_or(|kind| {
            headers.iter().filter(|h| h.p_type(endian) == kind).any(|h| {
                let (at, len) = (h.p_vaddr(endian), h.p_memsz(endian));
                let ends = start.checked_add(bytes).zip(at.checked_add(len));
                (at == start && len == bytes)
                    || is_thread_local && at <= start && ends.is_some_and(|(own, all)| own <= all)
            })
        });
        if is_mapped && is_found {
            return Ok(());
        }
        let name = String::from_utf8_lossy(self.name(section));
        Err(format!(
            "section {name} ({bytes} bytes at byte {offset} of a file of {}) is not mapped as it says: the file is damaged",
            self.data.len()
        ))
    }
}
