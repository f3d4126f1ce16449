//! A node's configuration as the engine takes it: reads rules with their strings, produces entries whose values
//! cannot be wrong. What this version does not know is named and left out; the rest goes on.

mod sets;

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use crate::definition;
use crate::duration;
use crate::node_config::{FileSettings, NodeFiles, NodePath, NodeRule};
use crate::pattern::{NamePattern, PathPattern, PatternError};
use crate::schema;

pub use crate::rule::{Compare, Severity};
pub use sets::{CompareSet, Hash, HashSet, Links, Mounts, Named, NamedSet};

/// The content of larger files is not read where an entry does not say otherwise: 4 GiB.
pub const DEFAULT_MAX_CONTENT_SIZE: u64 = 4 << 30;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(15 * 60);
const DEFAULT_REHASH_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What an entry leaves out, with all that lies under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclude {
    /// A name at any depth.
    Name(NamePattern),
    /// A whole path.
    Path(PathPattern),
}

impl Exclude {
    /// Reads an exclude: with a slash a path, else a name.
    ///
    /// # Errors
    /// The text is no such pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains('/') {
            PathPattern::parse(text).map(Self::Path)
        } else {
            NamePattern::parse(text).map(Self::Name)
        }
    }
}

/// One entry of one rule: what it selects and how that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The index of its rule in the rules that were resolved.
    pub rule: usize,
    /// Its name within the rule.
    pub name: String,
    /// The objects that it selects, with what lies under them.
    pub path: PathPattern,
    /// What it leaves out.
    pub exclude: Vec<Exclude>,
    /// How many levels under a selected directory are selected; `None`: all; 0: the object alone.
    pub max_depth: Option<u32>,
    /// What becomes of symbolic links.
    pub links: Links,
    /// Which file systems are entered.
    pub mounts: Mounts,
    /// Which differences are changes.
    pub compare: CompareSet,
    /// The digests of content.
    pub hashes: HashSet,
    /// In bytes; the content of larger files is not read.
    pub max_content_size: u64,
    /// The severity of a change.
    pub severity: Severity,
    /// The time between two compares by metadata.
    pub interval: Duration,
    /// All content is read again within this time.
    pub rehash_interval: Duration,
    /// Use kernel events between compares.
    pub realtime: bool,
}

/// What rules ask of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The entries in the order of their rules, suspended rules included: whether to collect is the rule's to say.
    pub entries: Vec<FileEntry>,
    /// The values that this version does not know, each with its place, for example
    /// `linux-baseline/etc-conf: links Sometimes`. An entry whose path or exclude is among them is left out whole:
    /// it would select what was not meant.
    pub unknown: Vec<String>,
}

/// Gives every entry of every rule its settings.
pub fn resolve(rules: &[NodeRule]) -> Resolved {
    let mut resolved = Resolved::default();
    for (index, rule) in rules.iter().enumerate() {
        let Some(files) = &rule.files else { continue };
        let mut place = Place { name: rule.name.clone(), unknown: &mut resolved.unknown };
        let section = Section::of(files, &mut place);
        for path in &files.paths {
            let mut place = Place { name: format!("{}/{}", rule.name, path.name), unknown: &mut resolved.unknown };
            resolved.entries.extend(section.entry(index, path, &mut place));
        }
    }
    resolved
}

/// The fields of a NodeConfig's spec that this version does not know, as a newer operator may write them.
pub fn unknown_fields(spec: &Value) -> Vec<String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        definition::node_configs()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].take()
    });
    schema::unknown_members(&SCHEMA, spec).into_iter().map(|problem| problem.path).collect()
}

/// What all entries of a section share.
struct Section<'f> {
    interval: Duration,
    rehash_interval: Duration,
    realtime: bool,
    defaults: &'f FileSettings,
}

impl<'f> Section<'f> {
    fn of(files: &'f NodeFiles, place: &mut Place<'_>) -> Self {
        let mut duration = |what: &str, text: &str, default| {
            duration::parse(text).ok().filter(|duration| !duration.is_zero()).unwrap_or_else(|| {
                place.unknown(what, text);
                default
            })
        };
        Self {
            interval: duration("interval", &files.interval, DEFAULT_INTERVAL),
            rehash_interval: duration("rehashInterval", &files.rehash_interval, DEFAULT_REHASH_INTERVAL),
            realtime: files.realtime,
            defaults: &files.defaults,
        }
    }

    fn entry(&self, rule: usize, path: &NodePath, place: &mut Place<'_>) -> Option<FileEntry> {
        let own = &path.settings;
        let defaults = self.defaults;
        let recurse = own.recurse.or(defaults.recurse).unwrap_or(true);
        let max_depth = own.max_depth.or(defaults.max_depth).or((!recurse).then_some(1));
        let pattern = PathPattern::parse(&path.path);
        if let Err(error) = &pattern {
            place.unknown("path", &format!("{} ({error})", path.path));
        }
        let excludes = own.exclude.as_ref().or(defaults.exclude.as_ref()).into_iter().flatten();
        let exclude: Option<Vec<_>> = excludes
            .map(|text| {
                Exclude::parse(text).map_err(|error| place.unknown("exclude", &format!("{text} ({error})"))).ok()
            })
            .collect();
        let links = own.links.as_ref().or(defaults.links.as_ref());
        let mounts = own.mounts.as_ref().or(defaults.mounts.as_ref());
        let severity = own.severity.as_ref().or(defaults.severity.as_ref());
        Some(FileEntry {
            rule,
            name: path.name.clone(),
            path: pattern.ok()?,
            exclude: exclude?,
            max_depth,
            links: place.one("links", links, Links::Record),
            mounts: place.one("mounts", mounts, Mounts::Local),
            compare: place.set("compare", own.compare.as_ref().or(defaults.compare.as_ref()), CompareSet::default()),
            hashes: place.set("hashes", own.hashes.as_ref().or(defaults.hashes.as_ref()), HashSet::default()),
            max_content_size: own.max_content_size.or(defaults.max_content_size).unwrap_or(DEFAULT_MAX_CONTENT_SIZE),
            severity: place.one("severity", severity, Severity::default()),
            interval: self.interval,
            rehash_interval: self.rehash_interval,
            realtime: self.realtime,
        })
    }
}

/// Where a value stands, and where to say that it is not known.
struct Place<'u> {
    name: String,
    unknown: &'u mut Vec<String>,
}

impl Place<'_> {
    fn unknown(&mut self, what: &str, written: &str) {
        self.unknown.push(format!("{}: {what} {written}", self.name));
    }

    /// The written value; the default when none is written or it is not known.
    fn one<T: Named>(&mut self, what: &str, written: Option<&String>, default: T) -> T {
        let Some(written) = written else { return default };
        T::ALL.iter().copied().find(|member| member.as_str() == written).unwrap_or_else(|| {
            self.unknown(what, written);
            default
        })
    }

    /// The known among the written values; the default when none is written, or none of them is known.
    fn set<T: Named>(&mut self, what: &str, written: Option<&Vec<String>>, default: NamedSet<T>) -> NamedSet<T> {
        let Some(written) = written else { return default };
        let mut set = NamedSet::empty();
        for name in written {
            match T::ALL.iter().find(|member| member.as_str() == name) {
                Some(member) => set.insert(*member),
                None => self.unknown(what, name),
            }
        }
        if set.is_empty() { default } else { set }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(defaults: FileSettings, own: FileSettings) -> NodeRule {
        let path = NodePath { name: "conf".into(), path: "/etc/*".into(), settings: own };
        let files = NodeFiles {
            interval: "10s".into(),
            rehash_interval: "24h".into(),
            realtime: true,
            defaults,
            paths: vec![path],
        };
        NodeRule { name: "rule".into(), files: Some(files), ..NodeRule::default() }
    }

    #[test]
    fn an_entry_takes_from_the_defaults_what_it_does_not_say() {
        let defaults = FileSettings {
            recurse: Some(false),
            links: Some("Ignore".into()),
            severity: Some("High".into()),
            exclude: Some(vec!["*.swp".into()]),
            ..FileSettings::default()
        };
        let own =
            FileSettings { severity: Some("Low".into()), hashes: Some(vec!["Md5".into()]), ..FileSettings::default() };
        let resolved = resolve(&[rule(defaults, own)]);
        assert_eq!(resolved.unknown, Vec::<String>::new());
        let entry = &resolved.entries[0];
        assert_eq!((entry.max_depth, entry.links, entry.mounts), (Some(1), Links::Ignore, Mounts::Local));
        assert_eq!((entry.severity, entry.exclude.len()), (Severity::Low, 1));
        assert_eq!(entry.compare, CompareSet::default());
        assert_eq!(entry.hashes.iter().collect::<Vec<_>>(), [Hash::Md5]);
        assert_eq!(entry.interval, Duration::from_secs(10));
        assert_eq!(entry.max_content_size, 4 << 30);
    }

    #[test]
    fn a_value_of_a_newer_version_is_named_and_the_rest_goes_on() {
        let newer = FileSettings {
            links: Some("Chase".into()),
            compare: Some(vec!["Content".into(), "Mood".into()]),
            hashes: Some(vec!["Blake3".into()]),
            ..FileSettings::default()
        };
        let resolved = resolve(&[rule(FileSettings::default(), newer)]);
        assert_eq!(resolved.unknown, ["rule/conf: links Chase", "rule/conf: compare Mood", "rule/conf: hashes Blake3"]);
        let entry = &resolved.entries[0];
        assert_eq!(entry.compare.iter().collect::<Vec<_>>(), [Compare::Content]);
        assert_eq!(entry.hashes, HashSet::default());
    }

    #[test]
    fn a_field_of_a_newer_version_is_named_with_its_place() {
        let spec = serde_json::json!({
            "nodeUid": "u",
            "rules": [{"name": "r", "files": {"paths": [{"name": "p", "path": "/p", "links": "Record", "mood": 1}]}}],
            "registry": {}
        });
        assert_eq!(unknown_fields(&spec), ["registry", "rules[0].files.paths[0].mood"]);
    }

    #[test]
    fn an_entry_with_a_pattern_that_is_not_understood_is_left_out_and_named() {
        let newer = FileSettings { exclude: Some(vec!["{a,{b}}".into()]), ..FileSettings::default() };
        let resolved = resolve(&[rule(FileSettings::default(), newer)]);
        assert!(resolved.entries.is_empty());
        assert_eq!(resolved.unknown.len(), 1);
    }

    #[test]
    fn severities_are_ordered() {
        assert!(Severity::ALL.is_sorted());
    }
}
