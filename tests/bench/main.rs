//! `cargo bench-peers`: a first baseline and an unchanged re-scan of one tree, by vedette-agent and by Debian's AIDE, side
//! by side on this machine. Prints Markdown; docs/performance.md holds the last output and says what it means.
//!
//! ```text
//! arguments ─► for each hash:  warm the cache ─► pairs, the first of each alternating ─► medians of ratios ─► table
//!                                                  │ vedette: scan, scan     (vedette.rs)
//!                                                  │ aide: --init, --check   (aide.rs)
//!                                                  └ each under GNU time     (measured.rs)
//! ```
//! Before anything is measured as a result, both must have seen the same entries, found nothing changed, and agree on
//! the digests of sampled files. It reads the tree, and writes to a temporary folder alone.
#![allow(clippy::print_stdout)] // printing is what it is for

mod aide;
mod measured;
mod table;
mod vedette;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use vedette_tests::{Error, Result};

use measured::{Measured, doing};

const USAGE: &str = "cargo bench-peers [--path /usr] [--pairs 5] [--hashes md5,sha256,md5+sha256] [--agent FILE]";

/// What both compute of every file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashes {
    Md5,
    Sha256,
    Both,
}

impl Hashes {
    fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256, Self::Both].into_iter().find(|hashes| hashes.aide() == text)
    }

    /// As AIDE writes them.
    pub(crate) fn aide(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Both => "md5+sha256",
        }
    }

    /// As a rule writes them.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Md5 => "Md5",
            Self::Sha256 => "Sha256",
            Self::Both => "Md5, Sha256",
        }
    }
}

/// What one program needed for the two runs.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    pub(crate) baseline: Measured,
    pub(crate) again: Measured,
    /// How many entries it has.
    pub(crate) entries: u64,
}

impl Runs {
    fn told(&self) -> String {
        let [baseline, again] =
            [self.baseline, self.again].map(|run| format!("{:.2} s ({:.2} cpu s)", run.wall, run.cpu));
        format!("{baseline}, then {again}")
    }
}

#[derive(Debug)]
struct Arguments {
    path: PathBuf,
    pairs: usize,
    hashes: Vec<Hashes>,
    /// Measured instead of a release build of this tree.
    agent: Option<PathBuf>,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut parsed = Self {
            path: "/usr".into(),
            pairs: 5,
            hashes: vec![Hashes::Md5, Hashes::Sha256, Hashes::Both],
            agent: None,
        };
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            let value = arguments.next()?;
            match flag.as_str() {
                "--path" => parsed.path = Some(PathBuf::from(value)).filter(|path| path.is_absolute())?,
                "--pairs" => parsed.pairs = value.parse().ok().filter(|pairs| *pairs > 0)?,
                "--hashes" => parsed.hashes = value.split(',').map(Hashes::parse).collect::<Option<_>>()?,
                "--agent" => parsed.agent = Some(value.into()),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match compare(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(2)
        }
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    for (program, asked) in [("aide", "--version"), ("/usr/bin/time", "--version")] {
        let found = Command::new(program).arg(asked).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            let sentence = "aide and GNU time are needed beside the agent: apt-get install -y aide time";
            return Err(Error::Prerequisite(sentence.into()));
        }
    }
    let agent = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => vedette::build()?,
    };
    table::machine(&arguments.path, &agent)?;
    for hashes in &arguments.hashes {
        let mut pairs = Vec::new();
        for number in 0..arguments.pairs {
            eprintln!("{} {}: pair {} of {}", arguments.path.display(), hashes.aide(), number + 1, arguments.pairs);
            let folder = tempfile::tempdir().map_err(doing("make a temporary folder"))?;
            warm(&arguments.path)?;
            let vedette = || vedette::run(&agent, folder.path(), &arguments.path, *hashes);
            let aide = || aide::run(folder.path(), &arguments.path, *hashes);
            // Whoever comes second finds warmer caches.
            let (vedette, aide) = if number % 2 == 0 {
                let aide = aide()?;
                (vedette()?, aide)
            } else {
                let vedette = vedette()?;
                (vedette, aide()?)
            };
            if number == 0 {
                same(&agent, folder.path(), *hashes, &vedette, &aide)?;
            }
            eprintln!("vedette {}; aide {}", vedette.told(), aide.told());
            pairs.push((vedette, aide));
        }
        table::rows(*hashes, &pairs);
    }
    table::load("at the end")
}

/// Reads all content once: neither program is to measure the disk.
fn warm(path: &std::path::Path) -> Result<()> {
    let script = r#"find "$1" -xdev -type f -print0 | xargs -0 cat > /dev/null"#;
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(path).status().map_err(doing("read the tree"))?;
    status.success().then_some(()).ok_or_else(|| Error::Unexpected(format!("reading {}: {status}", path.display())))
}

/// Both have the same entries, and the same digests of sampled files.
fn same(agent: &std::path::Path, folder: &std::path::Path, hashes: Hashes, vedette: &Runs, aide: &Runs) -> Result<()> {
    if vedette.entries != aide.entries {
        return Err(Error::Unexpected(format!(
            "vedette-agent has {} entries and aide {}: their figures cannot be compared",
            vedette.entries, aide.entries
        )));
    }
    let sample = aide::sample(folder, hashes)?;
    let differing = vedette::differing(agent, folder, hashes, &sample)?;
    if !differing.is_empty() {
        return Err(Error::Unexpected(format!("the digests of {} files differ: {differing:#?}", differing.len())));
    }
    println!(
        "\nBoth have {} entries; the digests ({}) of {} files, sampled evenly, agree.",
        vedette.entries,
        hashes.aide(),
        sample.len()
    );
    Ok(())
}
