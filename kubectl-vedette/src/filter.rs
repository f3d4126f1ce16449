//! Which changes are wanted: reads the filters and, for a rule, the entries of the node; says yes or no. Pure.

use crate::cli::Filter;
use crate::decision::{Decision, components, decide, selects};
use jiff::Timestamp;
use vedette_crds::node_config::{NodeConfigSpec, NodeRule, RecentChange};
use vedette_crds::rule::Severity;
use vedette_crds::settings::{Compare, FileEntry, Named, resolve};

/// What an agent leaves of a long path has so many characters, and this one in its middle.
const SHORTENED: usize = 255;
const LEFT_OUT: char = '…';
/// How what a terminal would obey begins there.
const ESCAPED: &str = r"\u{";

/// The filters at a moment.
pub(crate) struct Wanted<'f> {
    filter: &'f Filter,
    since: Option<Timestamp>,
}

/// The entries of the wanted rules on one node.
pub(crate) struct Entries(Vec<FileEntry>);

impl<'f> Wanted<'f> {
    pub(crate) fn new(filter: &'f Filter, now: Timestamp) -> Self {
        let since = filter.since.and_then(|since| now.checked_sub(since).ok());
        Self { filter, since }
    }

    /// What comes from now on is new, whatever a node's clock says.
    pub(crate) fn begin(&mut self) {
        self.since = None;
    }

    /// From when on.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// The one node that is meant, if it is one.
    pub(crate) fn only_node(&self) -> Option<String> {
        match &self.filter.node[..] {
            [node] => node.as_literal().map(|name| String::from_utf8_lossy(name).into_owned()),
            _ => None,
        }
    }

    pub(crate) fn node(&self, name: &str) -> bool {
        self.filter.node.is_empty() || self.filter.node.iter().any(|node| node.matches(name.as_bytes()))
    }

    /// Whether a node has a wanted rule, or any is.
    pub(crate) fn has_rule(&self, spec: Option<&NodeConfigSpec>) -> bool {
        let mut rules = spec.into_iter().flat_map(|spec| &spec.rules);
        self.filter.rule.is_empty() || rules.any(|rule| self.filter.rule.contains(&rule.name))
    }

    /// The entries of the wanted rules in a node's spec.
    pub(crate) fn entries(&self, spec: Option<&NodeConfigSpec>) -> Entries {
        let wanted = |rule: &&NodeRule| self.filter.rule.contains(&rule.name);
        let rules: Vec<NodeRule> = spec.into_iter().flat_map(|spec| &spec.rules).filter(wanted).cloned().collect();
        Entries(resolve(&rules).entries)
    }

    /// Whether every change of a node is wanted, whatever it is of.
    pub(crate) fn is_everything(&self) -> bool {
        let Filter { node: _, since: _, rule, severity, change_type, category, path } = self.filter;
        rule.is_empty() && severity.is_none() && change_type.is_empty() && category.is_empty() && path.is_empty()
    }

    /// Whether a change on a node with these entries is wanted.
    pub(crate) fn change(&self, change: &RecentChange, entries: &Entries) -> bool {
        self.all_but_rule(change, &Path::of(change))
            && (self.filter.rule.is_empty() || entries.0.iter().any(|entry| reports(entry, change)))
    }

    /// The same of a record, which has its path's bytes and names its rules as rule/entry.
    pub(crate) fn record(&self, change: &RecentChange, path: &[u8], rules: &[String]) -> bool {
        let named = |rule: &String| rules.iter().any(|entry| entry.split('/').next() == Some(rule));
        self.all_but_rule(change, &Path::Exact(path))
            && (self.filter.rule.is_empty() || self.filter.rule.iter().any(named))
    }

    fn all_but_rule(&self, change: &RecentChange, of: &Path<'_>) -> bool {
        let Filter { severity, change_type, category, path, .. } = self.filter;
        self.since.is_none_or(|since| change.time.0 >= since)
            && severity.is_none_or(|least| severity_of(&change.severity).is_none_or(|severity| severity >= least))
            && is_one_of(change_type, &change.change_type)
            && is_one_of(category, &change.category)
            && (path.is_empty() || path.iter().any(|pattern| of.may(|path| selects(pattern, path))))
    }
}

fn is_one_of(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
}

/// A severity of a newer version is none that we know, and is shown.
fn severity_of(written: &str) -> Option<Severity> {
    Severity::ALL.iter().copied().find(|severity| severity.as_str() == written)
}

/// A change's path, as far as it is known.
enum Path<'p> {
    Exact(&'p [u8]),
    /// A status has words for it: what these leave out or escape nobody knows, and it is shown.
    Unknown,
}

impl<'p> Path<'p> {
    /// The path in a status.
    fn of(change: &'p RecentChange) -> Self {
        let is_shortened = change.path.contains(LEFT_OUT) && change.path.chars().count() >= SHORTENED;
        let is_escaped = change.path.contains(ESCAPED) || change.path.contains(char::REPLACEMENT_CHARACTER);
        if is_shortened || is_escaped { Self::Unknown } else { Self::Exact(change.path.as_bytes()) }
    }

    /// Whether something may hold of it.
    fn may(&self, hold: impl FnOnce(&[&[u8]]) -> bool) -> bool {
        match self {
            Self::Exact(path) => hold(&components(path)),
            Self::Unknown => true,
        }
    }
}

/// Whether an entry would report such a change: it selects the path and compares a field that differs.
fn reports(entry: &FileEntry, change: &RecentChange) -> bool {
    let compares = |field: &String| match field.as_str() {
        "Size" | "ContentState" => entry.compare.contains(Compare::Content),
        "ModifiedTime" => entry.compare.contains(Compare::ModifiedTime) || entry.compare.contains(Compare::Content),
        "Group" => entry.compare.contains(Compare::Owner),
        "DeviceNumber" => entry.compare.contains(Compare::Type),
        "Capabilities" => entry.compare.contains(Compare::Xattrs),
        "Mount" => true,
        field => entry.compare.iter().any(|aspect| aspect.as_str() == field),
    };
    (change.change_type != "Modified" || change.fields.iter().any(compares))
        && Path::of(change).may(|path| decide(entry, path).decision == Decision::Selects)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::{Arguments, Command};
    use clap::Parser;
    use serde_json::json;

    fn filter(words: &[&str]) -> Filter {
        let words = ["kubectl-vedette", "changes"].into_iter().chain(words.iter().copied());
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Changes(changes) => changes.filter,
            other => panic!("{other:?}"),
        }
    }

    fn change(members: serde_json::Value) -> RecentChange {
        let mut change = json!({
            "sequence": 1, "time": "2026-11-24T04:00:00Z", "category": "File", "changeType": "Modified",
            "detection": "Scan", "path": "/etc/passwd", "fields": ["Content", "Size"], "severity": "High",
        });
        change.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        serde_json::from_value(change).unwrap()
    }

    fn is_wanted(words: &[&str], members: serde_json::Value) -> bool {
        let filter = filter(words);
        let wanted = Wanted::new(&filter, "2026-11-24T05:00:00Z".parse().unwrap());
        wanted.change(&change(members), &Entries(Vec::new()))
    }

    #[test]
    fn all_filters_hold_and_values_of_one_are_alternatives() {
        assert!(is_wanted(&[], json!({})));
        assert!(is_wanted(&["--severity", "medium"], json!({})));
        assert!(!is_wanted(&["--severity", "Critical"], json!({})));
        assert!(is_wanted(&["--severity", "Critical"], json!({"severity": "Apocalyptic"})));
        assert!(is_wanted(&["--type", "added,Modified"], json!({})));
        assert!(is_wanted(&["--type", "modified"], json!({})));
        assert!(!is_wanted(&["--type", "Added"], json!({})));
        assert!(!is_wanted(&["--category", "Daemon"], json!({})));
        assert!(is_wanted(&["--since", "1h"], json!({})));
        assert!(!is_wanted(&["--since", "59m"], json!({})));
        assert!(is_wanted(&["--path", "/etc"], json!({})));
        assert!(is_wanted(&["--path", "/usr", "--path", "/etc/pass*"], json!({})));
        assert!(!is_wanted(&["--path", "/usr"], json!({})));
        assert!(!is_wanted(&["--path", "/etc", "--type", "Added"], json!({})));
        let long = format!("/x{}…{}", "a".repeat(125), "b".repeat(127));
        assert!(is_wanted(&["--path", "/usr"], json!({"path": long})), "nobody knows");
        assert!(is_wanted(&["--path", "/etc/a?b"], json!({"path": r"/etc/a\u{a}b"})), "it was a line's end");
        assert!(is_wanted(&["--path", "/etc/\u{e9}"], json!({"path": "/etc/\u{fffd}"})), "it was in another encoding");
    }

    #[test]
    fn a_rule_is_one_whose_entries_would_report_it() {
        let filter = filter(&["--rule", "web"]);
        let wanted = Wanted::new(&filter, Timestamp::UNIX_EPOCH);
        let files = json!({"interval": "15m", "rehashInterval": "24h", "realtime": true, "paths": [
            {"name": "mode", "path": "/etc", "compare": ["Mode"], "exclude": ["*.swp"]}]});
        let rules = json!([{"name": "web", "uid": "w", "generation": 1, "hash": "", "files": files},
            {"name": "all", "uid": "a", "generation": 1, "hash": "", "files": {"interval": "15m", "rehashInterval": "24h",
             "realtime": true, "paths": [{"name": "all", "path": "/"}]}}]);
        let spec =
            json!({"nodeUid": "n", "reporting": {"minInterval": "10s", "refreshInterval": "15m"}, "rules": rules});
        let spec: NodeConfigSpec = serde_json::from_value(spec).unwrap();
        let entries = wanted.entries(Some(&spec));
        assert!(!wanted.change(&change(json!({})), &entries), "it compares the mode alone");
        assert!(wanted.change(&change(json!({"fields": ["Mode"]})), &entries));
        assert!(wanted.change(&change(json!({"changeType": "Removed", "fields": []})), &entries));
        assert!(!wanted.change(&change(json!({"fields": ["Mode"], "path": "/etc/a.swp"})), &entries));
        assert!(wanted.change(&change(json!({"fields": ["Mode"], "path": r"/etc/\u{1b}"})), &entries), "nobody knows");
        assert!(wanted.record(&change(json!({})), b"/etc/passwd", &["web/mode".to_owned()]));
        assert!(!wanted.record(&change(json!({})), b"/etc/passwd", &["web-2/mode".to_owned()]));
    }

    #[test]
    fn a_record_is_judged_by_the_bytes_of_its_path() {
        let filter = filter(&["--path", "/etc/a?b"]);
        let wanted = Wanted::new(&filter, Timestamp::UNIX_EPOCH);
        let shown = change(json!({"path": "/etc/a\u{fffd}b"}));
        assert!(wanted.record(&shown, b"/etc/a\nb", &[]));
        assert!(!wanted.record(&shown, b"/etc/ab", &[]));
    }

    #[test]
    fn one_node_by_name_is_asked_for_alone() {
        let only = |words: &[&str]| Wanted::new(&filter(words), Timestamp::UNIX_EPOCH).only_node();
        assert_eq!(only(&["--node", "worker-3"]).as_deref(), Some("worker-3"));
        assert_eq!(only(&["--node", "worker-*"]), None);
        assert_eq!(only(&["--node", "a", "--node", "b"]), None);
        let filter = filter(&["--node", "worker-*", "--node", "n1"]);
        let wanted = Wanted::new(&filter, Timestamp::UNIX_EPOCH);
        assert_eq!(["worker-3", "n1", "n11"].map(|name| wanted.node(name)), [true, true, false]);
    }
}
