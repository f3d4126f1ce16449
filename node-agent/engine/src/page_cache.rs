//! Reads content without driving others' out of the page cache: what was not there before is not there afterwards, what was
//! stays.
//!
//! Where the kernel does that by itself (RWF_DONTCACHE, Linux 6.14 on ext4, xfs and others) it costs no further system call.
//! Else the cache is asked first (RWF_NOWAIT), and what had to be read from the disk is dropped again: a read whole, also
//! what was there of it behind something that was not.

use crate::mounts::MountId;
use rustix::fd::BorrowedFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, pread, preadv2};
use std::num::NonZeroU64;

/// rustix has no name for it.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Reads files, of one mount after another.
#[derive(Debug)]
pub(crate) struct PageCache {
    mount: Option<MountId>,
    way: Way,
}

/// The best that a mount can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    DontCache,
    AskFirst,
    /// For example FUSE: nothing can be known.
    Plain,
}

impl PageCache {
    pub(crate) fn new() -> Self {
        Self { mount: None, way: Way::DontCache }
    }

    /// The next file lies on this mount.
    pub(crate) fn at(&mut self, mount: MountId) {
        if self.mount != Some(mount) {
            *self = Self { mount: Some(mount), ..Self::new() };
        }
    }

    /// Reads what lies at an offset of a file of this size; perhaps less than there is room for.
    pub(crate) fn read(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        size: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        loop {
            let result = match self.way {
                Way::DontCache => preadv2(file, &mut [IoSliceMut::new(buffer)], offset, DONT_CACHE),
                Way::AskFirst => ask_first(file, offset, size, buffer),
                Way::Plain => return pread(file, buffer, offset),
            };
            match result {
                // The last of what is not supported, not known, and not let through.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.way = self.way.next(),
                result => return result,
            }
        }
    }
}

impl Way {
    fn next(self) -> Self {
        match self {
            Self::DontCache => Self::AskFirst,
            Self::AskFirst | Self::Plain => Self::Plain,
        }
    }
}

fn ask_first(file: BorrowedFd<'_>, offset: u64, size: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    if offset == 0 && (buffer.len() as u64) < size {
        // Else the kernel reads ahead, and what it brings looks as if it had been there. Advice that is not taken is none.
        let _ = fadvise(file, 0, None, Advice::Random);
    }
    let asked = preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    if !would_wait(asked, offset, size) {
        return asked;
    }
    let count = pread(file, buffer, offset)?;
    if let Some(length) = NonZeroU64::new(count as u64) {
        let _ = fadvise(file, offset, Some(length), Advice::DontNeed);
    }
    Ok(count)
}

/// Whether a read that may not wait says that it would have to: that what lies there is not in the cache.
fn would_wait(asked: Result<usize, Errno>, offset: u64, size: u64) -> bool {
    match asked {
        Err(Errno::AGAIN) => true,
        // Before Linux 5.11 that means it too, and not only the end of the file.
        Ok(0) => offset < size,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rustix::fd::AsFd;
    use std::fs::File;
    use std::io::Write;

    const PAGE: usize = 4096;
    const BUFFER: usize = 128 * 1024;

    /// A file on a disk, of which these pages are in the cache and no others.
    fn file(pages: usize, cached: impl Iterator<Item = usize>) -> (tempfile::NamedTempFile, File) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; pages * PAGE]).unwrap();
        file.as_file().sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let open = File::open(file.path()).unwrap();
        fadvise(&open, 0, None, Advice::Random).unwrap();
        for page in cached {
            pread(&open, &mut [0; PAGE], (page * PAGE) as u64).unwrap();
        }
        let fresh = File::open(file.path()).unwrap();
        (file, fresh)
    }

    fn read_all(cache: &mut PageCache, file: &File) {
        let size = file.metadata().unwrap().len();
        let (mut at, mut buffer) = (0, vec![0; BUFFER]);
        while at < size {
            let wanted = BUFFER.min((size - at) as usize);
            let count = cache.read(file.as_fd(), at, size, &mut buffer[..wanted]).unwrap();
            assert!(buffer[..count].iter().all(|byte| *byte == 7) && count > 0);
            at += count as u64;
        }
        assert_eq!(cache.read(file.as_fd(), at, size, &mut buffer).unwrap(), 0);
    }

    /// The pages that are in the cache; to ask for one brings it there.
    fn cached(path: &std::path::Path) -> Vec<usize> {
        let file = File::open(path).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        let pages = file.metadata().unwrap().len() as usize / PAGE;
        let is_cached = |page: &usize| {
            let buffer = &mut [0; 1];
            preadv2(&file, &mut [IoSliceMut::new(buffer)], (page * PAGE) as u64, ReadWriteFlags::NOWAIT) == Ok(1)
        };
        (0..pages).filter(is_cached).collect()
    }

    /// Whether files here are on a disk: what is in memory only is never dropped.
    fn is_on_disk() -> bool {
        let (named, _open) = file(1, std::iter::empty());
        let is_on_disk = cached(named.path()).is_empty();
        if !is_on_disk {
            eprintln!("SKIPPED: {} is on no disk, or its page cache cannot be asked", named.path().display());
        }
        is_on_disk
    }

    fn leaves_no_trace(way: Way, part: std::ops::Range<usize>) {
        if !is_on_disk() {
            return;
        }
        for (pages, there) in [(1, vec![]), (1, vec![0]), (7, vec![]), (2000, vec![]), (2000, part.collect())] {
            let look = || {
                let (named, open) = file(pages, there.iter().copied());
                let mut cache = PageCache { mount: None, way };
                read_all(&mut cache, &open);
                let after = cached(named.path());
                (named, cache, after)
            };
            // The kernel may take any page back at any moment: not each time.
            let has_all = |after: &[usize]| there.iter().all(|page| after.contains(page));
            let (named, cache, after) = (0..5).map(|_| look()).find(|(.., after)| has_all(after)).unwrap_or_else(look);
            if cache.way != way {
                eprintln!("SKIPPED: {way:?} is not supported on the file system of {}", named.path().display());
                return;
            }
            assert!(has_all(&after), "{way:?}, {pages} pages: what was there is gone");
            // The kernel keeps what it uses itself at that moment: pages, or what it reads of them at once.
            let more = after.len() - there.len();
            assert!(more <= BUFFER / PAGE && more < pages, "{way:?}, {pages} pages: {more} more than there were");
        }
    }

    #[test]
    fn what_the_kernel_drops_behind_us_leaves_the_cache_as_it_was() {
        leaves_no_trace(Way::DontCache, 300..700);
    }

    #[test]
    fn where_we_drop_it_ourselves_the_cache_is_as_it_was_too() {
        leaves_no_trace(Way::AskFirst, 320..700);
    }

    #[test]
    fn a_read_that_would_have_to_wait_is_no_end_of_a_file() {
        let size = 10 * PAGE as u64;
        for offset in [0, size - 1] {
            assert!(would_wait(Err(Errno::AGAIN), offset, size) && would_wait(Ok(0), offset, size), "{offset}");
            assert!(!would_wait(Ok(1), offset, size) && !would_wait(Err(Errno::IO), offset, size), "{offset}");
        }
        assert!(!would_wait(Ok(0), size, size), "its end is one");
        assert!(!would_wait(Ok(0), 0, 0), "an empty file has no other");
    }

    #[test]
    fn a_mount_that_can_do_neither_is_read_and_the_next_one_is_tried_anew() {
        let mut cache = PageCache::new();
        cache.at(1);
        // A file of the kernel's own, which cannot be read without waiting.
        let own = File::open("/proc/self/status").unwrap();
        assert!(cache.read(own.as_fd(), 0, u64::MAX, &mut [0; 64]).unwrap() > 0);
        assert_eq!(cache.way, Way::Plain);
        cache.at(1);
        assert_eq!(cache.way, Way::Plain);
        cache.at(2);
        assert_eq!(cache.way, Way::DontCache);
    }
}
