//! The command line of the bench.

use std::path::PathBuf;

use crate::rows::Row;

pub(crate) const USAGE: &str = "cargo bench-peers [--rows sys-md5,tiny,…] [--pairs 5] [--quick] [--corpora DIR] [--path DIR] [--agent FILE]

Rows: sys-md5, sys-sha256, sys-both, tripwire, tiny, big, recheck, cold, memory, ladder, hundred; without --rows, all of them, which takes
about an hour on two quiet cores, most of it the peers', and 12 GB of disk.
--pairs    so many pairs of runs a row; 5, or 1 with --quick
--quick    corpora of a hundredth: to see that it works, not how fast; targets do not hold there
--corpora  where the corpora are made once and kept, on the disk that is measured; ~/.cache/vedette/bench, or under VEDETTE_CACHE
--path     an absolute path that is compared instead of the copy of /etc and /usr; nothing may change in it meanwhile
--agent    a vedette-agent that is measured instead of a release build of this tree";

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) rows: Vec<Row>,
    pub(crate) pairs: usize,
    pub(crate) quick: bool,
    pub(crate) corpora: Option<PathBuf>,
    /// Instead of the copy of /etc and /usr.
    pub(crate) path: Option<PathBuf>,
    /// Measured instead of a release build of this tree.
    pub(crate) agent: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut parsed =
            Self { rows: Row::ALL.to_vec(), pairs: 0, quick: false, corpora: None, path: None, agent: None };
        let mut arguments = arguments;
        let absolute = |value: String| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        while let Some(flag) = arguments.next() {
            if flag == "--quick" {
                parsed.quick = true;
                continue;
            }
            let value = arguments.next()?;
            match flag.as_str() {
                "--rows" => parsed.rows = value.split(',').map(Row::parse).collect::<Option<_>>()?,
                "--pairs" => parsed.pairs = value.parse().ok().filter(|pairs| *pairs > 0)?,
                "--corpora" => parsed.corpora = Some(absolute(value)?),
                "--path" => parsed.path = Some(absolute(value)?),
                "--agent" => parsed.agent = Some(value.into()),
                _ => return None,
            }
        }
        if parsed.pairs == 0 {
            parsed.pairs = if parsed.quick { 1 } else { 5 };
        }
        Some(parsed)
    }
}
