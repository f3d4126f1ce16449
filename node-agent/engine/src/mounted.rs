//! What is mounted where entries look: kept in the state, compared with the mount table, said as one record.
//!
//! The item beneath a mount keeps its state; what the mount shows is an item of its own volume. Neither is compared with
//! the other: that one shows in place of the other is one Modified record, fields `[Mount]`.

use crate::commit::{Committer, Place, Transaction, What};
use crate::host::HostRoot;
use crate::item::{Fields, ItemState};
use crate::known::Known;
use crate::meta::Visitor;
use crate::mounts::{Mount, Mounts};
use crate::page::{Volume, subtree_prefix};
use crate::path::HostPath;
use crate::plan::Ask;
use crate::records::Difference;
use crate::render::item;
use crate::store::{Finder, Found, Pages, Reader, StoreError};
use crate::volumes::Volumes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use vedette_crds::record::{ChangeType, Field, Item, ItemType, MountInfo};
use xxhash_rust::xxh3::xxh3_64;

/// File systems that are gone for good when they are not mounted any more.
pub(crate) const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// What is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Where what it shows is stored; `None` when it is not entered.
    pub(crate) volume: Option<Volume>,
    mount: Mount,
    /// In which boot that was noted.
    boot: u64,
}

/// A path at which something else is mounted than the state knows.
#[derive(Debug)]
pub(crate) struct Remount {
    pub(crate) name: Vec<u8>,
    /// Entries that select the path, or else those that may select below it.
    pub(crate) ask: Arc<Ask>,
    /// Whether they select the path itself.
    pub(crate) is_item: bool,
    pub(crate) now: Option<Shown>,
    /// Whether nothing that lies on what is mounted there now was ever compared.
    pub(crate) is_new: bool,
    /// What is to be seen there now, where that was looked at.
    pub(crate) state: Option<ItemState>,
}

impl Shown {
    pub(crate) fn new(mount: &Mount, volume: Option<Volume>) -> Self {
        Self { volume, mount: mount.clone(), boot: boot() }
    }

    /// The volume that went for good when it was unmounted.
    fn gone(&self, host: &HostRoot, mounts: &Mounts, volumes: &Volumes) -> Option<Volume> {
        let Mount { file_system, root, device, .. } = &self.mount;
        let volume = self.volume?;
        // Device numbers are given anew at once, and at each boot.
        let is_elsewhere = || self.boot == boot() && volumes.shows_on(host, mounts, volume, device);
        (root == b"/" && VOLATILE.contains(&file_system.as_str()) && !is_elsewhere()).then_some(volume)
    }

    /// Whether the same file system shows. The name of a device moves at reboot; a volume that is known stays the same.
    fn is_same(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.volume, other.volume) {
            return a == b;
        }
        self.is_of(&other.mount)
    }

    /// Whether the same share, device or the like shows.
    pub(crate) fn is_of(&self, mount: &Mount) -> bool {
        let (a, b) = (&self.mount, mount);
        let is_device = |mount: &Mount| mount.source.starts_with(b"/dev/");
        let same_source = a.source == b.source || is_device(a) && is_device(b);
        same_source && (&a.file_system, &a.root) == (&b.file_system, &b.root)
    }
}

/// What a path shows.
struct Side {
    state: Option<ItemState>,
    mount: Option<MountInfo>,
}

impl Transaction<'_, '_> {
    /// Another file system shows at a path than the state knows: says so, unless it was there before anyone looked.
    pub(crate) fn remounted(
        &mut self,
        pages: &mut Pages<'_>,
        place: Place<'_>,
        remount: &Remount,
    ) -> Result<(), StoreError> {
        let path = place.path();
        let Remount { is_item, now, state, .. } = remount;
        let was = self.writer.shown(&path)?.map(|bytes| decode(&path, &bytes)).transpose()?;
        let volume = |shown: Option<&Shown>| shown.map_or(Some(place.volume), |shown| shown.volume);
        let (was_on, now_on) = (volume(was.as_ref()), volume(now.as_ref()));
        let stored = |volume: Option<Volume>| -> Result<Option<ItemState>, StoreError> {
            let Some(volume) = volume else { return Ok(None) };
            Ok(Finder::new(pages).item(volume, place.directory, place.name)?.map(|named| named.state.clone()))
        };
        let before = stored(was_on)?;
        let after = stored(now_on)?.or_else(|| state.clone());
        let is_same = match (&was, now) {
            (Some(was), Some(now)) => was.is_same(now),
            // An older version kept what shows as an item of the directory's own volume.
            (None, Some(_)) => {
                before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| before.is_one_with(after))
            }
            (Some(_), None) => false,
            (None, None) => true,
        };
        let came_along = now_on.is_some_and(|volume| self.left_together(volume, place.volume));
        let is_news = !is_same && !came_along && self.meta.complete.is_some() && place.under.is_some();
        if is_news {
            let known_below = pages.has_items(was_on, &path)? || pages.has_items(now_on, &path)?;
            let is_gone = now.is_none() && after.is_none();
            let was_there = was.is_some() || before.is_some();
            let side = |state, shown: Option<&Shown>| Side { state, mount: shown.map(|shown| shown.mount.info()) };
            let (before, after) = (side(before, was.as_ref()), side(after, now.as_ref()));
            match (is_item, was_there) {
                (true, true) if is_gone => {
                    if matches!(self.look_again(place, None, &remount.ask)?, Some(What::Missing)) {
                        self.tell(place, &remount.ask, Some(before), None)?;
                    }
                }
                (false, _) if known_below && is_gone => {
                    let is_missing = matches!(self.look_again(place, None, &remount.ask)?, Some(What::Missing));
                    self.tell(place, &remount.ask, Some(before), (!is_missing).then_some(after))?;
                }
                (true, true) => self.tell(place, &remount.ask, Some(before), Some(after))?,
                (true, false) => {
                    if self.known(place, false)? != Known::Nothing {
                        self.tell(place, &remount.ask, None, Some(after))?;
                    }
                }
                // Only what is known below it makes a mount point worth a word.
                (false, _) if known_below => self.tell(place, &remount.ask, Some(before), Some(after))?,
                (false, _) => {}
            }
        }
        let bytes = now.as_ref().map(encode).transpose()?;
        self.writer.set_shown(&path, bytes.as_deref())?;
        if let Some(volume) = now_on.filter(|_| remount.is_new)
            && (is_news || self.meta.visitor(place.volume).is_some())
        {
            self.meta.visitors.push(Visitor { volume, left: None });
        }
        let Some(was) = was.filter(|_| !is_same) else { return Ok(()) };
        if is_news {
            self.left(&path, was.volume)?;
        }
        let Committer { host, mounts, volumes, .. } = self.committer;
        was.gone(host, mounts, volumes).map_or(Ok(()), |volume| self.forget_volume(pages, volume))
    }

    /// The end of a mount was said, and with it that of those within.
    fn left(&mut self, path: &HostPath, volume: Option<Volume>) -> Result<(), StoreError> {
        let mut left: Vec<Volume> = volume.into_iter().collect();
        for (path, bytes) in self.writer.shown_below(path)? {
            let shown = decode(&path, &bytes)?;
            // It may have been covered, and show again.
            let is_there = self.committer.mounts.at(&path).is_some_and(|mount| shown.is_of(mount));
            if let Some(volume) = shown.volume.filter(|volume| !is_there && self.meta.visitor(*volume).is_some()) {
                self.writer.set_shown(&path, None)?;
                left.push(volume);
            }
        }
        let now = self.meta.live(self.committer.clock);
        for volume in left {
            if let Some(visitor) = self.meta.visitor(volume) {
                visitor.left.get_or_insert(now);
            }
        }
        Ok(())
    }

    /// Whether one file system went with the one that it was mounted on: its return goes without saying too.
    fn left_together(&mut self, volume: Volume, on: Volume) -> bool {
        let left = self.meta.visitor(volume).and_then(|visitor| visitor.left);
        left.is_some() && self.meta.visitor(on).and_then(|visitor| visitor.left) == left
    }

    fn tell(
        &mut self,
        place: Place<'_>,
        ask: &Ask,
        before: Option<Side>,
        after: Option<Side>,
    ) -> Result<(), StoreError> {
        let kind = [&before, &after].into_iter().flatten().find_map(|side| Some(side.state.as_ref()?.kind));
        let looked = before.as_ref().and_then(|before| Some(before.state.as_ref()?.looked));
        let owners = self.committer.owners;
        let show = |side: Side| {
            let unseen = Item::unseen(kind.unwrap_or(ItemType::Directory));
            Item { mount: side.mount, ..side.state.map_or(unseen, |state| item(&state, owners)) }
        };
        let change_type = match (&before, &after) {
            (None, _) => ChangeType::Added,
            (_, None) => ChangeType::Removed,
            _ => ChangeType::Modified,
        };
        let fields = if change_type == ChangeType::Modified { Fields::of(&[Field::Mount]) } else { Fields::NONE };
        let (before, after) = (before.map(show), after.map(show));
        let since = looked.max(self.compared(place, ask, &[])?);
        let detection = self.detection(place, false)?;
        let difference = Difference { change_type, detection, fields, since, before, after, moved: None };
        self.record(&place.path(), &ask.entries, difference)
    }

    /// A file system that cannot come back: what it held went with it, and the remount said so.
    pub(crate) fn forget_volume(&mut self, pages: &mut Pages<'_>, volume: Volume) -> Result<(), StoreError> {
        let crossed = self.crossed(volume);
        let prefix = subtree_prefix(volume, &HostPath::root());
        loop {
            let batch = pages.subtree(&prefix, &prefix, 64)?;
            if batch.is_empty() {
                self.writer.remove_volume(volume)?;
                self.meta.visitors.retain(|visitor| visitor.volume != volume);
                self.committer.volumes.forget(volume);
                return Ok(());
            }
            for Found { key, directory, page, .. } in batch {
                let context = self.committer.plan.context(&directory, &crossed);
                for named in page.items {
                    let step = self.committer.plan.child(&context, &named.name);
                    let is_link = named.state.kind == ItemType::Symlink;
                    self.track(&self.committer.plan.selecting(&step, is_link), -1);
                }
                pages.remove(&key)?;
            }
        }
    }
}

/// Which boot of this machine it is; 0 where that cannot be told.
fn boot() -> u64 {
    static BOOT: LazyLock<u64> =
        LazyLock::new(|| std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| xxh3_64(&id)));
    *BOOT
}

fn encode(shown: &Shown) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(shown).map_err(|error| StoreError::damaged(format!("a mount: {error}")))
}

fn decode(path: &HostPath, bytes: &[u8]) -> Result<Shown, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::damaged(format!("the mount at {path}: {error}")))
}

/// All that the state knows to be mounted.
pub(crate) fn load(reader: &Reader) -> Result<BTreeMap<HostPath, Shown>, StoreError> {
    let decode = |(path, bytes): (HostPath, Vec<u8>)| decode(&path, &bytes).map(|shown| (path, shown));
    reader.shown()?.into_iter().map(decode).collect()
}
