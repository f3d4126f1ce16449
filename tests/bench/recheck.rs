//! Nothing has changed: reading everything again, and looking at metadata alone.

use vedette_tests::Result;

use crate::aide::{self, Best, Hashes};
use crate::baselines::{equal, same};
use crate::bench::{Bench, warm};
use crate::corpora::Corpus;
use crate::measured::Measured;
use crate::others::RawWalk;
use crate::table::{Line, Target};
use crate::vedette::Known;

pub(crate) fn run(bench: &Bench, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let tree = bench.corpora.tree(Corpus::Sys);
    let folder = bench.folder()?;
    let folder = folder.path();
    let walk = RawWalk::build(folder)?;
    warm(&tree)?;
    let mut best = Best::default();
    best.init(folder, &tree, Hashes::Md5)?;
    let known = Known::new(&bench.agent, folder, &tree, Hashes::Md5)?;
    equal(known.entries, "raw_walk", walk.run(folder, &tree)?.1)?;
    notes.push(same(bench, folder, &tree, Hashes::Md5, &known)?);

    let (mut read, mut looked, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..bench.pairs {
        eprintln!("pair {} of {}", number + 1, bench.pairs);
        warm(&tree)?;
        let ours = || -> Result<[Measured; 2]> { Ok([known.again(&["--reread"])?, known.again(&[])?]) };
        let (([reread, metadata], walked), aide) = if number % 2 == 0 {
            let aide = aide::check(folder)?;
            let ours = ours()?;
            ((ours, walk.run(folder, &tree)?.0), aide)
        } else {
            let walked = walk.run(folder, &tree)?.0;
            ((ours()?, walked), aide::check(folder)?)
        };
        read.push((reread, aide));
        looked.push((metadata, aide));
        raw.push((metadata, walked));
    }
    let check = format!("aide --check, num_workers={}", best.workers.unwrap_or(1));
    Ok(vec![
        Line::wall("re-check of sys, all read again (`--reread`)", &check, &read, Target::Times(30.0)),
        Line::wall("re-check of sys by metadata", &check, &looked, Target::Times(200.0)),
        Line::wall("re-check of sys by metadata", "getdents + statx, 2 threads", &raw, Target::Within(1.5)),
        Line::cpu("re-check of sys by metadata", "getdents + statx, 2 threads", &raw, Target::OpenWithin),
    ])
}
