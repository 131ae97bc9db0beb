//! Which package uses which, and what of other people's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::search::{files, names, read, root};

/// One entry of a table of dependencies.
struct Dependency {
    /// `dependencies`, `dev-dependencies` or `build-dependencies`.
    kind: &'static str,
    name: String,
    entry: toml::Value,
}

/// A package of the workspace.
struct Package {
    /// As the documentation calls it: its folder, without `crates/`; the root is `root`.
    name: String,
    folder: PathBuf,
    manifest: toml::Table,
}

impl Package {
    fn dependencies(&self) -> Vec<Dependency> {
        let mut all = Vec::new();
        let targets = self.manifest.get("target").and_then(toml::Value::as_table);
        let of_targets =
            targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table);
        for table in std::iter::once(&self.manifest).chain(of_targets) {
            for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
                let entries = table.get(kind).and_then(toml::Value::as_table);
                all.extend(entries.into_iter().flatten().map(|(name, entry)| Dependency {
                    kind,
                    name: name.clone(),
                    entry: entry.clone(),
                }));
            }
        }
        all
    }
}

fn table(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap().parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn packages() -> Vec<Package> {
    let mut folders: Vec<PathBuf> = ["", "cli", "lab", "dropin", "llama"].map(|dir| root().join(dir)).into();
    folders.extend(fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()));
    let package = |folder: PathBuf| Package {
        name: match folder.strip_prefix(root()).unwrap().file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => "root".to_owned(),
        },
        manifest: table(&folder.join("Cargo.toml")),
        folder,
    };
    folders.into_iter().map(package).collect()
}

/// What the workspace says once for all packages.
fn shared() -> toml::Table {
    table(&root().join("Cargo.toml"))["workspace"]["dependencies"].as_table().unwrap().clone()
}

#[test]
fn a_program_that_uses_the_library_gets_nothing_of_the_tool() {
    let mut seen = 0;
    for path in files("crates", &["Cargo.toml"]).into_iter().chain([root().join("Cargo.toml")]) {
        let manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for name in dependencies.into_iter().flat_map(toml::Table::keys) {
            let is_of_the_tool = ["anyhow", "clap", "csv", "flate2", "indicatif", "plotters", "safetensors"]
                .contains(&&**name);
            assert!(!is_of_the_tool, "{}: {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} dependencies found: the search is broken");
}

/// The table of `docs/architecture.md` has every edge between packages, and no other.
#[test]
fn the_documentation_has_the_edges_of_the_manifests() {
    let (packages, shared) = (packages(), shared());
    let name_at: BTreeMap<PathBuf, &str> =
        packages.iter().map(|p| (p.folder.canonicalize().unwrap(), p.name.as_str())).collect();
    let text = read("docs/architecture.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| package |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    for package in &packages {
        let path = |name: &str| shared.get(name)?.get("path")?.as_str();
        let in_manifest: BTreeSet<&str> = package
            .dependencies()
            .iter()
            .filter_map(|dependency| path(&dependency.name))
            .map(|path| name_at[&root().join(path).canonicalize().unwrap()])
            .collect();
        let is_its = |row: &&Vec<&str>| {
            let title = row[0].split('`').nth(1).unwrap();
            let folder = title.strip_prefix("crates/").unwrap_or(title);
            folder == package.name || (package.name == "root" && row[0].contains("(root)"))
        };
        let mut row = rows.iter().filter(is_its);
        let row = row.next().unwrap_or_else(|| panic!("no row for {}", package.name));
        // What stands in brackets is said of a package, and is none.
        let words: BTreeSet<&str> = row[2].split(|c: char| !(c.is_alphanumeric() || c == '-')).collect();
        let is_feature = |name: &str| row[2].contains(&format!("feature `{name}`"));
        let in_table: BTreeSet<&str> =
            name_at.values().copied().filter(|name| words.contains(name) && !is_feature(name)).collect();
        assert_eq!(in_table, in_manifest, "row of {}: {}", package.name, row[2]);
    }
    assert_eq!(rows.len(), packages.len(), "rows and packages");
}

/// What several packages use has one version, said in `[workspace.dependencies]`.
#[test]
fn shared_versions_are_those_of_the_workspace() {
    let shared = shared();
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        for Dependency { name, entry, .. } in package.dependencies() {
            let is_shared = entry.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            assert!(is_shared || !shared.contains_key(&name), "{}: {name} = {entry}", package.name);
            users.entry(name).or_default().push(package.name.clone());
        }
    }
    for (name, mut users) in users {
        users.dedup();
        assert!(users.len() < 2 || shared.contains_key(&name), "{name} has no shared version: {users:?}");
    }
}

/// Each is named in the code that it is for, and tests repeat none that the library has anyway.
#[test]
fn every_dependency_is_used_and_listed_once() {
    for package in packages() {
        let dependencies = package.dependencies();
        let text = |dirs: &[&str]| -> String {
            let there = dirs.iter().map(|dir| package.folder.join(dir)).filter(|dir| dir.exists());
            let paths =
                there.flat_map(|dir| files(dir.strip_prefix(root()).unwrap().to_str().unwrap(), &[".rs"]));
            paths.map(|path| fs::read_to_string(path).unwrap()).collect()
        };
        let [library, all, build] =
            [&["src"][..], &["src", "tests", "examples", "benches"], &["build.rs", "build"]].map(text);
        for Dependency { kind, name, entry } in &dependencies {
            let code = match *kind {
                "dependencies" => &library,
                "dev-dependencies" => &all,
                _ => &build,
            };
            assert!(names(code, &name.replace('-', "_")), "{}: {kind}: {name} is not used", package.name);
            let own = dependencies.iter().find(|other| other.kind == "dependencies" && other.name == *name);
            let is_optional = |own: &Dependency| own.entry.get("optional").is_some();
            let adds = kind == &"dev-dependencies" && entry.get("features").is_none();
            let is_repeated = adds && own.is_some_and(|own| !is_optional(own));
            assert!(!is_repeated, "{}: {name} is a dependency, and one of tests again", package.name);
        }
    }
}
