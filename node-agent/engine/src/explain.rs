//! Why a path is tracked, or is not: the way down to it as a walk goes, and where each entry ends on it.
//!
//! Reads links, mounts and one stat of the host, and the state where there is one. Whether an entry selects is asked of the
//! plan; here that is only put into words: `way` has those for entries, `shown` for the host, `held` for the state.

mod held;
mod shown;
mod way;

use crate::engine::EngineError;
use crate::host::HostRoot;
use crate::inspect::{Held, Tracked, View};
use crate::mounts::Mounts;
use crate::path::HostPath;
use crate::plan::{Plan, PlanSource};
use crate::unknown::{Unknown, Unknowns};
pub(crate) use held::Place;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::path::Path;
use vedette_crds::duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::ByteText;
use vedette_crds::settings::{FileEntry, Links, Named as _};
use way::Way;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The path on the host.
    pub path: ByteText,
    /// The exact bytes of the path, base64, where the text lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// By these rules instead of those in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<NodeRule>>,
}

/// What one entry has to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Decision {
    /// It selects it.
    Selects,
    /// It would, but its rule is suspended.
    RuleSuspended,
    /// It would, but is not enabled.
    Disabled,
    /// It leaves it out, or a directory above it.
    Excluded,
    /// It lies deeper than the entry goes.
    TooDeep,
    /// It lies on a mount that the entry does not enter.
    MountNotEntered,
    /// It lies on a mount that the host has and this process does not see.
    MountNotSeen,
    /// It is a symbolic link, which the entry ignores.
    LinkIgnored,
    /// The entry selects what lies below it.
    LeadsBelow,
    /// The entry's path leads elsewhere.
    PathDoesNotMatch,
}

/// One entry and a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryDecision {
    /// rule/entry.
    pub entry: String,
    /// What it has to do with the path.
    pub decision: Decision,
    /// The same in words.
    pub message: String,
    /// What it asks for by itself, where it selects the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Watched>,
    /// How many components of the path it went along.
    #[serde(skip)]
    pub(crate) along: usize,
}

/// What is asked of an item by all entries that select it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// What is compared.
    pub compare: Vec<String>,
    /// How often by metadata.
    pub interval: String,
    /// The digests of its content; none when content is not compared.
    pub hashes: Vec<String>,
    /// Within which time its content is read again, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehash_interval: Option<String>,
    /// Content of larger files is not read, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_content_size: Option<u64>,
}

/// Whether compares look at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// They do.
    Tracked,
    /// They would, but nothing is there.
    WouldBeTracked,
    /// Not now, and what the state holds of it stays as it is.
    NotCompared,
    /// Not any more: what the state holds of it leaves watch with the next compare.
    LeavesWatch,
    /// They do not.
    NotTracked,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The path that was asked about.
    pub path: ByteText,
    /// The exact bytes of the path, base64, where the text lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Where it really lies, when a link leads there: the path that is tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_path: Option<ByteText>,
    /// What is there now: the kind of object; absent when nothing is, or it cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Whether compares look at it.
    pub tracking: Tracking,
    /// Whether a running rule's entry selects it.
    pub is_selected: bool,
    /// Each entry, the nearest first.
    pub entries: Vec<EntryDecision>,
    /// What its entries ask; absent when no running one selects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// What the state holds of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked: Option<Tracked>,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Answers a question without a state, by the rules in it.
///
/// # Errors
/// When the host root or the mount table cannot be read.
pub fn explain_rules(host_root: &Path, question: &Question) -> Result<Explanation, EngineError> {
    explain(host_root, None, question)
}

/// By a view of a state and what the last compares could not see, if there is a state.
pub(crate) fn explain(
    host_root: &Path,
    known: Option<(&View, &Unknowns)>,
    question: &Question,
) -> Result<Explanation, EngineError> {
    let view = known.map(|(view, _)| view);
    let unseen = |errno: rustix::io::Errno| EngineError::HostRoot { path: host_root.to_owned(), source: errno.into() };
    let host = HostRoot::open(host_root).map_err(unseen)?;
    let mounts = Mounts::read(host_root).map_err(EngineError::Mounts)?;
    let in_force = view.and_then(View::plan_in_force);
    let source = match &question.rules {
        Some(rules) => {
            let compared = view.and_then(View::plan_compared);
            let follows = in_force.map(|source| source.follows.clone()).unwrap_or_default();
            crate::adopt::resolve(rules.clone(), &host, &mounts, in_force, compared, &follows).map_err(unseen)?.source
        }
        None => in_force.cloned().unwrap_or_default(),
    };
    let plan = Plan::new(1, source);
    let bytes = question.path.to_bytes(question.path_bytes.as_deref());
    let components = bytes.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    let asked = HostPath::from_components(components);
    let mut notes = Vec::new();
    let path = shown::real_path(&host, &mounts, &asked, &mut notes).map_err(unseen)?;
    let found = shown::found(&host, &mounts, &path, &mut notes);
    let held = view.map(|view| view.held(&host, &path)).transpose()?.flatten();
    // What is an item already stays one when it becomes a link.
    let is_link = found == Some(FileType::Symlink) && !held.as_ref().is_some_and(Held::shows);
    let way = Way::down(&plan, &mounts, &path, found);
    let selecting = plan.selecting(&way.end, is_link);
    let mut entries: Vec<EntryDecision> =
        plan.entry_numbers().map(|entry| way.decision(&plan, entry, &selecting)).collect();
    if let Some(asleep) = asleep(question, &plan, &host, &mounts).map_err(unseen)? {
        let way = Way::down(&asleep, &mounts, &path, found);
        let selecting = asleep.selecting(&way.end, is_link);
        let decision = |entry| way.decision(&asleep, entry, &selecting).if_not_suspended(view.is_some());
        entries.extend(asleep.entry_numbers().map(decision));
    }
    entries.sort_by_key(|entry| (entry.decision, std::cmp::Reverse(entry.along)));
    let ask = plan.ask(&selecting);
    let watched = ask.as_ref().map(|ask| watched(&plan, &ask.entries));
    if plan.source.rules.is_empty() {
        notes.push("there are no rules: nothing is tracked".to_owned());
    } else if ask.is_none() && question.rules.is_none() {
        held::never_compared(&plan, &mut notes);
    }
    if view.is_none() && plan.entries.iter().any(|entry| entry.links == Links::Follow) {
        notes.push(
            "what lies behind links that an entry follows is known after a compare: ask with --state-dir".to_owned(),
        );
    }
    let of_held = view.zip(held.as_ref()).map(|(view, held)| view.selecting(&plan, held)).unwrap_or_default();
    let tracking = held::tracking(ask.is_some(), found.is_some(), held.as_ref(), &of_held);
    held::say(&plan, &of_held, held.as_ref(), tracking, &mut notes);
    if tracking == Tracking::Tracked && view.is_some() && !held.as_ref().is_some_and(Held::shows) {
        notes.push("it has not been looked at yet: the next compare does".to_owned());
    }
    if let Some(view) = view.filter(|_| held.is_none()) {
        held::say_left(view, &path, &mut notes)?;
    }
    for Unknown { path: at, reason, .. } in known.into_iter().flat_map(|(_, unknowns)| unknowns.of(&path)) {
        notes.push(format!("at the last compare {at} was unknown: {reason}"));
    }
    Ok(Explanation {
        path: question.path.clone(),
        path_bytes: question.path_bytes.clone(),
        real_path: (path != asked).then(|| ByteText::exact(path.as_bytes()).0),
        found: found.and_then(shown::kind),
        tracking,
        is_selected: ask.is_some(),
        entries,
        watched,
        tracked: held.map(|held| held.tracked),
        notes,
    })
}

/// The rules in a question that are suspended and of which nothing was ever compared, as if they were not suspended: what a
/// plan has of them is their names.
fn asleep(
    question: &Question,
    plan: &Plan,
    host: &HostRoot,
    mounts: &Mounts,
) -> Result<Option<Plan>, rustix::io::Errno> {
    let has_entries = |rule: &NodeRule| plan.entries.iter().any(|entry| plan.rules[entry.rule].name == rule.name);
    let asleep = question.rules.iter().flatten().filter(|rule| rule.suspend && !has_entries(rule));
    let rules: Vec<NodeRule> = asleep.cloned().map(|rule| NodeRule { suspend: false, ..rule }).collect();
    if rules.is_empty() {
        return Ok(None);
    }
    let follows = PlanSource::default().follows;
    let resolution = crate::adopt::resolve(rules, host, mounts, None, None, &follows)?;
    Ok(Some(Plan::new(1, resolution.source)))
}

impl EntryDecision {
    /// The same of an entry whose rule is suspended, and was never compared as far as a state says.
    fn if_not_suspended(mut self, has_state: bool) -> Self {
        if self.decision == Decision::Selects {
            let never = if has_state { " and was never compared" } else { "" };
            self.decision = Decision::RuleSuspended;
            self.message = format!("{}, but the rule is suspended{never}: nothing of it is compared", self.message);
            self.asks = None;
        }
        self
    }
}

fn watched(plan: &Plan, entries: &[u16]) -> Watched {
    let of = |entry: &u16| &plan.entries[usize::from(*entry)];
    let compare = entries.iter().map(|entry| of(entry).compare).reduce(|all, one| all.union(one)).unwrap_or_default();
    let reading: Vec<&FileEntry> = entries
        .iter()
        .map(of)
        .filter(|entry| entry.compare.contains(vedette_crds::settings::Compare::Content))
        .collect();
    let hashes = reading.iter().map(|entry| entry.hashes).reduce(|all, one| all.union(one));
    Watched {
        compare: compare.iter().map(|member| member.as_str().to_owned()).collect(),
        interval: entries.iter().map(|entry| of(entry).interval).min().map(duration::format).unwrap_or_default(),
        hashes: hashes.into_iter().flat_map(|hashes| hashes.iter()).map(|hash| hash.as_str().to_owned()).collect(),
        rehash_interval: reading.iter().map(|entry| entry.rehash_interval).min().map(duration::format),
        max_content_size: reading.iter().map(|entry| entry.max_content_size).max(),
    }
}
