//! Rules from files: the same YAML as in the cluster, with the same verdicts and sentences; each sentence names its file.

use crate::{Trouble, sentence};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use vedette_crds::compile::standalone;
use vedette_crds::node_config::NodeRule;
use vedette_crds::parse::{ParseError, parse_rules};
use vedette_crds::rule::DataCollectionRule;
use vedette_engine::Engine;

/// A hundred of the largest rules: what is longer is something else, perhaps a device without an end.
const MAX_BYTES: u64 = 8 << 20;
/// Bad documents of a file that are spelled out; the rest is a number.
const SPELLED_OUT: usize = 5;

/// Where a rule stands.
struct Place<'f> {
    file: &'f Path,
    document: usize,
}

/// The rules in these files; each document is one rule, and each name stands once.
pub(crate) fn load(files: &[PathBuf]) -> Result<Vec<NodeRule>, Trouble> {
    let (all, places) = parse(files)?;
    standalone(&all).map_err(|refused| match places.get(&refused.name) {
        Some(Place { file, .. }) => Trouble::new(format!("the rule file {}: {refused}", file.display())),
        None => Trouble::of(refused),
    })
}

/// The entries in these files that are not enabled, as if they were, and no others.
pub(crate) fn disabled(files: &[PathBuf]) -> Result<Vec<NodeRule>, Trouble> {
    let (mut all, _) = parse(files)?;
    for files in all.iter_mut().filter_map(|rule| rule.spec.files.as_mut()) {
        files.paths.retain(|path| !path.enabled);
        files.paths.iter_mut().for_each(|path| path.enabled = true);
    }
    all.retain(|rule| rule.spec.files.as_ref().is_some_and(|files| !files.paths.is_empty()));
    standalone(&all).map_err(Trouble::of)
}

fn parse(files: &[PathBuf]) -> Result<(Vec<DataCollectionRule>, BTreeMap<String, Place<'_>>), Trouble> {
    let mut all = Vec::new();
    let mut places: BTreeMap<String, Place<'_>> = BTreeMap::new();
    for file in files {
        let text = read(file)?;
        let rules = parse_rules(&text).map_err(|error| refused(file, &error))?;
        if rules.is_empty() {
            let message = format!("the rule file {} holds no rule: write a DataCollectionRule into it", file.display());
            return Err(Trouble::new(message));
        }
        for (document, rule) in (1..).zip(rules) {
            let name = rule.metadata.name.clone().unwrap_or_default();
            let place = Place { file, document };
            if let Some(first) = places.get(&name) {
                return Err(twice(&name, first, &place));
            }
            places.insert(name, place);
            all.push(rule);
        }
    }
    Ok((all, places))
}

fn read(file: &Path) -> Result<String, Trouble> {
    let failed = |source| Trouble::because(format!("cannot read the rule file {}", file.display()), source);
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the rule file {} is larger than {} MiB: no rules are", file.display(), MAX_BYTES >> 20);
        return Err(Trouble::new(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Trouble::new(format!("the rule file {} is no text: byte {at} is not UTF-8", file.display()))
    })
}

fn refused(file: &Path, error: &ParseError) -> Trouble {
    let said = match error {
        ParseError::Refused(documents) => {
            let mut said: Vec<String> = documents.iter().take(SPELLED_OUT).map(ToString::to_string).collect();
            match documents.len().saturating_sub(SPELLED_OUT) {
                0 => {}
                1 => said.push("and one more document".into()),
                more => said.push(format!("and {more} more documents")),
            }
            said.join("; ")
        }
        // What the parser shows over several lines is one sentence here.
        other => sentence(other).replace("\\u{a}", " "),
    };
    Trouble::new(format!("the rule file {}: {said}", file.display()))
}

fn twice(name: &str, first: &Place<'_>, second: &Place<'_>) -> Trouble {
    Trouble::new(if first.file != second.file {
        let (first, second) = (first.file.display(), second.file.display());
        format!("two rules are named {name:?}, one in {first}, one in {second}: rename one")
    } else if first.document == second.document {
        format!("the rule file {} is given twice: leave one out", first.file.display())
    } else {
        let (file, first, second) = (first.file.display(), first.document, second.document);
        format!("two rules are named {name:?}, documents {first} and {second} of {file}: rename one")
    })
}

/// The name that records give a host without a cluster: `--node`, else what the host calls itself.
pub(crate) fn node_name(given: Option<&String>, host_root: &Path) -> String {
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    given.cloned().or_else(|| Engine::host_name(host_root)).unwrap_or_else(own)
}
