//! Large files that are read side by side: a part of each, and all parts hashed together.
//!
//! Reads open files into a looker's memory. Which ones, and what becomes of what they show, is the caller's. None waits for
//! another: one that changed while it was read is begun anew among those under way.

use crate::batch::PAGE;
use crate::hashing::{Hasher, Piece, take_in};
use crate::item::ItemState;
use crate::lane::{Ground, Task};
use crate::look::{Look, Looker, Opened, TRIES};
use crate::moves::{Candidate, Outcome};
use rustix::io::Errno;
use vedette_lanes::md5_width;

/// So many are open at most.
const FILES: usize = 32;
/// So many bytes of each are read at a time, where the parts of all fit into a looker's memory.
const PART: usize = 64 * 1024;
/// Who takes on what it is given may tell such files from larger ones.
pub(crate) const SMALL: u64 = 1024 * 1024;

/// Parts of so many are hashed together.
fn together() -> usize {
    md5_width().clamp(FILES / 4, FILES)
}

fn part(together: usize) -> usize {
    if together > FILES / 2 { PART / 2 } else { PART }
}

/// Those that are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnderWayNow {
    pub(crate) files: usize,
    /// Of no more than [`SMALL`].
    pub(crate) small: usize,
}

/// How many files one of so many threads reads side by side, where the process may have so many descriptors: half of them are
/// for directories, connections and all else.
pub(crate) fn files_at_once(descriptors: Option<u64>, threads: usize) -> usize {
    let descriptors = descriptors.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (descriptors / 2 / threads.max(1)).clamp(1, FILES)
}

/// How many of so many files, waiting or being read, one of so many threads takes on. When each can have its share, it does:
/// then all threads and all lanes end with the last of them. Before, those that began first end first.
pub(crate) fn share(files: usize, threads: usize) -> usize {
    share_of(files, threads, together())
}

fn share_of(files: usize, threads: usize, together: usize) -> usize {
    // Lanes that nobody uses cost as much as others.
    let share = files.div_ceil(threads.max(1)).max(together / 2);
    if share > FILES { together } else { share }
}

/// A large file that is to be read.
struct File<T> {
    outcome: Outcome,
    size: u64,
    stored: Option<ItemState>,
    ground: Ground,
    /// This is to be the first try, or a later one.
    tries: usize,
    /// What the caller holds meanwhile.
    held: T,
}

/// One whose reading has begun.
struct UnderWay<T> {
    file: File<T>,
    opened: Box<Opened>,
    hasher: Hasher,
    left: u64,
    ended: Option<Result<(), Errno>>,
}

/// Reads what `next` gives, which is told what is under way, until that is nothing when nothing is: so many files at once
/// at most. `told` is given what each shows, which is nothing where its directory is gone or on another volume. Ends early when
/// the looker is told to, and then says nothing of those under way.
pub(crate) fn read_side_by_side<T>(
    looker: &mut Looker,
    files: usize,
    mut next: impl FnMut(UnderWayNow) -> Option<(Task, T)>,
    mut told: impl FnMut(&Looker, Outcome, Option<ItemState>, Option<Look>, T),
) {
    let (mut under_way, mut again) = (Vec::<UnderWay<T>>::new(), Vec::<File<T>>::new());
    loop {
        while under_way.len() < files.min(FILES) {
            let fresh = |(task, held)| {
                let Task { outcome, stored, ground, size, .. } = task;
                File { outcome, size, stored, ground, tries: 1, held }
            };
            let small = under_way.iter().filter(|file| file.file.size <= SMALL).count();
            let now = UnderWayNow { files: under_way.len(), small };
            let Some(file) = again.pop().or_else(|| next(now).map(fresh)) else { break };
            match open(looker, &file) {
                Ok(opened) => {
                    let (hasher, left) = opened.to_hash();
                    under_way.push(UnderWay { file, opened, hasher, left, ended: None });
                }
                Err(look) => told(looker, file.outcome, file.stored, look, file.held),
            }
        }
        if under_way.is_empty() {
            return;
        }
        advance(looker, &mut under_way);
        if looker.must_end() {
            return;
        }
        for ended in under_way.extract_if(.., |file| file.ended.is_some()) {
            let UnderWay { file, opened, hasher, ended, .. } = ended;
            let read = ended.unwrap_or(Ok(())).map(|()| hasher.finish());
            let last = (file.tries == TRIES).then(|| file.outcome.want());
            match looker.show(*opened, read, last) {
                Some(look) => told(looker, file.outcome, file.stored, Some(look), file.held),
                None => again.push(File { tries: file.tries + 1, ..file }),
            }
        }
    }
}

/// Opens a file; its directory stays open no longer than that.
///
/// # Errors
/// What it shows, where nothing is to be read.
fn open<T>(looker: &mut Looker, file: &File<T>) -> Result<Box<Opened>, Option<Look>> {
    let File { outcome, stored, ground, .. } = file;
    let Candidate { volume, directory, .. } = outcome.here();
    let directory = ground.open_on(*volume, directory).map_err(|errno| Some(Look::Unknown(errno)))?.ok_or(None)?;
    looker.stand_on(ground);
    outcome.open(looker, &directory, stored.as_ref()).map_err(Some)
}

/// Reads the next part of as many as are hashed together, in turns, and takes all of them in.
fn advance<T>(looker: &mut Looker, files: &mut [UnderWay<T>]) {
    let together = together();
    let (part, turn) = (part(together), files.len().min(together));
    let (memory, mut filler) = looker.reading();
    let mut pieces = Vec::with_capacity(files.len());
    for (file, buffer) in files[..turn].iter_mut().zip(memory.chunks_mut(part + PAGE)) {
        let wanted = usize::try_from(file.left).unwrap_or(part).min(part);
        match filler.fill(&file.opened, file.left, &mut buffer[..wanted]) {
            Ok(Some(len)) => {
                file.left -= len as u64;
                let is_last = file.left == 0 || len < wanted;
                file.ended = is_last.then_some(Ok(()));
                pieces.push(Piece { hasher: &mut file.hasher, buffer, len, is_last });
            }
            // Told to end, as the caller finds.
            Ok(None) => return,
            Err(errno) => file.ended = Some(Err(errno)),
        }
    }
    take_in(&mut pieces);
    files.rotate_left(turn);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scratch::{Scratch, task};
    use crate::walk::Walk;
    use std::cell::{Cell, RefCell};
    use std::fs::{self, File as Handle};
    use std::io::Write;
    use vedette_crds::record::ContentState;

    /// What became of files whose reading began in this order; `meanwhile` happens before each part that is read.
    fn read(walk: &Walk, paths: &[&str], files: usize, meanwhile: impl Fn()) -> Vec<(String, ItemState)> {
        let mut waiting = paths.iter().map(|path| (task(walk, path), ()));
        let mut told = Vec::new();
        let next = |_| {
            meanwhile();
            waiting.next()
        };
        let mut looker = walk.ground.looker(walk.stop.clone());
        read_side_by_side(&mut looker, files, next, |_, outcome, _, look, ()| {
            let Some(Look::Seen(state)) = look else { panic!("{look:?}") };
            told.push((outcome.here().place().path().to_string(), *state));
        });
        told
    }

    fn contents(told: &[(String, ItemState)]) -> Vec<(&str, ContentState)> {
        told.iter().map(|(path, state)| (path.as_str(), state.content.unwrap())).collect()
    }

    fn append(host: &Scratch, path: &str) {
        Handle::options().append(true).open(host.at(path)).unwrap().write_all(b"more").unwrap();
    }

    #[test]
    fn a_file_that_changes_whenever_it_is_read_is_unstable_and_nobody_waits_for_it() {
        let mut host = Scratch::new();
        host.write("restless", vec![1; 3 * PART]);
        host.write("calm", vec![2; 40 * PART]);
        let walk = host.walk();
        let told = read(&walk, &["restless", "calm"], FILES, || append(&host, "restless"));
        // Between its tries the other is read on: else it would have stood still.
        assert_eq!(contents(&told), [("/restless", ContentState::Unstable), ("/calm", ContentState::Read)]);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again_beside_the_others() {
        let mut host = Scratch::new();
        host.write("changed", vec![1; 3 * PART]);
        host.write("calm", vec![2; 40 * PART]);
        let walk = host.walk();
        let left = Cell::new(5);
        let told = read(&walk, &["changed", "calm"], FILES, || {
            left.set(left.get() - 1);
            if left.get() == 0 {
                append(&host, "changed");
            }
        });
        assert_eq!(contents(&told), [("/changed", ContentState::Read), ("/calm", ContentState::Read)]);
        let now = read(&walk, &["changed"], FILES, || {});
        assert_eq!((told[0].1.size, &told[0].1.digests), (3 * PART as u64 + 4, &now[0].1.digests));
    }

    #[test]
    fn no_more_files_are_open_at_once_than_was_said_and_no_directory_beside_them() {
        let mut host = Scratch::new();
        let paths: Vec<String> = (0..7).map(|at| format!("d/{at}")).collect();
        paths.iter().for_each(|path| host.write(path, vec![1; 3 * PART]));
        let walk = host.walk();
        let most = RefCell::new(0);
        let told = read(&walk, &paths.iter().map(String::as_str).collect::<Vec<_>>(), 3, || {
            let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|open| fs::read_link(open.ok()?.path()).ok());
            let here = open.filter(|path| path.starts_with(host.at("d"))).count();
            most.replace_with(|most| here.max(*most));
        });
        assert_eq!((told.len(), most.into_inner()), (7, 2), "whoever is asked for another has room for it");
    }

    #[test]
    fn a_thread_takes_its_share_when_all_can_be_under_way_and_never_fewer_than_fill_half_of_the_lanes() {
        for (files, threads, share) in [
            (0, 2, 8),
            (1, 2, 8),
            (16, 2, 8),
            (40, 2, 20),
            (41, 2, 21),
            (64, 2, 32),
            (65, 2, 16),
            (40, 1, 16),
            (32, 1, 32),
            (40, 0, 16),
        ] {
            assert_eq!(share_of(files, threads, 16), share, "{files} files, {threads} threads");
        }
    }

    #[test]
    fn a_file_among_many_larger_ones_ends_first() {
        let mut host = Scratch::new();
        let paths: Vec<String> = (0..FILES).map(|at| format!("{at}")).collect();
        paths.iter().for_each(|path| host.write(path, vec![1; 40 * PART]));
        host.write("0", vec![1; 3 * PART]);
        let walk = host.walk();
        let told = read(&walk, &paths.iter().map(String::as_str).collect::<Vec<_>>(), FILES, || {});
        assert_eq!(contents(&told)[0], ("/0", ContentState::Read));
    }

    #[test]
    fn more_files_than_lanes_all_come_to_their_end_together() {
        let mut host = Scratch::new();
        let paths: Vec<String> = (0..20).map(|at| format!("{at}")).collect();
        paths.iter().for_each(|path| host.write(path, vec![1; 32 * PART]));
        let walk = host.walk();
        let asked = Cell::new(0);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let told = read(&walk, &paths, FILES, || asked.set(asked.get() + 1));
        assert!(contents(&told).iter().all(|(_, content)| *content == ContentState::Read));
        assert_eq!(told.len(), 20);
        // In turns, on sixteen lanes, 40; sixteen files and then four would take 64.
        let (rounds, least) = (asked.get() - paths.len(), 20 * 32 * PART / part(together()) / together().min(20));
        assert!((least..least + 7).contains(&rounds), "{rounds} rounds on {} lanes", together());
    }

    #[test]
    fn half_of_the_descriptors_are_for_large_files_and_each_thread_has_one() {
        for (descriptors, threads, files) in [
            (None, 64, FILES),
            (Some(u64::MAX), 64, FILES),
            (Some(1024), 2, FILES),
            (Some(1024), 64, 8),
            (Some(256), 64, 2),
            (Some(64), 64, 1),
            (Some(0), 1, 1),
            (Some(1024), 0, FILES),
        ] {
            assert_eq!(files_at_once(descriptors, threads), files, "{descriptors:?} {threads}");
        }
    }
}
