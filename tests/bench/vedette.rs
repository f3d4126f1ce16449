//! vedette-agent as a user runs it: a release build, `scan`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use vedette_tests::products::cargo;
use vedette_tests::{Error, Result};

use crate::aide::{Digests, Hashes};
use crate::measured::{Measured, doing, measure};

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

/// A state of ours.
pub(crate) struct Known {
    agent: PathBuf,
    rule: PathBuf,
    state: PathBuf,
    /// What the first baseline needed.
    pub(crate) baseline: Measured,
    /// How many entries it has.
    pub(crate) entries: u64,
}

impl Known {
    /// A first baseline, in this folder.
    pub(crate) fn new(agent: &Path, folder: &Path, tree: &Path, hashes: Hashes) -> Result<Self> {
        let state = folder.join("vedette-state");
        let rule = rule(folder, "rule.yaml", tree, hashes)?;
        let (baseline, said) = scan(agent, folder, &rule, &state, &[], 0)?;
        Ok(Self { agent: agent.to_owned(), rule, state, baseline, entries: entries(&said)? })
    }

    /// Another scan of the same, which must find nothing.
    pub(crate) fn again(&self, flags: &[&str]) -> Result<Measured> {
        let (measured, output) = self.scan(flags, 0)?;
        // It speaks of a rule that is another one, and of what it could not see.
        if output.stderr.is_empty() {
            return Ok(measured);
        }
        Err(Error::Unexpected(format!("vedette-agent said {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Another scan, which must find so many changes.
    pub(crate) fn changed(&self, changes: usize) -> Result<Measured> {
        let (measured, output) = self.scan(&[], 1)?;
        let found = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        if found != changes {
            return Err(Error::Unexpected(format!("vedette-agent told {found} changes instead of {changes}")));
        }
        Ok(measured)
    }

    /// What the state takes on disk, all its files together.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let looking = || doing("look at the state");
        let mut bytes = 0;
        for file in fs::read_dir(&self.state).map_err(looking())? {
            bytes += file.and_then(|file| file.metadata()).map_err(looking())?.blocks() * 512;
        }
        Ok(bytes)
    }

    fn scan(&self, flags: &[&str], code: i32) -> Result<(Measured, Output)> {
        let folder = self.rule.parent().unwrap_or(Path::new("/"));
        scan(&self.agent, folder, &self.rule, &self.state, flags, code)
    }
}

fn rule(folder: &Path, name: &str, tree: &Path, hashes: Hashes) -> Result<PathBuf> {
    let path = folder.join(name);
    let text = format!(
        "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {{name: bench}}\n\
         spec: {{files: {{paths: [{{name: tree, path: {}, hashes: [{}]}}]}}}}\n",
        tree.display(),
        hashes.rule()
    );
    fs::write(&path, text).map_err(doing("write the rule"))?;
    Ok(path)
}

fn scan(
    agent: &Path,
    folder: &Path,
    rule: &Path,
    state: &Path,
    flags: &[&str],
    code: i32,
) -> Result<(Measured, Output)> {
    let [rule_flag, state_flag] = ["--rule", "--state-dir"].map(OsStr::new);
    let mut arguments = vec![OsStr::new("scan"), rule_flag, rule.as_os_str(), state_flag, state.as_os_str()];
    arguments.extend(flags.iter().map(OsStr::new));
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
    let rule = rule(folder, "copies.yaml", &copies, hashes)?;
    scan(agent, folder, &rule, &state, &[], 0)?;
    let mut originals = BTreeMap::new();
    for (number, (path, digests)) in sample.iter().enumerate() {
        let copy = copies.join(number.to_string());
        fs::copy(path, &copy).map_err(doing(&format!("copy {}", path.display())))?;
        originals.insert(copy.display().to_string(), (path, digests));
    }
    let (_, output) = scan(agent, folder, &rule, &state, &[], 1)?;
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
