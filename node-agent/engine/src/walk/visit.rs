//! A directory while its names are looked at.

use super::Asking;
use super::held::Found;
use super::name::Spot;
use crate::frontier::Waiting;
use crate::host::Directory;
use crate::mounted::Remount;
use crate::mounts::MountId;
use crate::page::{NEVER, PlanId, Volume};
use crate::path::HostPath;
use crate::select::{Context, Step};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// A directory while its names are looked at.
pub(super) struct Visit {
    pub(super) open: Directory,
    pub(super) path: HostPath,
    pub(super) phase: u64,
    pub(super) context: Context,
    /// Whether all names in it are selected alike.
    pub(super) is_uniform: bool,
    /// How one of them is then, once that was found out.
    pub(super) alike: Option<Alike>,
    pub(super) volume: Volume,
    pub(super) mount: MountId,
    pub(super) has_mounts: bool,
    /// Nothing in it was ever compared, so all of it is due.
    pub(super) is_new_ground: bool,
    pub(super) is_new_volume: bool,
    /// Names that the state has items below.
    pub(super) known_below: Vec<Vec<u8>>,
    /// Whether a new name in it may be one that moved: not where it would be baselined.
    pub(super) may_pair: bool,
    /// The pages of what is looked at: the first name of each, and its plan.
    pub(super) plans: Vec<(Vec<u8>, PlanId)>,
    /// What the plan of the last complete compare had alive here, once that was asked.
    pub(super) older: OnceCell<Context>,
    pub(super) findings: Vec<Found>,
    /// The same for what shows at the tops of other volumes.
    pub(super) tops: BTreeMap<Volume, Top>,
    pub(super) remounts: Vec<Remount>,
    /// Names that are directories, or covered by a mount, in order.
    pub(super) directories: Vec<Vec<u8>>,
    pub(super) found: Vec<Waiting>,
}

impl Visit {
    pub(super) fn new(
        open: Directory,
        path: HostPath,
        context: Context,
        volume: Volume,
        mount: MountId,
        is_new_ground: bool,
    ) -> Self {
        Self {
            open,
            phase: xxh3_64(path.as_bytes()),
            path,
            context,
            is_uniform: false,
            alike: None,
            volume,
            mount,
            has_mounts: false,
            is_new_ground,
            is_new_volume: false,
            known_below: Vec::new(),
            may_pair: false,
            plans: Vec::new(),
            older: OnceCell::new(),
            findings: Vec::new(),
            tops: BTreeMap::new(),
            remounts: Vec::new(),
            directories: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Where names lie on which nothing is mounted.
    pub(super) fn spot(&self) -> Spot {
        Spot { on: self.mount, volume: self.volume }
    }

    /// The plan that the page of a name is of, or that its page would be.
    pub(super) fn plan_of(&self, name: &[u8]) -> Option<PlanId> {
        let after = self.plans.partition_point(|(first, _)| first.as_slice() <= name);
        Some(self.plans.get(after.saturating_sub(1)).map_or(NEVER, |(_, plan)| *plan))
    }

    pub(super) fn findings_at(&mut self, spot: Spot) -> &mut Vec<Found> {
        if spot.volume == self.volume {
            &mut self.findings
        } else {
            &mut self.tops.entry(spot.volume).or_default().findings
        }
    }
}

/// What all names of a directory have in common.
pub(super) struct Alike {
    pub(super) step: Step,
    /// What is asked of a file; nothing when none is due.
    pub(super) asked: Option<Asking>,
}

/// What shows at the top of another volume.
#[derive(Default)]
pub(super) struct Top {
    pub(super) findings: Vec<Found>,
    /// Names whose directories are still to be seen for the first time.
    pub(super) unseen: Vec<Vec<u8>>,
}
