//! Reads `variants.def`, the list of kernels, and what the file that defines a kernel says of it.

/// A kernel: a line of `variants.def`, and what the file that defines it says.
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
    /// The translation unit below `ascendc`: `FA_FLASH_FWD` is defined in `kernels/flash_fwd.cpp`.
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

/// Every kernel, in the order of `variants`, the text of `variants.def`. `text_of` gives a file below `ascendc`.
///
/// # Errors
/// A line that does not follow the form of the others, or whose kernel is not found: a defect of this crate.
pub fn kernels(variants: &str, text_of: impl Fn(&str) -> Option<String>) -> Result<Vec<Kernel>, String> {
    variants
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("//"))
        .map(|line| {
            parse(line, &text_of).ok_or_else(|| format!("variants.def: no kernel found for `{line}`"))
        })
        .collect()
}

/// The kernel of one line.
pub fn parse(line: &str, text_of: impl Fn(&str) -> Option<String>) -> Option<Kernel> {
    let (family, rest) = line.split_once('(')?;
    let mut fields = rest.trim_end().strip_suffix(')')?.split(',').map(str::trim);
    let name = fields.next()?.to_owned();
    let dtype = match fields.next() {
        None => "-",
        Some("half") => "f16",
        Some("bfloat16_t") => "bf16",
        Some("float") => "f32",
        Some(other) => other,
    };
    let file = format!("kernels/{}.cpp", family.strip_prefix("FA_")?.to_lowercase());
    // Macro definitions continue over lines; the blanks between words say nothing.
    let text = text_of(&file)?.replace("\\\n", " ");
    let (_, entry) = text.split_once("__global__ __aicore__ void ")?;
    let (_, entry) = entry.split_once('(')?;
    let (args, entry) = entry.split_once(')')?;
    let (_, entry) = entry.split_once("KERNEL_TASK_TYPE_DEFAULT(")?;
    let (kernel_type, _) = entry.split_once(')')?;
    Some(Kernel {
        name,
        dtype: dtype.to_owned(),
        kernel_type: kernel_type.to_owned(),
        args: args.split(',').map(|arg| arg.split_whitespace().collect::<Vec<_>>().join(" ")).collect(),
        file,
        line: line.to_owned(),
    })
}
