//! A first baseline with nothing in the page cache.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use vedette_tests::Result;

use crate::aide::{self, Hashes};
use crate::bench::{Bench, CAT};
use crate::corpora::Corpus;
use crate::measured::{Measured, doing, measure};
use crate::table::{Line, Target};
use crate::vedette::Known;

pub(crate) fn run(bench: &Bench, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let tree = bench.corpora.tree(Corpus::Sys);
    let (mut beside_aide, mut beside_cat) = (Vec::new(), Vec::new());
    let mut how = "";
    for number in 0..bench.pairs {
        eprintln!("pair {} of {}", number + 1, bench.pairs);
        let folder = bench.folder()?;
        let folder = folder.path();
        let mut cold = |run: &dyn Fn() -> Result<Measured>| {
            how = empty(&tree)?;
            run()
        };
        let ours = || Known::new(&bench.agent, folder, &tree, Hashes::Md5).map(|known| known.baseline);
        let aide = || aide::init(folder, &tree, Hashes::Md5, 2);
        let cat = || {
            let arguments = [OsStr::new("-c"), OsStr::new(CAT), tree.as_os_str()];
            measure(folder, Path::new("sh"), &arguments, &[0]).map(|(measured, _)| measured)
        };
        // Each of the three is once in the middle: a disk has its own moods.
        let (ours, aide, cat) = if number % 2 == 0 {
            let aide = cold(&aide)?;
            let ours = cold(&ours)?;
            (ours, aide, cold(&cat)?)
        } else {
            let cat = cold(&cat)?;
            let ours = cold(&ours)?;
            (ours, cold(&aide)?, cat)
        };
        beside_aide.push((ours, aide));
        beside_cat.push((ours, cat));
    }
    notes.push(format!("cold: {how}."));
    let job = "first baseline of sys, md5, cold cache";
    Ok(vec![
        Line::wall(job, "aide, num_workers=2", &beside_aide, Target::Times(2.0)),
        Line::wall(job, "one `cat` of everything", &beside_cat, Target::Within(1.0)),
    ])
}

/// Empties the page cache; says how.
fn empty(tree: &Path) -> Result<&'static str> {
    rustix::fs::sync();
    if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        return Ok("before each run sync, then 3 to /proc/sys/vm/drop_caches: contents, names and metadata are cold");
    }
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || doing(&format!("read {}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let kind = entry.file_type().map_err(reading())?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let file = File::open(entry.path()).map_err(doing(&format!("open {}", entry.path().display())))?;
                fadvise(&file, 0, None, Advice::DontNeed)
                    .map_err(|errno| doing("drop a file's pages")(errno.into()))?;
            }
        }
    }
    Ok(
        "drop_caches was not allowed: before each run posix_fadvise DONTNEED on every file, so contents are cold, names and metadata are not",
    )
}
