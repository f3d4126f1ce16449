//! The trees that are measured: made once, kept in a folder outside the checkout, and checked before they are used.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::statvfs;
use vedette_tests::{Error, Result};

use crate::arguments::Arguments;
use crate::measured::doing;

/// States, AIDE's databases and what a file system keeps for itself.
const ROOM: u64 = 3 << 30;
const BLOCK: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corpus {
    /// A copy of /etc and /usr.
    Sys,
    /// 200,000 files of 1 KiB in 5,461 directories.
    Tiny,
    /// 40 files of 64 MiB.
    Big,
    /// Empty files in directories of a thousand.
    Million,
    HundredThousand,
    TenThousand,
}

/// What a corpus consists of.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Copy(&'static [&'static str]),
    /// Each directory has four, this many levels deep; files of 1 KiB spread evenly.
    Tree {
        levels: u32,
        files: u64,
    },
    Flat {
        files: u64,
        bytes: u64,
    },
    /// Directories of a thousand empty files.
    Thousands(u64),
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    entries: u64,
    /// Of content.
    bytes: u64,
    /// On disk.
    allocated: u64,
}

pub(crate) struct Corpora {
    pub(crate) folder: PathBuf,
    quick: bool,
    /// Stands for the copy of /etc and /usr.
    path: Option<PathBuf>,
}

impl Corpus {
    fn name(self) -> &'static str {
        match self {
            Self::Sys => "sys",
            Self::Tiny => "tiny",
            Self::Big => "big",
            Self::Million => "million",
            Self::HundredThousand => "hundred-thousand",
            Self::TenThousand => "ten-thousand",
        }
    }

    fn shape(self, quick: bool) -> Shape {
        match (self, quick) {
            (Self::Sys, false) => Shape::Copy(&["/etc", "/usr"]),
            (Self::Sys, true) => Shape::Copy(&["/etc", "/usr/bin", "/usr/sbin"]),
            (Self::Tiny, false) => Shape::Tree { levels: 6, files: 200_000 },
            (Self::Tiny, true) => Shape::Tree { levels: 4, files: 10_000 },
            (Self::Big, false) => Shape::Flat { files: 40, bytes: 64 << 20 },
            (Self::Big, true) => Shape::Flat { files: 40, bytes: 4 << 20 },
            (Self::Million, false) => Shape::Thousands(1_000),
            (Self::Million, true) => Shape::Thousands(20),
            (Self::HundredThousand, false) => Shape::Thousands(100),
            (Self::HundredThousand, true) => Shape::Thousands(5),
            (Self::TenThousand, false) => Shape::Thousands(10),
            (Self::TenThousand, true) => Shape::Thousands(1),
        }
    }
}

impl Corpora {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = (arguments.corpora.clone())
            .or_else(|| set("VEDETTE_CACHE").map(|cache| cache.join("bench")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("vedette/bench")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/vedette/bench")))
            .ok_or_else(|| Error::Prerequisite("say where the corpora are to be kept: --corpora DIR".into()))?;
        let folder = if arguments.quick { folder.join("quick") } else { folder };
        fs::create_dir_all(&folder).map_err(doing(&format!("make {}", folder.display())))?;
        let folder = folder.canonicalize().map_err(doing(&format!("find {}", folder.display())))?;
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        if checkout.canonicalize().is_ok_and(|checkout| folder.starts_with(checkout)) {
            return Err(Error::Prerequisite("corpora are kept outside the checkout: choose another --corpora".into()));
        }
        Ok(Self { folder, quick: arguments.quick, path: arguments.path.clone() })
    }

    pub(crate) fn tree(&self, corpus: Corpus) -> PathBuf {
        match (&self.path, corpus) {
            (Some(path), Corpus::Sys) => path.clone(),
            _ => self.folder.join(corpus.name()),
        }
    }

    /// Makes what is missing, and checks what is there; refuses when there is no room.
    pub(crate) fn make(&self, corpora: &[Corpus]) -> Result<()> {
        let own = corpora.iter().filter(|corpus| self.path.is_none() || **corpus != Corpus::Sys);
        let (there, missing): (Vec<Corpus>, Vec<Corpus>) = own.partition(|corpus| self.tree(**corpus).exists());
        let mut needed = Extent { allocated: ROOM, ..Extent::default() };
        for corpus in &missing {
            let extent = expected(corpus.shape(self.quick))?;
            needed.entries += extent.entries;
            needed.allocated += extent.allocated;
        }
        let free = statvfs(&self.folder).map_err(|errno| doing("ask how much room there is")(errno.into()))?;
        let (bytes, inodes) = (free.f_bavail * free.f_frsize, free.f_favail);
        // A file system that has inodes as it needs them says 0.
        if bytes < needed.allocated || (inodes > 0 && inodes < needed.entries) {
            return Err(Error::Prerequisite(format!(
                "the corpora and states need {} MiB and {} inodes, {} has {} and {inodes}: choose another --corpora, or fewer --rows",
                needed.allocated >> 20,
                needed.entries,
                self.folder.display(),
                bytes >> 20,
            )));
        }
        there.iter().try_for_each(|corpus| self.check(*corpus))?;
        missing.iter().try_for_each(|corpus| self.make_one(*corpus))
    }

    fn stamp(&self, corpus: Corpus) -> PathBuf {
        self.folder.join(format!("{}.stamp", corpus.name()))
    }

    /// A tree that bears its name is complete: it is made under another one.
    fn make_one(&self, corpus: Corpus) -> Result<()> {
        let tree = self.tree(corpus);
        eprintln!("making {}, once", tree.display());
        let part = self.folder.join(format!("{}.part", corpus.name()));
        let made = |error| doing(&format!("make {}", part.display()))(error);
        if part.exists() {
            fs::remove_dir_all(&part).map_err(made)?;
        }
        let _ = fs::remove_file(self.stamp(corpus));
        fs::create_dir(&part).and_then(|()| fill(&part, corpus.shape(self.quick))).map_err(made)?;
        fs::rename(&part, &tree).map_err(made)?;
        self.check(corpus)
    }

    /// Compares a tree with what was noted when it was first seen.
    fn check(&self, corpus: Corpus) -> Result<()> {
        let (tree, stamp) = (self.tree(corpus), self.stamp(corpus));
        let extent = extent(&tree).map_err(doing(&format!("walk {}", tree.display())))?;
        let shape = corpus.shape(self.quick);
        let as_made = match shape {
            Shape::Copy(_) => true,
            _ => expected(shape)?.entries == extent.entries,
        };
        let told = format!("{} entries, {} bytes\n", extent.entries, extent.bytes);
        // What somebody else made has none: then what it holds decides, and is noted.
        let noted = fs::read_to_string(&stamp).ok();
        if !as_made || noted.as_ref().is_some_and(|noted| *noted != told) {
            return Err(Error::Unexpected(format!(
                "{} has {} and is not what was made: remove it, and it is made anew",
                tree.display(),
                told.trim()
            )));
        }
        match noted {
            Some(_) => Ok(()),
            None => fs::write(&stamp, told).map_err(doing(&format!("write {}", stamp.display()))),
        }
    }
}

/// What a corpus will take.
fn expected(shape: Shape) -> Result<Extent> {
    let folders = |levels: u32| (0..=levels).map(|level| 4_u64.pow(level)).sum::<u64>();
    Ok(match shape {
        Shape::Copy(paths) => {
            let mut all = Extent::default();
            for path in paths {
                let extent = extent(Path::new(path)).map_err(doing(&format!("walk {path}")))?;
                all.entries += extent.entries;
                all.allocated += extent.allocated;
            }
            all
        }
        Shape::Tree { levels, files } => {
            let entries = folders(levels) + files;
            Extent { entries, bytes: files << 10, allocated: entries * BLOCK }
        }
        Shape::Flat { files, bytes } => Extent { entries: files + 1, bytes: files * bytes, allocated: files * bytes },
        Shape::Thousands(folders) => {
            let entries = folders * 1_001 + 1;
            Extent { entries, bytes: 0, allocated: folders * 10 * BLOCK }
        }
    })
}

fn fill(part: &Path, shape: Shape) -> std::io::Result<()> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    match shape {
        Shape::Copy(paths) => {
            for path in paths {
                let below = path.trim_start_matches('/');
                let above = Path::new(below).parent().map_or_else(|| part.to_owned(), |above| part.join(above));
                fs::create_dir_all(&above)?;
                let status = Command::new("cp").args(["-a", "--one-file-system", path]).arg(&above).status()?;
                if !status.success() {
                    return Err(std::io::Error::other(format!("cp -a {path} ended with {status}")));
                }
            }
        }
        Shape::Tree { levels, files } => {
            let mut folders = vec![part.to_owned()];
            let mut above = 0..1;
            for _ in 0..levels {
                let below = folders.len();
                for parent in above {
                    for number in 0..4 {
                        folders.push(folders[parent].join(format!("dir{number:02}")));
                        fs::create_dir(folders.last().unwrap_or(&folders[0]))?;
                    }
                }
                above = below..folders.len();
            }
            let mut content = [0; 1 << 10];
            for (number, folder) in (0..files).zip(folders.iter().cycle()) {
                noise.fill(&mut content);
                fs::write(folder.join(format!("file{:03}.dat", number as usize / folders.len())), content)?;
            }
        }
        Shape::Flat { files, bytes } => {
            let mut content = vec![0; 1 << 20];
            for number in 1..=files {
                let mut file = File::create(part.join(format!("f{number}")))?;
                for _ in 0..bytes >> 20 {
                    noise.fill(&mut content);
                    file.write_all(&content)?;
                }
            }
        }
        Shape::Thousands(folders) => {
            for folder in 0..folders {
                let folder = part.join(format!("d{folder:04}"));
                fs::create_dir(&folder)?;
                (0..1_000).try_for_each(|file| File::create(folder.join(format!("f{file:04}"))).map(drop))?;
            }
        }
    }
    Ok(())
}

/// Counts without following links or leaving the file system; the top counts too.
fn extent(top: &Path) -> std::io::Result<Extent> {
    let first = top.symlink_metadata()?;
    let mut extent = Extent { entries: 1, bytes: 0, allocated: first.blocks() * 512 };
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            extent.entries += 1;
            extent.allocated += metadata.blocks() * 512;
            if metadata.is_file() {
                extent.bytes += metadata.len();
            }
            if metadata.is_dir() && metadata.dev() == first.dev() {
                folders.push(entry.path());
            }
        }
    }
    Ok(extent)
}

/// Content that no file system folds up and no two files share (SplitMix64).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, content: &mut [u8]) {
        for word in content.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
    }
}
