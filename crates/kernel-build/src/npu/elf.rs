//! Reads a device image and compares it with the kernels that it must hold (acl-runtime.md 2.2).

use object::{Object, ObjectSection, ObjectSymbol};

use crate::variants::Kernel;

/// Of a binary or, with the name of a symbol behind it, of a kernel.
const META_SECTION: &str = ".ascend.meta";

/// Records of kernels: type of the kernel; cores of each kind in a group.
const KTYPE: u16 = 1;
const MIX_TASK_RATIO: u16 = 3;

/// Record of a binary: a number that stands for a feature, and the one for "the loader writes the address of
/// the cross-core flags into the image".
const FEATURE: u16 = 4;
const FFTS_ADDRESS: u32 = 2;

/// What an image says beyond what was demanded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Does the loader write the address of the cross-core flags into the image? If not, MIX kernels take it
    /// as argument.
    pub patches_ffts_address: bool,
    /// Entry symbols of each kernel, in the order of the kernels.
    pub symbols: Vec<Vec<String>>,
}

/// What the image must say of one symbol.
struct Wanted {
    symbol: String,
    ktype: u32,
    ratio: Option<[u16; 2]>,
}

/// Demands of an image, for each kernel, the entry symbols, and for each symbol its kernel type and ratio.
///
/// ASSUMPTION(asc-meta): `bisheng -x asc` names symbols and writes records as CANN's CMake package does; only
/// the latter's are published.
///
/// # Errors
/// Everything that is missing or different, by name.
pub fn check(bytes: &[u8], kernels: &[Kernel]) -> Result<Checked, String> {
    let file = object::File::parse(bytes).map_err(|e| format!("not an ELF file: {e}"))?;
    let mut problems = Vec::new();
    let mut symbols = Vec::new();
    for kernel in kernels {
        let mut names = Vec::new();
        for wanted in wanted(kernel)? {
            if let Err(problem) = check_symbol(&file, &wanted) {
                problems.push(format!("kernel {}: {problem}", kernel.name));
            }
            names.push(wanted.symbol);
        }
        symbols.push(names);
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let patches_ffts_address = match file.section_by_name(META_SECTION) {
        None => false,
        Some(section) => records(&section)?
            .iter()
            .any(|(kind, value)| *kind == FEATURE && u32_of(value) == Some(FFTS_ADDRESS)),
    };
    Ok(Checked { patches_ffts_address, symbols })
}

/// Names and types by the kernel type, as `extract_host_stub.py` of CANN 8.1.RC1 writes them for this chip.
/// Both halves of a MIX kernel have the same record.
fn wanted(kernel: &Kernel) -> Result<Vec<Wanted>, String> {
    const AIC: u32 = 2;
    const AIV: u32 = 3;
    const MIX_AIC_MAIN: u32 = 4;
    const MIX_AIV_MAIN: u32 = 5;
    let (suffixes, ktype, ratio): (&[&str], _, _) = match kernel.kernel_type.as_str() {
        "KERNEL_TYPE_AIC_ONLY" => (&[""], AIC, None),
        "KERNEL_TYPE_AIV_ONLY" => (&[""], AIV, None),
        "KERNEL_TYPE_MIX_AIC_1_0" => (&["_mix_aic"], MIX_AIC_MAIN, Some([1, 0])),
        "KERNEL_TYPE_MIX_AIV_1_0" => (&["_mix_aiv"], MIX_AIV_MAIN, Some([0, 1])),
        "KERNEL_TYPE_MIX_AIC_1_1" => (&["_mix_aic", "_mix_aiv"], MIX_AIC_MAIN, Some([1, 1])),
        "KERNEL_TYPE_MIX_AIC_1_2" => (&["_mix_aic", "_mix_aiv"], MIX_AIC_MAIN, Some([1, 2])),
        other => {
            return Err(format!(
                "kernel {}: kernel type {other} given, one of KERNEL_TYPE_AIC_ONLY, _AIV_ONLY, _MIX_AIC_1_0, \
                 _MIX_AIV_1_0, _MIX_AIC_1_1, _MIX_AIC_1_2 wanted",
                kernel.name
            ))
        }
    };
    let of = |suffix: &&str| Wanted { symbol: format!("{}{suffix}", kernel.name), ktype, ratio };
    Ok(suffixes.iter().map(of).collect())
}

fn check_symbol(file: &object::File<'_>, wanted: &Wanted) -> Result<(), String> {
    let Wanted { symbol, ktype, ratio } = wanted;
    if !file.symbols().any(|s| s.name() == Ok(symbol.as_str()) && !s.is_undefined()) {
        return Err(format!("symbol {symbol} is missing"));
    }
    let name = format!("{META_SECTION}.{symbol}");
    let section = file.section_by_name(&name).ok_or_else(|| format!("section {name} is missing"))?;
    let records = records(&section)?;
    let record = |wanted: u16, what: &str| {
        let found = records.iter().find(|(kind, _)| *kind == wanted);
        let value = found.and_then(|(_, value)| u32_of(value));
        value.ok_or_else(|| format!("section {name} has no record {wanted} ({what}) of 4 bytes"))
    };
    let found = record(KTYPE, "kernel type")?;
    if found != *ktype {
        return Err(format!("section {name}: kernel type {found} found, {ktype} wanted"));
    }
    if let Some([aic, aiv]) = ratio {
        let found = record(MIX_TASK_RATIO, "ratio")?;
        let (found_aic, found_aiv) = (found & 0xffff, found >> 16);
        if (found_aic, found_aiv) != (u32::from(*aic), u32::from(*aiv)) {
            return Err(format!("section {name}: ratio {found_aic}:{found_aiv} found, {aic}:{aiv} wanted"));
        }
    }
    Ok(())
}

/// Type and value of each record: u16 type, u16 length of the value, value.
fn records<'data>(section: &impl ObjectSection<'data>) -> Result<Vec<(u16, &'data [u8])>, String> {
    let name = section.name().unwrap_or("?").to_owned();
    let mut rest = section.data().map_err(|e| format!("section {name} cannot be read: {e}"))?;
    let mut records = Vec::new();
    while let [kind_low, kind_high, length_low, length_high, tail @ ..] = rest {
        let kind = u16::from_le_bytes([*kind_low, *kind_high]);
        let length = usize::from(u16::from_le_bytes([*length_low, *length_high]));
        let cut =
            || format!("section {name}: record of type {kind} has {length} bytes, {} are left", tail.len());
        records.push((kind, tail.get(..length).ok_or_else(cut)?));
        rest = &tail[length..];
    }
    Ok(records)
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_le_bytes)
}
