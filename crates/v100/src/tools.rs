//! Where `ptxas` and `nvdisasm` are, and what they make of a PTX text.
//!
//! Both come from packages of Python: `pip install nvidia-cuda-nvcc-cu12==12.9.86` has `ptxas`, `pip install
//! --no-deps triton==3.3.1` has an `nvdisasm` that still knows sm_70 (later ones print nothing for it). The
//! variables `PTXAS` and `NVDISASM` name others.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Error, Result};

/// The assembler and the disassembler.
#[derive(Debug, Clone)]
pub struct Tools {
    ptxas: PathBuf,
    nvdisasm: PathBuf,
}

/// A file of machine code, and what the assembler said of it.
#[derive(Debug)]
pub struct Assembled {
    /// The ELF file.
    pub cubin: Vec<u8>,
    /// Bytes that the kernel stores to memory because registers do not suffice.
    pub spilled_bytes: u32,
}

impl Tools {
    /// Finds both: the variables first, then the packages of `python3`, then `PATH`.
    ///
    /// # Errors
    /// [`Error::NoTool`] names what is missing and the package that has it.
    pub fn find() -> Result<Self> {
        let folders = python_path();
        let find = |variable: &str, tail: &str, name: &'static str, package: &'static str| {
            let given = env::var_os(variable).map(PathBuf::from);
            let installed = || folders.iter().map(|folder| folder.join(tail)).find(|path| path.is_file());
            let on_path = || {
                let path = env::var_os("PATH").unwrap_or_default();
                env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
            };
            let missing = Error::NoTool { name, package };
            given.filter(|path| path.is_file()).or_else(installed).or_else(on_path).ok_or(missing)
        };
        Ok(Self {
            ptxas: find("PTXAS", "nvidia/cuda_nvcc/bin/ptxas", "ptxas", "nvidia-cuda-nvcc-cu12==12.9.86")?,
            nvdisasm: find(
                "NVDISASM",
                "triton/backends/nvidia/bin/nvdisasm",
                "nvdisasm",
                "--no-deps triton==3.3.1",
            )?,
        })
    }

    /// The assembler's own words about its version.
    ///
    /// # Errors
    /// If it does not run.
    pub fn version(&self) -> Result<String> {
        let said = run(&self.ptxas, &["--version".as_ref()])?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().replace('\n', " "))
    }

    /// Assembles a PTX text for sm_70.
    ///
    /// # Errors
    /// If the assembler does not run or refuses the text: [`Error::Tool`] with its words.
    pub fn assemble(&self, ptx: &str) -> Result<Assembled> {
        let folder = tempfile::tempdir()?;
        let (text, cubin) = (folder.path().join("kernel.ptx"), folder.path().join("kernel.cubin"));
        std::fs::write(&text, ptx)?;
        let arguments =
            ["-arch=sm_70".as_ref(), "-v".as_ref(), text.as_os_str(), "-o".as_ref(), cubin.as_os_str()];
        let said = run(&self.ptxas, &arguments)?;
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        let spilled = words.split(" bytes spill stores").next().and_then(|text| text.rsplit(' ').next());
        Ok(Assembled {
            cubin: std::fs::read(&cubin)?,
            spilled_bytes: spilled.and_then(|n| n.parse().ok()).unwrap_or(0),
        })
    }

    /// The disassembler's text of a file, with the words of every instruction.
    pub(crate) fn disassemble(&self, cubin: &[u8]) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("kernel.cubin");
        std::fs::write(&file, cubin)?;
        let said = run(&self.nvdisasm, &["-hex".as_ref(), file.as_os_str()])?;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }
}

fn python_path() -> Vec<PathBuf> {
    let asked = Command::new("python3").args(["-c", "import sys; print('\\n'.join(sys.path))"]).output();
    let text = asked.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()
}

fn run(tool: &Path, arguments: &[&std::ffi::OsStr]) -> Result<Output> {
    let said = Command::new(tool).args(arguments).output()?;
    if said.status.success() {
        return Ok(said);
    }
    let words = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(Error::Tool { name: tool.display().to_string(), words })
}
