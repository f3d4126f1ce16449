//! The journal played back over a baseline: what it says must be what is there, and say each change once.

use super::Host;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use vedette_crds::record::ChangeType;

/// The items as the journal tells them, as far as [`Busy`] changes them.
pub struct Replay {
    state: BTreeMap<String, Shown>,
    counted: [u64; 3],
    pub starts: usize,
}

impl Replay {
    /// Begins with the host as it is: it has just been baselined.
    pub fn of(host: &Host) -> Self {
        Self { state: found(host), counted: [0; 3], starts: 0 }
    }

    /// Takes in lines. Each record follows from what was said before of its item, and says something new.
    pub fn take(&mut self, lines: &[Value]) {
        for line in lines {
            self.starts += usize::from(line["kind"] == "Started");
            let Some(change) = line["changeType"].as_str() else { continue };
            let path = line["path"].as_str().unwrap().to_owned();
            let (before, after) = (shown(&line["before"]), shown(&line["after"]));
            let known = self.state.get(&path);
            assert!(is_same(known, before.as_ref()), "{known:?} was known: {line}");
            assert_ne!(before, after, "{line}");
            match after {
                Some(after) => self.state.insert(path, after),
                None => self.state.remove(&path),
            };
            self.counted[ChangeType::ALL.iter().position(|of| of.as_str() == change).unwrap()] += 1;
        }
    }

    /// The baseline and all records give what is there, and the totals count them.
    pub fn check(&self, host: &mut Host) {
        let found = found(host);
        let differs = |path: &&String| !is_same(self.state.get(*path), found.get(*path));
        let paths: BTreeSet<&String> = self.state.keys().chain(found.keys()).filter(differs).collect();
        assert!(paths.is_empty(), "the baseline and all records give what is there, but for {paths:?}");
        let totals = host.standing().totals;
        assert_eq!(ChangeType::ALL.map(|change| totals.changes_of(change)), self.counted);
        assert_eq!(ChangeType::ALL.map(|change| totals.rules[0].changes_of(change)), self.counted);
        assert_eq!(totals.tracked, self.state.len() as u64);
    }

    /// How many changes were told.
    pub fn changes(&self) -> u64 {
        self.counted.iter().sum()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Shown {
    kind: String,
    mode: String,
    /// `None` for a file that did not stand still while it was read: what it held is filled in silently.
    md5: Option<String>,
}

/// Whether the second is the first, or what was still unknown of it has been filled in.
fn is_same(known: Option<&Shown>, now: Option<&Shown>) -> bool {
    match (known, now) {
        (Some(known), Some(now)) => {
            (&known.kind, &known.mode) == (&now.kind, &now.mode) && (known.md5.is_none() || known.md5 == now.md5)
        }
        (known, now) => known.is_none() && now.is_none(),
    }
}

/// What a record says of an item.
fn shown(item: &Value) -> Option<Shown> {
    let item = item.as_object()?;
    let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let md5 = (item.get("content").is_none_or(|content| content == "Read")).then(|| text("md5"));
    Some(Shown { kind: text("type"), mode: text("mode"), md5 })
}

/// The same of the host as it is.
fn found(host: &Host) -> BTreeMap<String, Shown> {
    let mut found = BTreeMap::new();
    walk(&host.root(), &host.root(), &mut found);
    found
}

fn walk(root: &Path, here: &Path, found: &mut BTreeMap<String, Shown>) {
    let metadata = here.symlink_metadata().unwrap();
    let path = format!("/{}", here.strip_prefix(root).unwrap().display());
    let (kind, md5) = if metadata.is_dir() {
        fs::read_dir(here).unwrap().for_each(|entry| walk(root, &entry.unwrap().path(), found));
        ("Directory", String::new())
    } else {
        let md5 = <md5::Md5 as md5::Digest>::digest(fs::read(here).unwrap());
        ("Regular", md5.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let mode = format!("{:04o}", metadata.mode() & 0o7777);
    found.insert(path, Shown { kind: kind.to_owned(), mode, md5: Some(md5) });
}

/// One random change of a host: a file written, removed or with another mode, directories that come and go.
pub fn change(host: &Host, random: &mut fastrand::Rng) {
    let directory = random.u64(..9);
    let path = host.at(&format!("/d{directory}/f{}", random.u64(..60) * 9 + directory));
    let new = host.at(&format!("/new{}", random.u64(..5)));
    match random.u64(..5) {
        0 => drop(fs::remove_file(path)), // it may be gone
        1 => {
            if path.exists() {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600 + random.u32(..64))).unwrap();
            }
        }
        2 => {
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join(random.u64(..9).to_string()), "new").unwrap();
        }
        3 => drop(fs::remove_dir_all(new)), // it may not be there
        _ => {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{}", random.u64(..1000))).unwrap();
        }
    }
}
