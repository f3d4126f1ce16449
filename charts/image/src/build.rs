//! Both programs, built by cargo so that they need nothing but a kernel. Reads the workspace; produces paths. What is built does
//! not depend on where the sources and cargo's registry lie.

use crate::error::{Doing as _, Error, Result};
use crate::image::{AGENT, Kind, OPERATOR};
use serde_json::Value;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// vedette-operator
    pub operator: PathBuf,
    /// vedette-agent
    pub agent: PathBuf,
}

/// Builds both; cargo shows its progress on standard error.
///
/// # Errors
/// When cargo cannot be run or the build fails.
pub fn build(target: &str, profile: &str) -> Result<Built> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().doing(|| format!("find {}", workspace.display()))?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told this program of its own package: dependencies that look at it would be built again for each that asks.
    let is_ours = |name: &OsStr| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|begins| name.as_encoded_bytes().starts_with(begins.as_bytes()))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
        cargo.env_remove(name);
    }
    cargo
        .args(["build", "--locked", "--message-format=json-render-diagnostics"])
        .args(["--bin", OPERATOR.name, "--bin", AGENT.name])
        .args(["--target", target, "--profile", profile])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&workspace, cargo_home().as_deref()))
        .current_dir(&workspace)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = cargo.output().doing(|| "run cargo build".into())?;
    if !output.status.success() {
        return Err(Error::Build { target: target.to_owned(), status: output.status });
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let find = |kind: Kind| executable(&said, kind.name).ok_or(Error::NotBuilt(kind.name));
    Ok(Built { operator: find(OPERATOR)?, agent: find(AGENT)? })
}

fn cargo_home() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo")))
}

/// Panics name the file that they come from: by a name that is the same everywhere.
fn flags(workspace: &Path, cargo_home: Option<&Path>) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    for (from, to) in [(Some(workspace), "/vedette"), (cargo_home, "/cargo")] {
        if let Some(from) = from {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
    }
    flags
}

/// Where cargo says that it put a program: a line a message, this one of an artifact.
fn executable(said: &str, name: &str) -> Option<PathBuf> {
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_built_is_found_in_what_cargo_says() {
        let said = r#"{"reason":"compiler-artifact","target":{"name":"vedette_crds"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"vedette-agent"},"executable":"/t/vedette-agent"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(said, "vedette-agent").unwrap(), Path::new("/t/vedette-agent"));
        assert_eq!(executable(said, "vedette-operator"), None);
    }

    #[test]
    fn paths_of_this_machine_are_not_built_in() {
        let flags = flags(Path::new("/home/me/vedette"), Some(Path::new("/home/me/.cargo"))).into_string().unwrap();
        let flags: Vec<&str> = flags.split('\x1f').collect();
        let remapped = ["--remap-path-prefix=/home/me/vedette=/vedette", "--remap-path-prefix=/home/me/.cargo=/cargo"];
        assert_eq!(flags[1..], remapped);
    }
}
