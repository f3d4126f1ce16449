//! What all rows stand on: the agent, the corpora, how many pairs; and how pairs are run.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vedette_tests::{Error, Result};

use crate::arguments::Arguments;
use crate::corpora::{Corpora, Corpus};
use crate::measured::{Meter, doing};
use crate::vedette;

pub(crate) struct Bench {
    pub(crate) agent: PathBuf,
    pub(crate) corpora: Corpora,
    pub(crate) pairs: usize,
    meter: Meter,
    /// Gone with it.
    _tools: TempDir,
}

impl Bench {
    /// Builds the agent and makes what corpora are missing.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let corpora = Corpora::new(arguments)?;
        let mut wanted: Vec<Corpus> = Vec::new();
        for corpus in arguments.rows.iter().flat_map(|row| row.corpora()) {
            if !wanted.contains(corpus) {
                wanted.push(*corpus);
            }
        }
        corpora.make(&wanted)?;
        let agent = match &arguments.agent {
            Some(agent) => agent.canonicalize().map_err(doing(&format!("find {}", agent.display())))?,
            None => vedette::build()?,
        };
        let tools = tempfile::tempdir_in(&corpora.folder).map_err(doing("make a temporary folder"))?;
        Ok(Self { agent, corpora, pairs: arguments.pairs, meter: Meter::build(tools.path())?, _tools: tools })
    }

    /// A folder for states and databases, on the disk that the corpora are on: what is in memory would cost nothing to write.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        let folder = tempfile::tempdir_in(&self.corpora.folder).map_err(doing("make a temporary folder"))?;
        self.meter.put_into(folder.path())?;
        Ok(folder)
    }

    /// Pairs of runs on a tree that is in the page cache, each in a folder of its own, that alternate who begins.
    pub(crate) fn pairs<A, B>(
        &self,
        tree: &Path,
        mut ours: impl FnMut(&Path) -> Result<A>,
        mut peer: impl FnMut(&Path) -> Result<B>,
        mut check: impl FnMut(&Path, &A, &B) -> Result<()>,
    ) -> Result<Vec<(A, B)>> {
        let mut pairs = Vec::new();
        for number in 0..self.pairs {
            eprintln!("pair {} of {}", number + 1, self.pairs);
            let folder = self.folder()?;
            warm(tree)?;
            let pair = if number % 2 == 0 {
                let peer = peer(folder.path())?;
                (ours(folder.path())?, peer)
            } else {
                let ours = ours(folder.path())?;
                (ours, peer(folder.path())?)
            };
            if number == 0 {
                check(folder.path(), &pair.0, &pair.1)?;
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// Reads all content.
pub(crate) const CAT: &str = r#"find "$0" -xdev -type f -print0 | xargs -0 cat > /dev/null"#;

/// Reads all content once: neither program is to measure the disk.
pub(crate) fn warm(tree: &Path) -> Result<()> {
    let status = Command::new("sh").args(["-c", CAT]).arg(tree).status().map_err(doing("read the tree"))?;
    status.success().then_some(()).ok_or_else(|| Error::Unexpected(format!("reading {}: {status}", tree.display())))
}
