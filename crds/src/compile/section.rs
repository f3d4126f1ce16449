//! One rule's section for a node: reads the rule as its author wrote it, produces its compact form: every node carries it.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::duration::{CompareInterval, RehashInterval};
use crate::node_config::{FileSettings, NodeFiles, NodePath};
use crate::rule::{Files, PathEntry};
use crate::settings::{CompareSet, DEFAULT_MAX_CONTENT_SIZE, HashSet, Links, Mounts, Named, Severity};

/// The section of a rule that [`validate`](crate::validate::validate) has accepted. Settings that most entries
/// share stand once, in the defaults, and nowhere when they are what a rule gets that does not say: these belong to the
/// API's version, so that every agent takes the same. An entry carries what differs. How deep an entry goes and what
/// it leaves out is its own.
pub(super) fn files(files: &Files) -> NodeFiles {
    let mut paths: Vec<_> = files.paths.iter().filter(|entry| entry.enabled).map(path).collect();
    let paths_now = &mut paths;
    let unsaid = unsaid();
    let defaults = FileSettings {
        recurse: share(paths_now, |settings| &mut settings.recurse, unsaid.recurse),
        max_depth: None,
        exclude: None,
        links: share(paths_now, |settings| &mut settings.links, unsaid.links),
        mounts: share(paths_now, |settings| &mut settings.mounts, unsaid.mounts),
        compare: share(paths_now, |settings| &mut settings.compare, unsaid.compare),
        hashes: share(paths_now, |settings| &mut settings.hashes, unsaid.hashes),
        max_content_size: share(paths_now, |settings| &mut settings.max_content_size, unsaid.max_content_size),
        severity: share(paths_now, |settings| &mut settings.severity, unsaid.severity),
    };
    NodeFiles {
        interval: canonical(&files.interval, CompareInterval::parse),
        rehash_interval: canonical(&files.rehash_interval, RehashInterval::parse),
        realtime: files.realtime,
        defaults,
        paths,
    }
}

fn path(entry: &PathEntry) -> NodePath {
    let mut hashes = entry.hashes.clone();
    hashes.sort_unstable();
    hashes.dedup();
    let compare: CompareSet = entry.compare.iter().copied().collect();
    NodePath {
        name: entry.name.clone(),
        path: entry.path.clone(),
        settings: FileSettings {
            recurse: Some(entry.recurse),
            max_depth: entry.max_depth,
            exclude: (!entry.exclude.is_empty()).then(|| entry.exclude.clone()),
            links: Some(spelled(&entry.links)),
            mounts: Some(spelled(&entry.mounts)),
            compare: Some(compare.iter().map(|aspect| aspect.as_str().into()).collect()),
            hashes: Some(hashes.iter().map(spelled).collect()),
            max_content_size: entry.max_content_size.bytes(),
            severity: Some(entry.severity.as_str().into()),
        },
    }
}

/// The settings of an entry that says nothing, as [`resolve`](crate::settings::resolve) takes them.
fn unsaid() -> FileSettings {
    FileSettings {
        recurse: Some(true),
        max_depth: None,
        exclude: None,
        links: Some(Links::Record.as_str().into()),
        mounts: Some(Mounts::Local.as_str().into()),
        compare: Some(CompareSet::default().iter().map(|aspect| aspect.as_str().into()).collect()),
        hashes: Some(HashSet::default().iter().map(|hash| hash.as_str().into()).collect()),
        max_content_size: Some(DEFAULT_MAX_CONTENT_SIZE),
        severity: Some(Severity::default().as_str().into()),
    }
}

/// Takes a setting's commonest value, the first of them when several are, out of the entries that have it; returns it
/// unless it goes without saying.
fn share<T: PartialEq + Clone>(
    paths: &mut [NodePath],
    setting: fn(&mut FileSettings) -> &mut Option<T>,
    unsaid: Option<T>,
) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in paths.iter_mut().filter_map(|path| setting(&mut path.settings).clone()) {
        match counts.iter_mut().find(|(counted, _)| *counted == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    let (shared, _) = counts.into_iter().find(|(_, count)| *count == most)?;
    for path in paths {
        let own = setting(&mut path.settings);
        if own.as_ref() == Some(&shared) {
            *own = None;
        }
    }
    Some(shared).filter(|shared| Some(shared) != unsaid.as_ref())
}

/// A hash of what a rule asks of a node, in hex: 32 digits, so that it is short in a spec and two do not meet.
pub(super) fn hash(suspend: bool, tags: &[String], files: Option<&NodeFiles>) -> String {
    #[derive(Serialize)]
    struct Section<'s> {
        suspend: bool,
        tags: &'s [String],
        files: Option<&'s NodeFiles>,
    }
    hex(json(&Section { suspend, tags, files }).as_bytes())
}

/// The first 32 digits of the SHA-256 of some bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// How many bytes a value takes in an object.
pub(super) fn json_bytes(value: &impl Serialize) -> usize {
    json(value).len()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and lists of them can be written as JSON")
}

fn canonical<T: ToString>(text: &str, parse: fn(&str) -> Option<T>) -> String {
    parse(text).map_or_else(|| text.into(), |interval| interval.to_string())
}

/// A variant's name as it is written in a rule.
fn spelled(variant: &impl Serialize) -> String {
    match serde_json::json!(variant) {
        serde_json::Value::String(name) => name,
        other => other.to_string(),
    }
}
