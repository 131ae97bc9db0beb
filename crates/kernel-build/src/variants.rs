//! Reads `variants.def`, the list of kernels.

use crate::interfaces::Interface;

/// A kernel: a line of `variants.def`, and what is known of its family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Name of the entry.
    pub name: String,
    /// `f16`, `bf16`, `f32`, or `-` for a kernel of bytes.
    pub dtype: String,
    /// Which cores it runs on, as `KERNEL_TASK_TYPE_DEFAULT` names it.
    pub kernel_type: String,
    /// Type and name of each argument.
    pub args: Vec<String>,
    /// The translation unit below `ascendc`: kernels of `FLASH_FWD` are defined in `kernels/flash_fwd.cpp`.
    pub file: String,
    /// Its line in `variants.def`.
    pub line: String,
}

impl Kernel {
    /// Kernels of one translation unit are a family: `flash_fwd`.
    pub fn family(&self) -> &str {
        self.file.trim_start_matches("kernels/").trim_end_matches(".cpp")
    }
}

/// Every kernel, in the order of `variants`, the text of `variants.def`.
///
/// # Errors
/// A line of another form, or of a family that is not there: a defect of this crate.
pub fn kernels(variants: &str, interfaces: &[Interface]) -> Result<Vec<Kernel>, String> {
    variants
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("//"))
        .map(|line| {
            parse(line, interfaces).ok_or_else(|| {
                format!(
                    "variants.def: `{line}` given, FA_KERNEL(FAMILY, name, types) with a family of families.h \
                     wanted"
                )
            })
        })
        .collect()
}

/// The kernel of one line.
fn parse(line: &str, interfaces: &[Interface]) -> Option<Kernel> {
    let mut fields = line.trim_end().strip_prefix("FA_KERNEL(")?.strip_suffix(')')?.split(',').map(str::trim);
    let family = fields.next()?.to_lowercase();
    let interface = interfaces.iter().find(|i| i.name == family)?;
    let name = fields.next()?.to_owned();
    let dtype = match fields.next() {
        None => "-",
        Some("half") => "f16",
        Some("bfloat16_t") => "bf16",
        Some("float") => "f32",
        Some(other) => other,
    };
    Some(Kernel {
        name,
        dtype: dtype.to_owned(),
        kernel_type: interface.kernel_type(),
        args: interface.args(),
        file: format!("kernels/{}.cpp", interface.name),
        line: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_form_is_no_kernel() {
        let interfaces = [Interface { name: "copy".into(), cores: "AIV_ONLY".into(), operands: Vec::new() }];
        let kernel = kernels("// List\nFA_KERNEL(COPY, fa_copy)\n", &interfaces).unwrap().remove(0);
        assert_eq!((kernel.family(), &*kernel.name, &*kernel.dtype), ("copy", "fa_copy", "-"));
        for line in [
            "FA_KERNEL",
            "FA_KERNEL(COPY, fa_copy",
            "KERNEL(COPY, fa_copy)",
            "FA_KERNEL(COPY)",
            "FA_KERNEL(NONE, fa_x)",
        ] {
            let error = kernels(line, &interfaces).unwrap_err();
            assert!(error.starts_with(&format!("variants.def: `{line}` given, ")), "{error}");
        }
    }
}
