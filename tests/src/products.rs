//! The product's binaries, as cargo builds them beside this test. Reads where the running executable lies; produces paths.
//! `cargo test` builds the binaries of the package under test alone, so they are asked for here, once a process.
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::sync::OnceCell;

use crate::error::{Doing as _, Error, Result};

/// The product's binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products {
    /// vedette-operator
    pub operator: PathBuf,
    /// vedette-agent
    pub agent: PathBuf,
    /// kubectl-vedette
    pub kubectl_vedette: PathBuf,
}

// Named, or cargo would build the demo and the benches with them.
const OPERATOR: &str = "vedette-operator";
const AGENT: &str = "vedette-agent";
const PLUGIN: &str = "kubectl-vedette";

static PRODUCTS: OnceCell<Result<Products, String>> = OnceCell::const_new();

/// Builds them in the profile and target folder of the running executable, once a process; cargo shows its progress.
///
/// # Errors
/// When the build fails.
pub async fn products() -> Result<&'static Products> {
    PRODUCTS
        .get_or_init(async || match tokio::task::spawn_blocking(build).await {
            Ok(built) => built.map_err(|error| format!("{error:?}")),
            Err(panic) => Err(panic.to_string()),
        })
        .await
        .as_ref()
        .map_err(|error| Error::Unexpected(error.clone()))
}

fn build() -> Result<Products> {
    let executable = env::current_exe().doing(|| "find the running executable".into())?;
    let place = Place::of(&executable)?;
    let mut cargo = cargo();
    cargo
        .args(["build", "--workspace", "--bin", OPERATOR, "--bin", AGENT, "--bin", PLUGIN, "--target-dir"])
        .arg(&place.target)
        .args(["--profile", &place.profile])
        .stdout(Stdio::null());
    if let Some(triple) = &place.triple {
        cargo.args(["--target", triple]);
    }
    let status = cargo.status().doing(|| "run cargo build".into())?;
    if !status.success() {
        return Err(Error::Unexpected(format!("cargo build of {OPERATOR}, {AGENT} and {PLUGIN} ended with {status}")));
    }
    Ok(Products {
        operator: place.folder.join(OPERATOR),
        agent: place.folder.join(AGENT),
        kubectl_vedette: place.folder.join(PLUGIN),
    })
}

/// cargo, in the workspace, as it would run from a shell.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).stdin(Stdio::null());
    // What cargo says about this package is not true of what it builds now, and some build scripts run again when it changes.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(speaks_of_the_running_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn speaks_of_the_running_package(name: &str) -> bool {
    const EXACT: [&str; 6] = [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
    ];
    EXACT.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_EXE_")
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Where binaries of this profile are.
    folder: PathBuf,
    target: PathBuf,
    profile: String,
    triple: Option<String>,
}

impl Place {
    /// From `target[/triple]/profile[/deps]/executable`; cargo marks `target` with a CACHEDIR.TAG.
    fn of(executable: &Path) -> Result<Self> {
        let unknown = || Error::Unexpected(format!("{} is not in a target folder", executable.display()));
        let parent = executable.parent().ok_or_else(unknown)?;
        let folder = match parent.file_name().and_then(|name| name.to_str()) {
            Some("deps" | "examples") => parent.parent().ok_or_else(unknown)?,
            _ => parent,
        };
        let target =
            folder.ancestors().skip(1).find(|ancestor| ancestor.join("CACHEDIR.TAG").is_file()).ok_or_else(unknown)?;
        let names: Vec<&str> =
            folder.strip_prefix(target).map_err(|_| unknown())?.iter().filter_map(|name| name.to_str()).collect();
        let (triple, profile) = match names[..] {
            [profile] => (None, profile),
            [triple, profile] => (Some(triple.to_owned()), profile),
            _ => return Err(unknown()),
        };
        Ok(Self {
            folder: folder.to_owned(),
            target: target.to_owned(),
            // The one profile whose folder is called otherwise.
            profile: if profile == "debug" { "dev" } else { profile }.to_owned(),
            triple,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn the_target_folder_is_read_off_the_running_executable() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("t");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let place = |path: &str| Place::of(&target.join(path)).unwrap();
        let debug = place("debug/deps/e2e-0a1b");
        assert_eq!(debug.folder, target.join("debug"));
        assert_eq!((debug.profile.as_str(), debug.triple), ("dev", None));
        assert_eq!(debug.target, target);
        assert_eq!(place("release/demo").profile, "release");
        let cross = place("x86_64-unknown-linux-musl/release/deps/e2e-0a1b");
        assert_eq!(cross.triple.as_deref(), Some("x86_64-unknown-linux-musl"));
        assert_eq!(cross.profile, "release");
    }

    #[test]
    fn an_executable_elsewhere_is_refused_by_name() {
        let error = Place::of(Path::new("/usr/bin/demo")).unwrap_err();
        assert_eq!(error.to_string(), "/usr/bin/demo is not in a target folder");
    }

    #[test]
    fn settings_of_the_user_reach_the_build_and_facts_of_this_package_do_not() {
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "CARGO_INCREMENTAL"] {
            assert!(!speaks_of_the_running_package(kept), "{kept}");
        }
        for dropped in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_demo"] {
            assert!(speaks_of_the_running_package(dropped), "{dropped}");
        }
    }
}
