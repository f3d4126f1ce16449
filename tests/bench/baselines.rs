//! First baselines, with everything in the page cache.

use std::path::Path;

use vedette_tests::{Error, Result};

use crate::aide::{self, Best, Hashes};
use crate::bench::Bench;
use crate::corpora::Corpus;
use crate::measured::Measured;
use crate::others;
use crate::table::{Line, Spread, Target};
use crate::vedette::{self, Known};

/// A copy of /etc and /usr.
pub(crate) fn sys(bench: &Bench, hashes: Hashes, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let (wall, cpu) = match hashes {
        Hashes::Md5 => (Target::Times(12.0), Target::Times(9.0)),
        Hashes::Sha256 => (Target::Times(16.0), Target::Open),
        Hashes::Both => (Target::Times(10.0), Target::Open),
    };
    let job = format!("first baseline of sys, {}", hashes.aide());
    let Beside { best, pairs, states } = beside_aide(bench, Corpus::Sys, hashes, notes)?;
    let mut lines = vec![Line::wall(&job, &best.name(), &pairs, wall), Line::cpu(&job, &best.name(), &pairs, cpu)];
    if hashes == Hashes::Both {
        let ours: Vec<f64> = states.iter().map(|(ours, _)| *ours).collect();
        let aide = Spread::of(states.iter().map(|(_, aide)| *aide)).median;
        lines.push(Line::value(
            "state on disk, an entry with both digests",
            "bytes",
            &ours,
            150.0,
            format!("aide: {aide:.0}"),
        ));
    }
    Ok(lines)
}

/// Many small files.
pub(crate) fn tiny(bench: &Bench, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let (job, tree) = ("first baseline of tiny, md5", bench.corpora.tree(Corpus::Tiny));
    let Beside { best, pairs, .. } = beside_aide(bench, Corpus::Tiny, Hashes::Md5, notes)?;
    let aide = Line::wall(job, &best.name(), &pairs, Target::Times(14.0));
    let same = |folder: &Path, ours: &Known, _: &Measured| {
        ours.again(&[])?;
        equal(ours.entries, "integrit", others::integrit_entries(folder)?)
    };
    let pairs = bench.pairs(
        &tree,
        |folder| Known::new(&bench.agent, folder, &tree, Hashes::Md5),
        |folder| others::integrit(folder, &tree),
        same,
    )?;
    Ok(vec![aide, Line::wall(job, "integrit", &measured(&pairs), Target::Times(3.0))])
}

/// Few large files.
pub(crate) fn big(bench: &Bench, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let Beside { best, pairs, .. } = beside_aide(bench, Corpus::Big, Hashes::Md5, notes)?;
    Ok(vec![Line::wall("first baseline of big, md5", &best.name(), &pairs, Target::Times(5.0))])
}

/// A copy of /etc and /usr, beside Tripwire.
pub(crate) fn tripwire(bench: &Bench) -> Result<Vec<Line>> {
    let tree = bench.corpora.tree(Corpus::Sys);
    let pairs = bench.pairs(
        &tree,
        |folder| Known::new(&bench.agent, folder, &tree, Hashes::Md5),
        |folder| others::tripwire(folder, &tree),
        |_, ours, _| ours.again(&[]).map(drop),
    )?;
    Ok(vec![Line::wall("first baseline of sys, md5", "tripwire", &measured(&pairs), Target::Open)])
}

type Pairs = Vec<(Measured, Measured)>;

/// Runs of ours and of AIDE.
struct Beside {
    best: Best,
    pairs: Pairs,
    /// Bytes an entry of both states.
    states: Vec<(f64, f64)>,
}

fn beside_aide(bench: &Bench, corpus: Corpus, hashes: Hashes, notes: &mut Vec<String>) -> Result<Beside> {
    let tree = bench.corpora.tree(corpus);
    let mut best = Best::default();
    let mut states = Vec::new();
    let pairs = bench.pairs(
        &tree,
        |folder| Known::new(&bench.agent, folder, &tree, hashes).and_then(|known| Ok((known.bytes()?, known))),
        |folder| Ok((best.init(folder, &tree, hashes)?, aide::bytes(folder)?)),
        |folder, (_, ours), _| {
            ours.again(&[])?;
            notes.push(same(bench, folder, &tree, hashes, ours)?);
            Ok(())
        },
    )?;
    let pairs = pairs.into_iter().map(|((ours_bytes, ours), (aide, aide_bytes))| {
        let entries = ours.entries as f64;
        states.push((ours_bytes as f64 / entries, aide_bytes as f64 / entries));
        (ours.baseline, aide)
    });
    let pairs = pairs.collect();
    Ok(Beside { best, pairs, states })
}

fn measured(pairs: &[(Known, Measured)]) -> Pairs {
    pairs.iter().map(|(ours, peer)| (ours.baseline, *peer)).collect()
}

pub(crate) fn equal(ours: u64, peer: &str, theirs: u64) -> Result<()> {
    let differ = || format!("vedette-agent has {ours} entries and {peer} {theirs}: their figures cannot be compared");
    (ours == theirs).then_some(()).ok_or_else(|| Error::Unexpected(differ()))
}

/// Ours and AIDE have the same entries, and the same digests of sampled files.
pub(crate) fn same(bench: &Bench, folder: &Path, tree: &Path, hashes: Hashes, ours: &Known) -> Result<String> {
    equal(ours.entries, "aide", aide::entries(folder)?)?;
    let sample = aide::sample(folder, hashes)?;
    let differing = vedette::differing(&bench.agent, folder, hashes, &sample)?;
    if !differing.is_empty() {
        return Err(Error::Unexpected(format!("the digests of {} files differ: {differing:#?}", differing.len())));
    }
    Ok(format!(
        "{}: both have {} entries; the digests ({}) of {} files, sampled evenly, agree; a re-scan found nothing.",
        tree.file_name().unwrap_or_default().display(),
        ours.entries,
        hashes.aide(),
        sample.len()
    ))
}
