//! A plan's view of stored items: what it selects among them, directory by directory.
//!
//! Pure but for asking which mounts lie on the way, as a walk meets them.

use crate::item::ItemState;
use crate::mounts::{Mount, Mounts};
use crate::page::Volume;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::select::{Context, Names};
use crate::volumes::Volumes;
use std::sync::Arc;
use vedette_crds::record::ItemType;

/// A plan, and the directory that it is asked about.
pub(crate) struct View<'a> {
    pub(crate) plan: Arc<Plan>,
    mounts: &'a Mounts,
    volumes: &'a Volumes,
    here: Option<Here>,
}

struct Here {
    volume: Volume,
    directory: HostPath,
    /// The mounts on the way to the volume.
    crossed: Vec<Mount>,
    context: Context,
}

impl<'a> View<'a> {
    pub(crate) fn new(plan: &Arc<Plan>, mounts: &'a Mounts, volumes: &'a Volumes) -> Self {
        Self { plan: Arc::clone(plan), mounts, volumes, here: None }
    }

    /// Goes to a directory; what is asked next is asked there.
    pub(crate) fn at(&mut self, volume: Volume, directory: &HostPath) -> At<'_> {
        let here = match self.here.take() {
            Some(here) if here.volume == volume && here.directory == *directory => here,
            before => {
                let same = before.filter(|before| before.volume == volume);
                let crossed = same.map_or_else(|| self.volumes.crossed(self.mounts, volume), |here| here.crossed);
                let context = self.plan.context(directory, &crossed);
                Here { volume, directory: directory.clone(), crossed, context }
            }
        };
        At { plan: &self.plan, mounts: self.mounts, volumes: self.volumes, here: self.here.insert(here) }
    }
}

/// A view at one directory.
pub(crate) struct At<'v> {
    plan: &'v Plan,
    mounts: &'v Mounts,
    volumes: &'v Volumes,
    here: &'v Here,
}

impl At<'_> {
    /// The entries that select an item, suspended ones included; sorted.
    pub(crate) fn selecting(&self, name: &[u8], is_link: bool) -> Vec<u16> {
        let Here { volume, directory, context, .. } = self.here;
        let step = self.plan.step(context, name, self.volumes.mounted(self.mounts, *volume, directory, name));
        self.plan.selecting(&step, is_link)
    }

    /// The same, of a stored item.
    pub(crate) fn selecting_stored(&self, name: &[u8], state: &ItemState) -> Vec<u16> {
        self.selecting(name, state.kind == ItemType::Symlink)
    }

    /// Whether a rule that is not suspended selects a stored item.
    pub(crate) fn watches(&self, name: &[u8], state: &ItemState) -> bool {
        self.plan.any_running(&self.selecting_stored(name, state))
    }

    /// Whether a walk looks at names in this directory.
    pub(crate) fn walks(&self) -> bool {
        self.plan.names(&self.here.context, &Due::All) != Names::None
    }
}
