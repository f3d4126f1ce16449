//! Large files that are read side by side: a part of each, and all parts hashed together.
//!
//! Reads open files into a looker's memory. Which ones, and what becomes of what they show, is the caller's.

use crate::batch::PAGE;
use crate::hashing::{Hasher, Piece, take_in};
use crate::host::Directory;
use crate::item::ItemState;
use crate::lane::Task;
use crate::look::{Look, Looker, Opened};
use crate::mounts::MountId;
use crate::moves::{Candidate, Outcome};
use rustix::io::Errno;

/// So many at a time: as many as the widest lanes that most machines have.
const FILES: usize = 16;
/// So many bytes of each.
const PART: usize = 64 * 1024;

/// A large file whose reading has begun.
struct UnderWay<T> {
    outcome: Outcome,
    stored: Option<ItemState>,
    directory: (Directory, MountId),
    opened: Box<Opened>,
    hasher: Hasher,
    left: u64,
    ended: Option<Result<(), Errno>>,
    /// What the caller holds meanwhile.
    held: T,
}

/// Reads what `next` gives until that is nothing; `told` is given what each shows, which is nothing where its directory is
/// gone or on another volume. Ends early when the looker is told to, and then says nothing of those under way.
pub(crate) fn read_side_by_side<T>(
    looker: &mut Looker,
    mut next: impl FnMut(bool) -> Option<(Task, T)>,
    mut told: impl FnMut(&Looker, Outcome, Option<ItemState>, Option<Look>, T),
) {
    let mut under_way: Vec<UnderWay<T>> = Vec::new();
    loop {
        while under_way.len() < FILES {
            let Some((task, held)) = next(under_way.is_empty()) else { break };
            let Task { outcome, stored, ground, .. } = task;
            let Candidate { volume, directory, .. } = outcome.here();
            let directory = match ground.open_on(*volume, directory) {
                Ok(Some(directory)) => directory,
                Ok(None) => {
                    told(looker, outcome, stored, None, held);
                    continue;
                }
                Err(errno) => {
                    told(looker, outcome, stored, Some(Look::Unknown(errno)), held);
                    continue;
                }
            };
            looker.stand_on(&ground);
            match outcome.open(looker, &directory, stored.as_ref()) {
                Ok(opened) => {
                    let (hasher, left) = opened.to_hash();
                    under_way.push(UnderWay { outcome, stored, directory, opened, hasher, left, ended: None, held });
                }
                Err(look) => told(looker, outcome, stored, Some(look), held),
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
            let UnderWay { outcome, stored, directory, opened, hasher, ended, held, .. } = ended;
            let read = ended.unwrap_or(Ok(())).map(|()| hasher.finish());
            let look = looker.show(*opened, read);
            let look = look.unwrap_or_else(|| outcome.look(looker, &directory, stored.as_ref(), false));
            told(looker, outcome, stored, Some(look), held);
        }
    }
}

/// Reads the next part of each, and takes all of them in.
fn advance<T>(looker: &mut Looker, files: &mut [UnderWay<T>]) {
    let (memory, mut filler) = looker.reading();
    let mut pieces = Vec::with_capacity(files.len());
    for (file, buffer) in files.iter_mut().zip(memory.chunks_mut(PART + PAGE)) {
        let wanted = usize::try_from(file.left).unwrap_or(PART).min(PART);
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
}
