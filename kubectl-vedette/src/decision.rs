//! What an entry has to do with a path, as far as names tell: reads its patterns, produces a decision and why. Pure.
//!
//! The steps are those of a walk down from `/` (`node-agent/engine/src/select.rs`), by the same cursors over the same patterns;
//! a test holds both to each other. What only the node knows (links, mounts, what is there) is not asked.

use serde::Serialize;
use vedette_crds::pattern::{Cursor, PathPattern};
use vedette_crds::settings::{Exclude, FileEntry};

/// What an entry has to do with a path; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Decision {
    /// It selects the path.
    Selects,
    /// It would, but the rule is suspended.
    RuleSuspended,
    /// It would, but is not enabled.
    Disabled,
    /// One of its excludes leaves the path out, or a directory above it.
    Excluded,
    /// The path lies deeper than maxDepth.
    TooDeep,
    /// It selects what lies below the path.
    LeadsBelow,
    /// Its path leads elsewhere.
    PathDoesNotMatch,
}

/// A decision, and how far the entry went along the path: its components that matched, and of an exclude which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) along: usize,
    pub(crate) exclude: Option<usize>,
}

/// The components of an absolute path.
pub(crate) fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).collect()
}

/// What an entry has to do with a path.
pub(crate) fn decide(entry: &FileEntry, path: &[&[u8]]) -> Decided {
    decide_by(&entry.path, &entry.exclude, entry.max_depth, path)
}

/// Whether a path is selected by a pattern as by an entry that says nothing else.
pub(crate) fn selects(pattern: &PathPattern, path: &[&[u8]]) -> bool {
    decide_by(pattern, &[], None, path).decision == Decision::Selects
}

fn decide_by(pattern: &PathPattern, exclude: &[Exclude], max_depth: Option<u32>, path: &[&[u8]]) -> Decided {
    let max_depth = max_depth.unwrap_or(u32::MAX);
    let whole_paths: Vec<(usize, &PathPattern)> = exclude
        .iter()
        .enumerate()
        .filter_map(|(at, exclude)| match exclude {
            Exclude::Path(pattern) => Some((at, pattern)),
            Exclude::Name(_) => None,
        })
        .collect();
    let by_name = |name: &[u8]| {
        exclude.iter().position(|exclude| matches!(exclude, Exclude::Name(pattern) if pattern.matches(name)))
    };
    let by_path = |cursors: &[Cursor]| {
        let mut both = whole_paths.iter().zip(cursors);
        both.find(|((_, pattern), cursor)| cursor.is_match(pattern)).map(|((at, _), _)| *at)
    };
    let decided = |decision, along, exclude| Decided { decision, along, exclude };

    let mut excludes: Vec<Cursor> = whole_paths.iter().map(|(_, pattern)| pattern.start()).collect();
    let mut cursor = pattern.start();
    let mut covered = cursor.is_match(pattern).then_some(max_depth);
    if let Some(at) = by_path(&excludes) {
        return decided(Decision::Excluded, 0, Some(at));
    }
    for (along, name) in path.iter().enumerate() {
        covered = covered.and_then(|left| left.checked_sub(u32::from(left != u32::MAX)));
        if covered.is_none() && cursor.is_dead() {
            return decided(Decision::TooDeep, along, None);
        }
        // On the way to where an entry begins nothing is excluded by name.
        if along + 1 >= pattern.literal_prefix()
            && let Some(at) = by_name(name)
        {
            return decided(Decision::Excluded, along, Some(at));
        }
        let steps = excludes.iter().zip(&whole_paths);
        excludes = steps.map(|(cursor, (_, pattern))| cursor.step(pattern, name)).collect();
        if let Some(at) = by_path(&excludes) {
            return decided(Decision::Excluded, along, Some(at));
        }
        cursor = cursor.step(pattern, name);
        covered = covered.max(cursor.is_match(pattern).then_some(max_depth));
        if covered.is_none() && cursor.is_dead() {
            return decided(Decision::PathDoesNotMatch, along, None);
        }
    }
    let decision = if covered.is_some() { Decision::Selects } else { Decision::LeadsBelow };
    decided(decision, path.len(), None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::path::Path;
    use vedette_crds::node_config::{FileSettings, NodeFiles, NodePath, NodeRule};
    use vedette_crds::record::ByteText;
    use vedette_crds::settings::resolve;
    use vedette_engine::explain::{Question, explain_rules};

    const NAMES: [&str; 4] = ["a", "b", "c.swp", "d"];

    fn rule(path: &str, exclude: Vec<String>, max_depth: Option<u32>) -> NodeRule {
        let settings = FileSettings { exclude: Some(exclude), max_depth, ..FileSettings::default() };
        let entry = NodePath { name: "e".into(), path: path.into(), settings };
        let files = NodeFiles {
            interval: "15m".into(),
            rehash_interval: "24h".into(),
            paths: vec![entry],
            ..NodeFiles::default()
        };
        NodeRule { name: "r".into(), uid: "u".into(), files: Some(files), ..NodeRule::default() }
    }

    fn paths() -> impl Strategy<Value = String> {
        proptest::collection::vec(select(NAMES.to_vec()), 1..5).prop_map(|names| format!("/{}", names.join("/")))
    }

    fn patterns() -> impl Strategy<Value = String> {
        let segments = ["a", "b", "d", "*", "**", "{a,b}", "?.swp", "[!a]"];
        let some = proptest::collection::vec(select(segments.to_vec()), 1..5);
        prop_oneof![9 => some.prop_map(|segments| format!("/{}", segments.join("/"))), 1 => Just("/".to_owned())]
    }

    fn excludes() -> impl Strategy<Value = Vec<String>> {
        let names = select(vec!["*.swp", "a", "b", "[cd]*"]).prop_map(String::from);
        proptest::collection::vec(prop_oneof![names, patterns()], 0..3)
    }

    /// A host with every path that is asked about: what is there is a directory.
    fn host(root: &Path, path: &str) {
        std::fs::create_dir_all(root.join(path.trim_start_matches('/'))).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_decision_is_the_agents_own(path in paths(), pattern in patterns(), exclude in excludes(), max_depth in proptest::option::of(0_u32..4)) {
            let root = tempfile::tempdir().unwrap();
            host(root.path(), &path);
            let is_all = |exclude: &String| PathPattern::parse(exclude).is_ok_and(|pattern| selects(&pattern, &[]));
            let is_all_excluded = exclude.iter().any(is_all);
            let rules = vec![rule(&pattern, exclude, max_depth)];
            let resolved = resolve(&rules);
            prop_assert_eq!(&resolved.unknown, &Vec::<String>::new());
            let ours = decide(&resolved.entries[0], &components(path.as_bytes()));
            let question = Question { path: ByteText(path.clone()), path_bytes: None, rules: Some(rules) };
            let theirs = explain_rules(root.path(), &question).unwrap();
            prop_assert_eq!(ours.decision == Decision::Selects, theirs.is_selected);
            let theirs = format!("{:?}", theirs.entries[0].decision);
            // An entry that excludes / never begins, and the agent has no better word for it.
            if !is_all_excluded {
                prop_assert_eq!(format!("{:?}", ours.decision), theirs, "{:?}", ours);
            }
        }
    }
}
