//! The way down to a path as a walk goes, and where each entry ends on it.
//!
//! Pure: which mounts lie on the way, and what is found at its end, is given.

use super::{Decision, EntryDecision};
use crate::mounts::{Mount, Mounts};
use crate::path::HostPath;
use crate::plan::Plan;
use crate::select::{Lost, Selector, SelectorId, Step};
use rustix::fs::FileType;
use vedette_crds::settings::FileEntry;

/// The way from the host's `/` to a path.
pub(super) struct Way<'p> {
    path: &'p HostPath,
    /// Whether what is there is no directory.
    ends_here: bool,
    pub(super) end: Step,
    /// Selectors that end on it: how far they went, where, and why.
    lost: Vec<(SelectorId, usize, HostPath, End)>,
}

#[derive(Clone, Debug)]
enum End {
    By(Lost),
    Mount(Mount),
}

impl<'p> Way<'p> {
    pub(super) fn down(plan: &Plan, mounts: &Mounts, path: &'p HostPath, found: Option<FileType>) -> Self {
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
    pub(super) fn decision(&self, plan: &Plan, entry: u16, selecting: &[u16]) -> EntryDecision {
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
        let asks = (decision == Decision::Selects).then(|| super::watched(plan, &[entry]));
        EntryDecision { entry: name, decision, message, asks, along }
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
            End::Mount(Mount { point, is_hidden: true, .. }) => (
                Decision::MountNotSeen,
                format!("{path} leads there, but what the host has at {point} is not seen here"),
            ),
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
