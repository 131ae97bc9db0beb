//! Where CANN may be installed: for a build script that looks for its compiler, and for [`crate::library`],
//! which looks for its library, so that both find the same one.

use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that name a root, the strongest first (acl-runtime.md 1.7).
pub const ROOT_VARIABLES: [&str; 3] = ["ASCEND_INSTALL_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"];

/// Roots to look in, in order and each once: those of [`ROOT_VARIABLES`], then the default folders of CANN's
/// installers. `variable` reads the environment.
pub fn cann_roots(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut roots: Vec<PathBuf> = ROOT_VARIABLES.into_iter().filter_map(set).collect();
    if let Some(home) = set("HOME") {
        roots.push(home.join("Ascend/cann"));
        roots.push(home.join("Ascend/ascend-toolkit/latest"));
    }
    roots.extend(
        ["/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest", "/opt/Ascend/cann"]
            .map(PathBuf::from),
    );
    let mut seen = std::collections::HashSet::new();
    roots.retain(|root| seen.insert(root.clone()));
    roots
}

/// The folder below a root that holds what is built for this host.
pub fn arch_folder() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}
