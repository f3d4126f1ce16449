//! Random days of a small host: after every compare the records are exactly the differences, whatever happened.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Host, rule_with, tell};
use vedette_engine::Due;

/// What can happen between two compares.
#[derive(Clone, Debug)]
enum Happening {
    Write(usize, u8),
    Chmod(usize, u32),
    Remove(usize),
    Rename(usize, usize),
    MakeDirectory(usize),
    Link(usize, u8),
    Entries(usize),
    Suspend(bool),
    Restart,
    /// Directories are taken up in passes of so many names, until the next restart.
    Pass(usize),
    /// A compare that is told to stop so soon, and another one.
    Interrupt(u64),
    Compare,
}

const PATHS: [&str; 12] = [
    "/d",
    "/d/x",
    "/d/y.conf",
    "/d/b",
    "/d/b/x",
    "/d/b/y.conf",
    "/e",
    "/e/x",
    "/e/c",
    "/e/c/y.conf",
    "/e/c/b",
    "/z.conf",
];

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), any::<u8>()).prop_map(|(path, content)| Write(path, content % 4)),
        2 => (path.clone(), 0..4u32).prop_map(|(path, mode)| Chmod(path, 0o700 + mode)),
        3 => path.clone().prop_map(Remove),
        3 => (path.clone(), path.clone()).prop_map(|(from, to)| Rename(from, to)),
        3 => path.clone().prop_map(MakeDirectory),
        2 => (path, 0..3u8).prop_map(|(path, target)| Link(path, target)),
        1 => (0..ENTRIES.len()).prop_map(Entries),
        1 => any::<bool>().prop_map(Suspend),
        1 => Just(Restart),
        1 => (1..3usize).prop_map(Pass),
        1 => (0..3000u64).prop_map(Interrupt),
        8 => Just(Compare),
    ]
}

/// Whether an entry selects a path, and whether that is a link: written down once more, in the simplest words.
type Selects = fn(&str, bool) -> bool;

/// Lists of entries, each with what it selects. None has a path through something that can become a link.
const ENTRIES: [(&str, Selects); 6] = [
    (r#"[{"name": "all", "path": "/**"}]"#, |_, _| true),
    (r#"[{"name": "conf", "path": "/**/*.conf"}]"#, |path, _| path.split('/').any(|name| name.ends_with(".conf"))),
    (r#"[{"name": "most", "path": "/*", "exclude": ["b", "/e/c/**"]}]"#, |path, _| {
        path != "/" && !path.split('/').any(|name| name == "b") && path != "/e/c" && !path.starts_with("/e/c/")
    }),
    (r#"[{"name": "files", "path": "/**", "links": "Ignore"}]"#, |_, is_link| !is_link),
    (
        r#"[{"name": "flat", "path": "/*", "maxDepth": 1}, {"name": "xs", "path": "/**/x", "links": "Ignore"}]"#,
        |path, is_link| {
            path != "/" && path.split('/').count() <= 3 || path.split('/').any(|name| name == "x") && !is_link
        },
    ),
    (r#"[{"name": "deep", "path": "/*/*/*"}]"#, |path, _| path.split('/').count() >= 4),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    kind: &'static str,
    mode: u32,
    content: Option<Vec<u8>>,
    target: Option<String>,
}

fn look(root: &Path, here: &Path, found: &mut BTreeMap<String, Item>) {
    let metadata = here.symlink_metadata().unwrap();
    let mode = metadata.mode() & 0o7777;
    let path = format!("/{}", here.strip_prefix(root).unwrap().display());
    let item = if metadata.is_dir() {
        fs::read_dir(here).unwrap().for_each(|entry| look(root, &entry.unwrap().path(), found));
        Item { kind: "Directory", mode, content: None, target: None }
    } else if metadata.is_symlink() {
        let target = fs::read_link(here).unwrap().to_str().unwrap().to_owned();
        Item { kind: "Symlink", mode, content: None, target: Some(target) }
    } else {
        Item { kind: "Regular", mode, content: Some(fs::read(here).unwrap()), target: None }
    };
    found.insert(path, item);
}

fn fields(before: &Item, after: &Item) -> String {
    let mut fields = Vec::new();
    fields.extend((before.content != after.content).then_some("Content"));
    fields.extend((before.target != after.target).then_some("LinkTarget"));
    fields.extend((before.mode != after.mode).then_some("Mode"));
    let size = |item: &Item| item.content.as_ref().map(Vec::len);
    fields.extend((size(before) != size(after)).then_some("Size"));
    fields.extend((before.kind != after.kind).then_some("Type"));
    fields.join(",")
}

/// What the engine should know and say.
struct Model {
    /// The last seen state of every item.
    known: BTreeMap<String, Item>,
    /// What left watch, as it was last seen.
    kept: BTreeMap<String, Item>,
    /// The entries of all compares that ran; a test lasts no seven days.
    watched: Vec<usize>,
    entries: usize,
    is_suspended: bool,
}

impl Model {
    /// The records of a compare that finds this.
    fn compare(&mut self, found: &BTreeMap<String, Item>) -> Vec<String> {
        if self.is_suspended {
            if self.watched.is_empty() {
                self.known.clear();
            }
            return Vec::new();
        }
        let selects = ENTRIES[self.entries].1;
        let is_link = |item: &Item| item.kind == "Symlink";
        if self.watched.last() != Some(&self.entries) {
            let part = |items: &mut BTreeMap<String, Item>| -> (BTreeMap<_, _>, BTreeMap<_, _>) {
                std::mem::take(items).into_iter().partition(|(path, item)| selects(path, is_link(item)))
            };
            let ((mut back, kept), (stays, leaves)) = (part(&mut self.kept), part(&mut self.known));
            (self.kept, self.known) = (kept, stays);
            self.kept.extend(leaves);
            // What was seen later stands.
            back.retain(|path, _| !self.known.contains_key(path));
            self.known.extend(back);
        }
        let mut said = Vec::new();
        let paths: BTreeSet<String> = self.known.keys().chain(found.keys()).cloned().collect();
        for path in paths {
            match (self.known.get(&path), found.get(&path)) {
                (Some(before), Some(after)) => {
                    if before != after {
                        said.push(format!("Modified {path} {}", fields(before, after)));
                    }
                    self.known.insert(path, after.clone());
                }
                (Some(_), None) => {
                    said.push(format!("Removed {path}"));
                    self.known.remove(&path);
                }
                (None, Some(after)) if selects(&path, is_link(after)) => {
                    if self.watched.iter().any(|watched| ENTRIES[*watched].1(&path, is_link(after))) {
                        said.push(format!("Added {path}"));
                    }
                    self.known.insert(path, after.clone());
                }
                (None, _) => {}
            }
        }
        self.watched.push(self.entries);
        said.sort();
        said
    }
}

fn happens(host: &Host, happening: &Happening) {
    // What cannot happen, because a directory is missing or in the way, does not.
    let possible = |_: std::io::Result<()>| {};
    match *happening {
        Happening::Write(path, content) => possible(fs::write(host.at(PATHS[path]), vec![b'c'; content.into()])),
        Happening::Chmod(path, mode) => {
            let path = host.at(PATHS[path]);
            if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
                possible(fs::set_permissions(path, fs::Permissions::from_mode(mode)));
            }
        }
        Happening::Remove(path) => {
            let path = host.at(PATHS[path]);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => possible(fs::remove_dir_all(path)),
                Ok(_) => possible(fs::remove_file(path)),
                Err(_) => {}
            }
        }
        Happening::Rename(from, to) => possible(fs::rename(host.at(PATHS[from]), host.at(PATHS[to]))),
        Happening::MakeDirectory(path) => possible(fs::create_dir(host.at(PATHS[path]))),
        Happening::Link(path, target) => {
            possible(std::os::unix::fs::symlink(format!("t{target}"), host.at(PATHS[path])))
        }
        _ => {}
    }
}

fn set_rule(host: &mut Host, model: &Model) {
    let entries: Value = serde_json::from_str(ENTRIES[model.entries].0).unwrap();
    host.set_rules(vec![rule_with("r", entries, json!({"suspend": model.is_suspended}))]);
}

fn live(happenings: Vec<Happening>) -> Result<(), TestCaseError> {
    let mut host = Host::new(json!([]));
    let mut model =
        Model { known: BTreeMap::new(), kept: BTreeMap::new(), watched: vec![], entries: 0, is_suspended: false };
    set_rule(&mut host, &model);
    for happening in happenings.into_iter().chain([Happening::Suspend(false), Happening::Compare]) {
        happens(&host, &happening);
        match happening {
            Happening::Entries(entries) => {
                model.entries = entries;
                set_rule(&mut host, &model);
            }
            Happening::Suspend(is_suspended) => {
                model.is_suspended = is_suspended;
                set_rule(&mut host, &model);
            }
            Happening::Pass(names) => host.engine().set_pass(names),
            Happening::Restart => {
                host.stop();
                host.start();
            }
            Happening::Interrupt(_) | Happening::Compare => {
                let mut found = BTreeMap::new();
                look(&host.root(), &host.root(), &mut found);
                let expected = model.compare(&found);
                let mut lines = Vec::new();
                if let Happening::Interrupt(micros) = happening {
                    let stop = std::sync::Arc::new(AtomicBool::new(false));
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            std::thread::sleep(std::time::Duration::from_micros(micros));
                            stop.store(true, Ordering::Relaxed);
                        });
                        host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap();
                    });
                    lines = host.lines();
                }
                lines.extend(host.compare().lines);
                let changes = lines.iter().filter(|line| line["changeType"].is_string());
                let mut told: Vec<String> = changes.map(tell).collect();
                told.sort();
                prop_assert_eq!(told, expected);
                prop_assert_eq!(host.standing().totals.tracked, model.known.len() as u64);
                prop_assert_eq!(host.standing().totals.rules[0].tracked, model.known.len() as u64);
                prop_assert!(host.compare().lines.is_empty(), "it is said once");
            }
            _ => {}
        }
    }
    Ok(())
}

/// As many as fit into ten seconds; PROPTEST_CASES asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_records_are_exactly_the_differences(happenings in proptest::collection::vec(happening(), 1..40)) {
        live(happenings)?;
    }
}
