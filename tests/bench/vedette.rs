//! vedette-agent as a user runs it: a release build, `scan`, twice.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use vedette_tests::products::cargo;
use vedette_tests::{Error, Result};

use crate::aide::Digests;
use crate::measured::{Measured, doing, measure};
use crate::{Hashes, Runs};

/// Builds the agent in the release profile; cargo shows its progress.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--locked", "--package", "vedette-node-agent", "--message-format", "json"]);
    let built = cargo.stderr(Stdio::inherit()).output();
    let built = built.map_err(doing("run cargo build"))?;
    if !built.status.success() {
        return Err(Error::Unexpected(format!("cargo build --release ended with {}", built.status)));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    let agent = executables.into_iter().find(|path| path.file_name() == Some(OsStr::new("vedette-agent")));
    agent.ok_or_else(|| Error::Unexpected("cargo build names no vedette-agent".into()))
}

/// A first baseline, and a re-scan that must find nothing.
pub(crate) fn run(agent: &Path, folder: &Path, tree: &Path, hashes: Hashes) -> Result<Runs> {
    let state = folder.join("vedette-state");
    let rule = rule(folder, tree, hashes)?;
    let (baseline, said) = scan(agent, folder, &rule, &state, 0)?;
    let entries = entries(&said)?;
    let (again, _) = scan(agent, folder, &rule, &state, 0)?;
    Ok(Runs { baseline, again, entries })
}

fn rule(folder: &Path, tree: &Path, hashes: Hashes) -> Result<PathBuf> {
    let path = folder.join("rule.yaml");
    let text = format!(
        "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {{name: bench}}\n\
         spec: {{files: {{paths: [{{name: tree, path: {}, hashes: [{}]}}]}}}}\n",
        tree.display(),
        hashes.rule()
    );
    fs::write(&path, text).map_err(doing("write the rule"))?;
    Ok(path)
}

fn scan(agent: &Path, folder: &Path, rule: &Path, state: &Path, code: i32) -> Result<(Measured, Output)> {
    let [rule_flag, state_flag] = ["--rule", "--state-dir"].map(OsStr::new);
    let arguments = [OsStr::new("scan"), rule_flag, rule.as_os_str(), state_flag, state.as_os_str()];
    measure(folder, agent, &arguments, &[code])
}

/// From `baseline made: 153005 items, …`.
fn entries(said: &Output) -> Result<u64> {
    let text = String::from_utf8_lossy(&said.stderr);
    let number = text.split("baseline made: ").nth(1).and_then(|rest| rest.split(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::Unexpected(format!("vedette-agent made no baseline: {text}")))
}

/// The sampled files of which vedette-agent has other digests: copies are added to a tree that it knows, and the records
/// say theirs.
pub(crate) fn differing(agent: &Path, folder: &Path, hashes: Hashes, sample: &Digests) -> Result<Vec<String>> {
    let (copies, state) = (folder.join("copies"), folder.join("copies-state"));
    fs::create_dir(&copies).map_err(doing("make a folder for the sample"))?;
    let rule = rule(folder, &copies, hashes)?;
    scan(agent, folder, &rule, &state, 0)?;
    let mut originals = BTreeMap::new();
    for (number, (path, digests)) in sample.iter().enumerate() {
        let copy = copies.join(number.to_string());
        fs::copy(path, &copy).map_err(doing(&format!("copy {}", path.display())))?;
        originals.insert(copy.display().to_string(), (path, digests));
    }
    let (_, output) = scan(agent, folder, &rule, &state, 1)?;
    let mut differing = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let record: Value = serde_json::from_str(line)
            .map_err(|error| Error::Unexpected(format!("vedette-agent printed {line}: {error}")))?;
        let Some((path, digests)) = record["path"].as_str().and_then(|path| originals.remove(path)) else { continue };
        if digests.iter().any(|(name, digest)| record["after"][name] != digest.as_str()) {
            differing.push(format!("{}: aide {digests:?}, vedette-agent {}", path.display(), record["after"]));
        }
    }
    differing.extend(originals.values().map(|(path, _)| format!("{}: no record of its copy", path.display())));
    Ok(differing)
}
