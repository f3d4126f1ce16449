//! AIDE: its configuration, its runs, and what its database holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use vedette_tests::{Error, Result};

use crate::measured::{Measured, doing, measure};

/// What vedette-agent keeps of every item, in AIDE's words, without the digests.
const ATTRIBUTES: &str = "ftype+p+i+n+l+u+g+s+m+c+acl+xattrs+caps+e2fsattrs";
/// So many files' digests are compared.
const SAMPLE: usize = 300;

/// A file, and its digests in hex under the names that records give them.
pub(crate) type Digests = BTreeMap<PathBuf, Vec<(&'static str, String)>>;

/// What both compute of every file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashes {
    Md5,
    Sha256,
    Both,
}

impl Hashes {
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

/// AIDE at its best: with one worker or with two, whatever was faster when both were tried.
#[derive(Debug, Default)]
pub(crate) struct Best {
    pub(crate) workers: Option<usize>,
}

impl Best {
    /// A database made.
    pub(crate) fn init(&mut self, folder: &Path, tree: &Path, hashes: Hashes) -> Result<Measured> {
        if let Some(workers) = self.workers {
            return init(folder, tree, hashes, workers);
        }
        let one = init(folder, tree, hashes, 1)?;
        let two = init(folder, tree, hashes, 2)?;
        let (workers, best) = if one.wall <= two.wall { (1, one) } else { (2, two) };
        self.workers = Some(workers);
        Ok(best)
    }

    /// For the table.
    pub(crate) fn name(&self) -> String {
        format!("aide, num_workers={}", self.workers.unwrap_or(1))
    }
}

/// A database made by so many workers.
pub(crate) fn init(folder: &Path, tree: &Path, hashes: Hashes, workers: usize) -> Result<Measured> {
    let (config, database, new) = (folder.join("aide.conf"), folder.join("aide.db"), folder.join("aide.db.new"));
    let text = format!(
        "database_in=file:{}\ndatabase_out=file:{}\nnum_workers={workers}\ngzip_dbout=no\nreport_url=stdout\n{}(/|$) {ATTRIBUTES}+{}\n",
        database.display(),
        new.display(),
        literal(tree),
        hashes.aide(),
    );
    fs::write(&config, text).map_err(doing("write AIDE's configuration"))?;
    let made = run(folder, "--init")?;
    fs::rename(&new, &database).map_err(doing("put AIDE's database in its place"))?;
    Ok(made)
}

/// A check that must find nothing, as the last database was made.
pub(crate) fn check(folder: &Path) -> Result<Measured> {
    run(folder, "--check")
}

fn run(folder: &Path, what: &str) -> Result<Measured> {
    let config = folder.join("aide.conf");
    let arguments = [OsStr::new("--config"), config.as_os_str(), OsStr::new(what)];
    measure(folder, Path::new("aide"), &arguments, &[0]).map(|(measured, _)| measured)
}

/// How many entries its database has.
pub(crate) fn entries(folder: &Path) -> Result<u64> {
    Ok(lines(folder)?.1.len() as u64)
}

/// How many bytes its database has.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    Ok(fs::metadata(folder.join("aide.db")).map_err(doing("look at AIDE's database"))?.len())
}

/// A path as a regular expression that matches it alone.
fn literal(path: &Path) -> String {
    let special = |c: char| !c.is_alphanumeric() && !matches!(c, '/' | '_' | '-');
    path.display().to_string().chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// The names of the database's columns, and its lines.
fn lines(folder: &Path) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let text = fs::read_to_string(folder.join("aide.db")).map_err(doing("read AIDE's database"))?;
    let columns = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let names = text.lines().find_map(|line| line.strip_prefix("@@db_spec ")).map(columns);
    let names = names.ok_or_else(|| Error::Unexpected("AIDE's database does not say what it holds".into()))?;
    Ok((names, text.lines().filter(|line| line.starts_with('/')).map(columns).collect()))
}

/// Regular files with content and plain names, taken evenly from the database, with what it holds of them.
pub(crate) fn sample(folder: &Path, hashes: Hashes) -> Result<Digests> {
    const MOST: u64 = 1 << 30;
    let mut bytes = 0;
    let (names, lines) = lines(folder)?;
    let at = |name: &str| names.iter().position(|column| column == name);
    let wanted: &[&'static str] = match hashes {
        Hashes::Md5 => &["md5"],
        Hashes::Sha256 => &["sha256"],
        Hashes::Both => &["md5", "sha256"],
    };
    let digest = |line: &[String], name: &'static str| {
        let bytes = STANDARD.decode(line.get(at(name)?)?).ok()?;
        Some((name, bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    };
    let of = |line: &Vec<String>| {
        let path = PathBuf::from(line.first()?);
        let metadata = path.symlink_metadata().ok()?;
        let fits = metadata.is_file() && metadata.len() > 0 && bytes + metadata.len() <= MOST;
        let digests = wanted.iter().map(|name| digest(line, name)).collect::<Option<Vec<_>>>()?;
        bytes += if fits { metadata.len() } else { 0 };
        fits.then_some((path, digests))
    };
    let files = lines.len();
    let sample: Digests = lines.iter().step_by((files / SAMPLE / 2).max(1)).filter_map(of).take(SAMPLE).collect();
    if sample.is_empty() {
        return Err(Error::Unexpected("AIDE's database holds no file to sample".into()));
    }
    Ok(sample)
}
