//! What the state holds of a path, beside what the host shows there: whether it is compared, and if not, why.

use super::Tracking;
use crate::inspect::{Held, View};
use crate::mounts::Mount;
use crate::path::HostPath;
use crate::plan::Plan;
use crate::retain::KEPT_FOR;
use crate::store::StoreError;
use vedette_crds::record::Nanos;

/// Where the file system of what the state holds is, as the mount table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is what shows at the path.
    Shows,
    /// This mount covers it.
    Beneath(Mount),
    /// It is not mounted where it was.
    Unmounted {
        /// Where it was.
        point: HostPath,
        /// Its type.
        file_system: String,
    },
}

impl Held {
    /// Whether it is of what shows at the path.
    pub(super) fn shows(&self) -> bool {
        self.place == Place::Shows
    }
}

/// Whether compares look at a path, when a running entry selects what shows there, and these select what is held.
pub(super) fn tracking(is_selected: bool, is_found: bool, held: Option<&Held>, of_held: &[u16]) -> Tracking {
    match (is_selected, held) {
        (true, None) if is_found => Tracking::Tracked,
        (true, None) => Tracking::WouldBeTracked,
        (true, Some(held)) if is_found || held.shows() => Tracking::Tracked,
        (_, Some(_)) if !of_held.is_empty() => Tracking::NotCompared,
        (true, Some(_)) => Tracking::WouldBeTracked,
        (false, Some(_)) => Tracking::LeavesWatch,
        (false, None) => Tracking::NotTracked,
    }
}

/// Says why what is held is not compared, or not any more.
pub(super) fn say(plan: &Plan, of_held: &[u16], held: Option<&Held>, tracking: Tracking, notes: &mut Vec<String>) {
    let Some(held) = held else { return };
    if of_held.is_empty() {
        if tracking == Tracking::LeavesWatch {
            notes.push("the state still holds it from before: it leaves watch with the next compare".to_owned());
        }
        return;
    }
    match &held.place {
        Place::Shows => {}
        Place::Beneath(Mount { point, is_hidden: true, .. }) => notes
            .push(format!("what the state holds of it stays as it is: what the host has at {point} is not seen here")),
        Place::Beneath(Mount { point, file_system, .. }) => notes.push(format!(
            "what the state holds of it stays as it is: a mount of type {file_system} at {point} covers it"
        )),
        Place::Unmounted { point, file_system } => notes.push(format!(
            "what the state holds of it lies on a file system of type {file_system} that is not mounted at {point} now"
        )),
    }
    if !plan.any_running(of_held) {
        let mut rules: Vec<&str> = of_held.iter().map(|entry| plan.rules[plan.rule_of(*entry)].name.as_str()).collect();
        rules.dedup();
        let (rules, are, they) = match rules.as_slice() {
            [rule] => (format!("rule {rule}"), "is", "it is"),
            rules => (format!("rules {}", rules.join(", ")), "are", "one of them is"),
        };
        notes.push(format!(
            "{rules} {are} suspended: what the state holds of it stays as it is, and is compared when {they} resumed"
        ));
    }
}

/// Names the rules of the plan in force of which it has nothing but their names.
pub(super) fn never_compared(plan: &Plan, notes: &mut Vec<String>) {
    let has_entries = |at: usize| plan.entries.iter().any(|entry| entry.rule == at);
    for (_, rule) in plan.rules.iter().enumerate().filter(|(at, rule)| rule.suspended && !has_entries(*at)) {
        notes.push(format!(
            "rule {} is suspended and was never compared: ask with --rule whether it would select this",
            rule.name
        ));
    }
}

/// Says until when is kept what left watch.
pub(super) fn say_left(view: &View, path: &HostPath, notes: &mut Vec<String>) -> Result<(), StoreError> {
    if let Some(left) = view.left(path)? {
        let (left, end) = (Nanos(left.timestamp()), Nanos(left.after(KEPT_FOR).timestamp()));
        notes.push(format!("it left watch at {left}: what was known of it is kept until {end}"));
    }
    Ok(())
}
