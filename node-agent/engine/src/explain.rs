//! Why a path is tracked, or is not: the way down to it as a walk goes, and where each entry ends on it.
//!
//! Reads links, mounts and one stat of the host, and the state where there is one. Whether an entry selects is asked of the
//! plan; here that is only put into words.

use crate::engine::EngineError;
use crate::host::{HostRoot, MAX_PATH, is_gone};
use crate::inspect::{Tracked, View};
use crate::mounts::{Mount, Mounts};
use crate::path::HostPath;
use crate::plan::Plan;
use crate::select::{Lost, Selector, SelectorId, Step};
use crate::unknown::{Unknown, Unknowns};
use crate::walk::MAX_DEPTH;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::path::Path;
use vedette_crds::duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::ByteText;
use vedette_crds::settings::{FileEntry, Links, Named as _};

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
    let rules = question.rules.as_ref().unwrap_or(&source.rules).clone();
    let plan = Plan::new(1, source);
    let bytes = question.path.to_bytes(question.path_bytes.as_deref());
    let components = bytes.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    let asked = HostPath::from_components(components);
    let mut notes = Vec::new();
    let path = real_path(&host, &mounts, &asked, &mut notes).map_err(unseen)?;
    let found = found(&host, &mounts, &path, &mut notes);
    let is_link = found == Some(FileType::Symlink);
    let way = Way::down(&plan, &mounts, &path, found);
    let selecting = plan.selecting(&way.end, is_link);
    let mut entries: Vec<EntryDecision> =
        plan.entry_numbers().map(|entry| way.decision(&plan, entry, &selecting)).collect();
    entries.sort_by_key(|entry| (entry.decision, std::cmp::Reverse(entry.along)));
    for rule in rules
        .iter()
        .filter(|rule| rule.suspend && !plan.entries.iter().any(|entry| plan.rules[entry.rule].name == rule.name))
    {
        notes.push(format!(
            "rule {} is suspended and was never compared: it selects nothing until it is resumed",
            rule.name
        ));
    }
    if rules.is_empty() {
        notes.push("there are no rules: nothing is tracked".to_owned());
    }
    if view.is_none() && plan.entries.iter().any(|entry| entry.links == Links::Follow) {
        notes.push(
            "what lies behind links that an entry follows is known after a compare: ask with --state-dir".to_owned(),
        );
    }
    let ask = plan.ask(&selecting);
    let watched = ask.as_ref().map(|ask| watched(&plan, &ask.entries));
    let tracked = view.map(|view| view.stored(&path)).transpose()?.flatten();
    if ask.is_some() && view.is_some() && tracked.is_none() && found.is_some() {
        notes.push("it has not been looked at yet: the next compare does".to_owned());
    }
    for Unknown { path: at, reason, .. } in known.into_iter().flat_map(|(_, unknowns)| unknowns.of(&path)) {
        notes.push(format!("at the last compare {at} was unknown: {reason}"));
    }
    if ask.is_none() && tracked.is_some() {
        notes.push("the state still holds it from before: it leaves watch with the next compare".to_owned());
    }
    Ok(Explanation {
        path: question.path.clone(),
        path_bytes: question.path_bytes.clone(),
        real_path: (path != asked).then(|| ByteText::exact(path.as_bytes()).0),
        found: found.and_then(kind),
        is_selected: ask.is_some(),
        entries,
        watched,
        tracked,
        notes,
    })
}

/// Where a path lies once the links above its last component are resolved: files are known under their real paths.
fn real_path(
    host: &HostRoot,
    mounts: &Mounts,
    asked: &HostPath,
    notes: &mut Vec<String>,
) -> Result<HostPath, rustix::io::Errno> {
    let (directory, name) = asked.split();
    let enter = |path: &HostPath| mounts.at(path).is_none_or(|mount| mount.is_local() || mount.is_overlay());
    let resolved = host.resolve(directory.components(), &enter)?;
    if let Some(link) = resolved.links.first() {
        notes.push(format!("{link} is a symbolic link: what lies behind it is tracked under its real path"));
    }
    Ok(resolved.real.join(name))
}

/// What is there, unless a walk would not look.
fn found(host: &HostRoot, mounts: &Mounts, path: &HostPath, notes: &mut Vec<String>) -> Option<FileType> {
    let is_barred = |mount: &&Mount| mount.is_remote();
    if let Some(mount) = mounts.on_the_way(path).find(is_barred) {
        let Mount { point, file_system, .. } = mount;
        notes.push(format!("it lies on {point}, a mount of type {file_system}, and was not looked at"));
        return None;
    }
    if path.components().count() > MAX_DEPTH || path.as_bytes().len() > MAX_PATH {
        notes
            .push(format!("it lies over {MAX_DEPTH} levels deep, or its path is over {MAX_PATH} bytes: it is unknown"));
    }
    let (directory, name) = path.split();
    match host.directory(&directory).and_then(|directory| directory.stat(name)) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.stx_mode.into())),
        Err(errno) if is_gone(errno) => {
            notes.push("there is no such file on the host".to_owned());
            None
        }
        Err(errno) => {
            notes.push(format!("it cannot be looked at: {}", std::io::Error::from(errno)));
            None
        }
    }
}

fn kind(found: FileType) -> Option<String> {
    let kind = match found {
        FileType::RegularFile => "Regular",
        FileType::Directory => "Directory",
        FileType::Symlink => "Symlink",
        FileType::Fifo => "Fifo",
        FileType::Socket => "Socket",
        FileType::CharacterDevice => "CharDevice",
        FileType::BlockDevice => "BlockDevice",
        _ => return None,
    };
    Some(kind.to_owned())
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

/// The way from the host's `/` to a path.
struct Way<'p> {
    path: &'p HostPath,
    /// Whether what is there is no directory.
    ends_here: bool,
    end: Step,
    /// Selectors that end on it: how far they went, where, and why.
    lost: Vec<(SelectorId, usize, HostPath, End)>,
}

#[derive(Clone, Debug)]
enum End {
    By(Lost),
    Mount(Mount),
}

impl<'p> Way<'p> {
    fn down(plan: &Plan, mounts: &Mounts, path: &'p HostPath, found: Option<FileType>) -> Self {
        let ends_here = found.is_some_and(|found| found != FileType::Directory);
        let mut here = HostPath::root();
        let mut step = plan.root();
        let mut lost = Vec::new();
        let enter = |step: Step, here: &HostPath, along: usize, lost: &mut Vec<_>| {
            let Some(mount) = mounts.at(here) else { return step };
            let entered = plan.enter(&step, mount);
            let is_gone = |selector: &SelectorId| !entered.context.selectors().any(|other| other == *selector);
            lost.extend(
                step.context.selectors().filter(is_gone).map(|at| (at, along, here.clone(), End::Mount(mount.clone()))),
            );
            entered
        };
        step = enter(step, &here, 0, &mut lost);
        for (along, name) in path.components().enumerate() {
            let next = here.join(name);
            lost.extend(
                plan.lost(&step.context, name).into_iter().map(|(at, why)| (at, along, next.clone(), End::By(why))),
            );
            step = enter(plan.child(&step.context, name), &next, along, &mut lost);
            here = next;
        }
        Self { path, ends_here, end: step, lost }
    }

    /// What an entry has to do with the path; the entry's own pattern counts, not the links that it leads through.
    fn decision(&self, plan: &Plan, entry: u16, selecting: &[u16]) -> EntryDecision {
        let name = plan.entry_name(entry);
        let is_own = |at: &SelectorId| {
            let Selector { entry: of, is_prefix_link, .. } = plan.selectors[usize::from(*at)];
            of == entry && !is_prefix_link
        };
        let FileEntry { rule, name: own_name, .. } = &plan.entries[usize::from(entry)];
        let files = plan.source.rules.get(*rule).and_then(|rule| rule.files.as_ref());
        let written = files.and_then(|files| files.paths.iter().find(|path| path.name == *own_name));
        let path = written.map(|written| written.path.clone()).unwrap_or_default();
        let all = self.path.components().count();
        let hits = self.end.hits().iter().any(is_own);
        let lost = self.lost.iter().find(|(at, ..)| is_own(at));
        let (decision, message, along) = if selecting.contains(&entry) {
            let through = if hits { "" } else { ": its path leads through this link" };
            match plan.is_suspended(entry) {
                true => (
                    Decision::RuleSuspended,
                    format!("{path} selects it, but the rule is suspended: nothing of it is compared"),
                    all,
                ),
                false => (Decision::Selects, format!("{path} selects it{through}"), all),
            }
        } else if hits {
            (
                Decision::LinkIgnored,
                format!("{path} matches, but it is a symbolic link, and the entry says links: Ignore"),
                all,
            )
        } else if let Some((_, along, at, end)) = lost {
            let defaults = files.and_then(|files| files.defaults.exclude.as_ref());
            let excludes = written.and_then(|written| written.settings.exclude.as_ref()).or(defaults);
            let (decision, message) = self.lost(&path, excludes, at, end);
            (decision, message, *along)
        } else if self.ends_here {
            (Decision::PathDoesNotMatch, format!("{path} does not match it"), all)
        } else {
            (Decision::LeadsBelow, format!("{path} selects what lies below it, not itself"), all)
        };
        EntryDecision { entry: name, decision, message, along }
    }

    fn lost(&self, path: &str, excludes: Option<&Vec<String>>, at: &HostPath, end: &End) -> (Decision, String) {
        let is_itself = at == self.path;
        match end {
            End::By(Lost::Excluded(number)) => {
                let exclude = excludes.and_then(|excludes| excludes.get(*number));
                let exclude = exclude.map_or_else(|| "an exclude".to_owned(), |exclude| format!("exclude {exclude}"));
                let what = if is_itself { "it".to_owned() } else { format!("{at}, which it lies under,") };
                (Decision::Excluded, format!("{path} leads there, but {exclude} of the entry leaves {what} out"))
            }
            End::By(Lost::Depth) => (
                Decision::TooDeep,
                format!("{path} selects what is above it, but maxDepth (or recurse: false) ends before {at}"),
            ),
            End::By(Lost::Pattern) => {
                let (directory, name) = at.split();
                let name = HostPath::root().join(name).to_string();
                (
                    Decision::PathDoesNotMatch,
                    format!(
                        "{path} does not match: it leads to {directory}, but not on to {}",
                        name.trim_start_matches('/')
                    ),
                )
            }
            End::Mount(mount) => {
                let Mount { point, file_system, .. } = mount;
                (
                    Decision::MountNotEntered,
                    format!(
                        "{path} would lead there, but does not enter {point}, a mount of type {file_system} (mounts says which are)"
                    ),
                )
            }
        }
    }
}
