//! What does not depend on how large the host is: memory, processor time an entry, and what a change costs.

use std::fs;
use std::path::PathBuf;

use vedette_tests::Result;

use crate::aide::{self, Hashes};
use crate::baselines::equal;
use crate::bench::{Bench, warm};
use crate::corpora::Corpus;
use crate::measured::{Measured, doing};
use crate::table::{Line, Spread};
use crate::vedette::Known;

/// The most memory of a first baseline and of a re-scan.
pub(crate) fn memory(bench: &Bench) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (corpus, most) in [(Corpus::Tiny, 32.0), (Corpus::Million, 64.0)] {
        let tree = bench.corpora.tree(corpus);
        let (mut peaks, mut entries) = (Vec::new(), 0);
        for _ in 0..bench.pairs {
            let folder = bench.folder()?;
            let known = Known::new(&bench.agent, folder.path(), &tree, Hashes::Both)?;
            peaks.push(known.baseline.mib.max(known.again(&[])?.mib));
            entries = known.entries;
        }
        // Once: its memory is what its entries are.
        let folder = bench.folder()?;
        let aide = aide::init(folder.path(), &tree, Hashes::Both, 2)?;
        equal(entries, "aide", aide::entries(folder.path())?)?;
        let job = format!("peak memory, {entries} entries");
        lines.push(Line::value(&job, "MiB", &peaks, most, format!("aide: {:.0} MiB", aide.mib)));
    }
    Ok(lines)
}

/// Processor time an entry from the smallest of three trees to the largest.
pub(crate) fn ladder(bench: &Bench) -> Result<Vec<Line>> {
    // What is small is done more often, or chance decides.
    const RUNGS: [(Corpus, usize); 3] = [(Corpus::TenThousand, 10), (Corpus::HundredThousand, 2), (Corpus::Million, 1)];
    let mut jobs = [("first baseline", Vec::new()), ("re-scan", Vec::new())];
    for number in 0..bench.pairs {
        eprintln!("round {} of {}", number + 1, bench.pairs);
        let mut rungs = [[0.0; 3]; 2];
        for (rung, (corpus, times)) in RUNGS.into_iter().enumerate() {
            let tree = bench.corpora.tree(corpus);
            warm(&tree)?;
            for _ in 0..times {
                let folder = bench.folder()?;
                let known = Known::new(&bench.agent, folder.path(), &tree, Hashes::Both)?;
                let each = 1e6 / (known.entries as f64 * times as f64);
                rungs[0][rung] += known.baseline.cpu * each;
                rungs[1][rung] += known.again(&[])?.cpu * each;
            }
        }
        jobs.iter_mut().zip(rungs).for_each(|((_, rounds), rungs)| rounds.push(rungs));
    }
    let line = |(job, rounds): (&str, Vec<[f64; 3]>)| {
        let spread = Spread::of(rounds.iter().map(|rungs| {
            let (least, most) =
                rungs.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), each| (a.min(*each), b.max(*each)));
            most / least
        }));
        let median = |rung: usize| Spread::of(rounds.iter().map(|rungs| rungs[rung])).median;
        Line {
            job: format!("CPU an entry, {job} of 10,000, 100,000, 1,000,000 empty files"),
            ours: format!("{:.1} / {:.1} / {:.1} µs", median(0), median(1), median(2)),
            peer: String::new(),
            ratio: spread.told(2),
            target: "within 1.3".into(),
            reached: Some(spread.median <= 1.3),
        }
    };
    Ok(jobs.into_iter().map(line).collect())
}

/// What 100 changes cost beyond the walk that finds them.
pub(crate) fn hundred(bench: &Bench) -> Result<Vec<Line>> {
    const CHANGES: usize = 100;
    let tree = bench.corpora.tree(Corpus::Million);
    let folder = bench.folder()?;
    let known = Known::new(&bench.agent, folder.path(), &tree, Hashes::Both)?;
    let mut folders: Vec<PathBuf> = fs::read_dir(&tree)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(doing("list the tree"))?;
    folders.sort();
    let file = |number: usize| folders[number * folders.len() / CHANGES].join(format!("f{:04}", number * 10 + 5));
    let write = |content: &str| {
        (0..CHANGES).map(file).try_for_each(|path| fs::write(&path, content)).map_err(doing("change a file"))
    };
    let mut beyond = Vec::new();
    let mut changes = || -> Result<()> {
        for number in 0..bench.pairs {
            eprintln!("round {} of {}", number + 1, bench.pairs);
            let Measured { wall: unchanged, .. } = known.again(&[])?;
            write(&format!("{number}"))?;
            let Measured { wall: changed, .. } = known.changed(CHANGES)?;
            beyond.push((changed - unchanged) * 1e3);
        }
        Ok(())
    };
    let outcome = changes();
    write("")?;
    outcome?;
    let job = format!("{CHANGES} changes among {} entries, beyond the walk", known.entries);
    Ok(vec![Line::value(&job, "ms", &beyond, 20.0, String::new())])
}
