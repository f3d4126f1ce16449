//! What a rule refuses beyond types and lengths: each sentence once, as CEL for the API server and as Rust for
//! everybody else, so that both give the same verdict in the same words.
//!
//! The API server limits what an expression may cost; most of it goes to the regular expressions on excludes, of
//! which a rule may hold 8,192. Keep those at 44 characters at most, and try the definitions on a real server.

mod patterns;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::duration::{self, CompareInterval, RehashInterval};
use crate::names;
use crate::pattern;
use crate::size::Size;

/// One refusal: when the expression is false, the message says what to write instead.
#[derive(Debug)]
pub(crate) struct Sentence {
    cel: &'static str,
    pub(crate) message: &'static str,
    /// The member that the message is about, where the expression stands above it.
    pub(crate) field: Option<&'static str>,
    /// The expression in Rust, on a value that has passed its schema and carries its defaults.
    pub(crate) holds: fn(&Value) -> bool,
}

impl Sentence {
    const fn new(cel: &'static str, holds: fn(&Value) -> bool, message: &'static str) -> Self {
        Self { cel, message, field: None, holds }
    }

    const fn about(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    #[cfg(test)]
    pub(crate) fn count() -> usize {
        ALL.iter().copied().flatten().count()
    }

    #[cfg(test)]
    pub(crate) fn messages() -> impl Iterator<Item = &'static str> {
        ALL.iter().copied().flatten().map(|sentence| sentence.message)
    }

    /// The sentence of an entry of `x-kubernetes-validations`. One expression may say different things in
    /// different places.
    pub(crate) fn of(rule: &Value) -> Option<&'static Self> {
        let mut all = ALL.iter().copied().flatten();
        all.find(|sentence| rule["rule"] == sentence.cel && rule["message"] == sentence.message)
    }
}

/// As an entry of `x-kubernetes-validations`.
impl Serialize for Sentence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rule = Map::new();
        rule.insert("rule".into(), self.cel.into());
        rule.insert("message".into(), self.message.into());
        if let Some(field) = self.field {
            rule.insert("fieldPath".into(), format!(".{field}").into());
        }
        rule.serialize(serializer)
    }
}

const ALL: &[&[Sentence]] = &[
    SPEC,
    NODE_SELECTOR,
    MATCH_LABELS,
    EXPRESSION,
    EXPRESSION_KEY,
    FILES,
    INTERVAL,
    REHASH_INTERVAL,
    PATHS,
    ENTRY,
    ENTRY_NAME,
    PATH,
    EXCLUDE,
    HASHES,
    MAX_CONTENT_SIZE,
];

pub(crate) const SPEC: &[Sentence] = &[
    Sentence::new(
        "has(self.files) || has(self.daemons) || has(self.software)",
        |spec| has(spec, "files") || has(spec, "daemons") || has(spec, "software"),
        "a rule collects nothing without a section: add files",
    ),
    Sentence::new(
        "!has(self.daemons)",
        |spec| !has(spec, "daemons"),
        "daemons are not collected by this version: remove the section",
    )
    .about("daemons"),
    Sentence::new(
        "!has(self.software)",
        |spec| !has(spec, "software"),
        "software is not collected by this version: remove the section",
    )
    .about("software"),
];

pub(crate) const NODE_SELECTOR: &[Sentence] = &[Sentence::new(
    "has(self.matchLabels) && size(self.matchLabels) > 0 || has(self.matchExpressions) && size(self.matchExpressions) > 0",
    |selector| members(selector, "matchLabels") + elements(selector, "matchExpressions") > 0,
    "an empty nodeSelector is ambiguous: leave nodeSelector out to select every Linux node, or write matchLabels or matchExpressions",
)];

pub(crate) const MATCH_LABELS: &[Sentence] = &[
    Sentence::new(
        "self.all(k, k.size() <= 317 && !format.qualifiedName().validate(k).hasValue())",
        |labels| labels.as_object().into_iter().flatten().all(|(key, _)| names::is_label_key(key)),
        "a key is no label key: write it as on the node, for example node-role.kubernetes.io/worker",
    ),
    Sentence::new(
        "self.all(k, !format.labelValue().validate(self[k]).hasValue())",
        |labels| labels.as_object().into_iter().flatten().all(|(_, value)| text(value, names::is_label_value)),
        "a value is no label value: at most 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit",
    ),
];

pub(crate) const EXPRESSION: &[Sentence] = &[Sentence::new(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
    |expression| {
        let takes_values = matches!(expression["operator"].as_str(), Some("In" | "NotIn"));
        takes_values == (elements(expression, "values") > 0)
    },
    "In and NotIn need values; Exists and DoesNotExist take none",
)];

pub(crate) const EXPRESSION_KEY: &[Sentence] = &[Sentence::new(
    "!format.qualifiedName().validate(self).hasValue()",
    |key| text(key, names::is_label_key),
    "no label key: write it as on the node, for example kubernetes.io/arch",
)];

pub(crate) const FILES: &[Sentence] = &[Sentence::new(
    "!self.interval.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || !self.rehashInterval.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self.rehashInterval) >= duration(self.interval)",
    |files| {
        let written = |member: &str| duration::parse(files[member].as_str()?).ok();
        match (written("interval"), written("rehashInterval")) {
            (Some(interval), Some(rehash_interval)) => rehash_interval >= interval,
            _ => true,
        }
    },
    "content cannot be read again more often than it is compared: make rehashInterval at least as long as interval",
)
.about("rehashInterval")];

pub(crate) const INTERVAL: &[Sentence] = &[Sentence::new(
    "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",
    |interval| text(interval, |text| CompareInterval::parse(text).is_some()),
    "write a duration from 10s to 24h with units h, m, s or ms, for example 15m or 1h30m",
)];

pub(crate) const REHASH_INTERVAL: &[Sentence] = &[Sentence::new(
    "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('1h') && duration(self) <= duration('720h')",
    |interval| text(interval, |text| RehashInterval::parse(text).is_some()),
    "write a duration from 1h to 720h with units h, m, s or ms, for example 24h",
)];

pub(crate) const PATHS: &[Sentence] = &[Sentence::new(
    "self.map(p, p.path.size() + (has(p.exclude) ? p.exclude.map(e, e.size()).sum() : 0)).sum() <= 65536",
    |paths| {
        let size = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
        let entries = paths.as_array().into_iter().flatten();
        let sizes = entries.map(|entry| {
            let excludes = entry["exclude"].as_array().into_iter().flatten();
            size(&entry["path"]) + excludes.map(size).sum::<usize>()
        });
        sizes.sum::<usize>() <= 65_536
    },
    "the paths and excludes of one rule hold at most 65536 characters together: split the rule",
)];

pub(crate) const ENTRY: &[Sentence] = &[Sentence::new(
    "self.recurse || !has(self.maxDepth)",
    |entry| entry["recurse"] == true || !has(entry, "maxDepth"),
    "recurse: false already means maxDepth 1: write only one of the two",
)
.about("maxDepth")];

pub(crate) const ENTRY_NAME: &[Sentence] = &[Sentence::new(
    "!format.dns1123Label().validate(self).hasValue()",
    |name| text(name, names::is_dns_label),
    "write a name of at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit, for example etc-conf",
)];

const CLASS: Sentence = Sentence::new(
    r#"!self.matches(r"(^|[^\[])\[[!^]?]?[^]/]*(/|$)")"#,
    |pattern| text(pattern, |text| !patterns::has_unclosed_class(text)),
    pattern::UNCLOSED_CLASS,
);

const BRACES: Sentence = Sentence::new(
    r#"!self.matches(r"(^|[^\[])\{[^}/]*(\{|/|$)")"#,
    |pattern| text(pattern, |text| !patterns::has_unclosed_braces(text)),
    pattern::UNCLOSED_OR_NESTED_BRACES,
);

pub(crate) const PATH: &[Sentence] = &[
    Sentence::new(
        "self.startsWith('/') || self.startsWith('~') || self.startsWith('$')",
        |path| text(path, |text| text.starts_with(['/', '~', '$'])),
        pattern::RELATIVE,
    ),
    Sentence::new(
        "!self.startsWith('~')",
        |path| text(path, |text| !text.starts_with('~')),
        "~ is not expanded, a node has many homes: write the directory, for example /home/*/.ssh or /root/.ssh",
    ),
    Sentence::new(
        r#"!self.matches(r"(^|[^\[])[$]")"#,
        |path| text(path, |text| !patterns::has_variable(text)),
        "variables are not expanded: write the directory itself, or [$] for the character",
    ),
    Sentence::new(
        "self == '/' || !self.matches('/[.]{0,2}(/|$)')",
        |path| text(path, |text| text == "/" || !patterns::has_dots_or_empty_segment(text)),
        pattern::DOTS_OR_EMPTY_SEGMENT,
    ),
    Sentence::new(
        "!self.matches('[^/][*][*]|[*][*][^/]')",
        |path| text(path, |text| !patterns::has_two_stars_beside_others(text)),
        pattern::ANY_DEPTH_BESIDE_OTHERS,
    ),
    CLASS,
    BRACES,
    Sentence::new(
        r#"!self.matches(r"[\x00-\x1f\x7f]")"#,
        |path| text(path, |text| !text.contains(|character: char| character.is_ascii_control())),
        pattern::CONTROL_CHARACTER,
    ),
];

pub(crate) const EXCLUDE: &[Sentence] = &[
    Sentence::new(
        "self.startsWith('/') || self.startsWith('$') || !self.contains('/')",
        |exclude| text(exclude, |text| text.starts_with(['/', '$']) || !text.contains('/')),
        "an exclude is a name, for example *.swp, or an absolute path, for example /etc/ssl/private/**",
    ),
    Sentence::new(
        r#"!self.matches(r"(^|[^\[])[$]")"#,
        |exclude| text(exclude, |text| !patterns::has_variable(text)),
        "variables are not expanded: write the name itself, or [$] for the character",
    ),
    Sentence::new(
        "self != '.' && self != '..' && !self.matches('/[.]{0,2}(/|$)')",
        |exclude| text(exclude, |text| !matches!(text, "." | "..") && !patterns::has_dots_or_empty_segment(text)),
        "write the exclude without .. or . or empty segments and without a / at the end",
    ),
    Sentence::new(
        "self != '**' && !self.matches('[^/][*][*]|[*][*][^/]')",
        |exclude| text(exclude, |text| text != "**" && !patterns::has_two_stars_beside_others(text)),
        "** stands alone between slashes, for example /etc/ssl/private/**; within one segment write *",
    ),
    CLASS,
    BRACES,
];

pub(crate) const HASHES: &[Sentence] = &[Sentence::new(
    "self.all(h, h in ['Md5', 'Sha256'])",
    |hashes| hashes.as_array().into_iter().flatten().all(|hash| hash == "Md5" || hash == "Sha256"),
    "Sha512 and Blake3 are not computed by this version: write Md5, Sha256 or both",
)];

pub(crate) const MAX_CONTENT_SIZE: &[Sentence] = &[Sentence::new(
    "string(self).matches('^(0|[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?)$')",
    |size| Size::of(size).is_some_and(|size| size.bytes().is_some()),
    "write a size in bytes or with Ki, Mi, Gi, Ti, k, M, G or T, for example 4Gi",
)];

/// CEL's `has` on a member of an object; a null is none.
fn has(object: &Value, member: &str) -> bool {
    object.get(member).is_some_and(|value| !value.is_null())
}

fn text(value: &Value, holds: impl FnOnce(&str) -> bool) -> bool {
    value.as_str().is_some_and(holds)
}

fn members(object: &Value, member: &str) -> usize {
    object[member].as_object().map_or(0, Map::len)
}

fn elements(object: &Value, member: &str) -> usize {
    object[member].as_array().map_or(0, Vec::len)
}
