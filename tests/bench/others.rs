//! Integrit and Tripwire, and a walk that does nothing but list and look.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vedette_tests::{Error, Result};

use crate::measured::{Measured, compile, doing, measure};

/// A database by Integrit, which keeps RIPEMD-160 of content and less of metadata.
pub(crate) fn integrit(folder: &Path, tree: &Path) -> Result<Measured> {
    let [config, known, current] = ["integrit.conf", "known.cdb", "current.cdb"].map(|name| folder.join(name));
    let text = format!("root={}\nknown={}\ncurrent={}\n", tree.display(), known.display(), current.display());
    fs::write(&config, text).map_err(doing("write Integrit's configuration"))?;
    let arguments = [OsStr::new("-C"), config.as_os_str(), OsStr::new("-u")];
    measure(folder, Path::new("integrit"), &arguments, &[0]).map(|(measured, _)| measured)
}

/// How many entries Integrit's database has, and the top, which it leaves out.
pub(crate) fn integrit_entries(folder: &Path) -> Result<u64> {
    let listed = Command::new("i-viewdb").arg(folder.join("current.cdb")).output();
    let listed = listed.map_err(doing("list Integrit's database"))?;
    Ok(String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.starts_with('/')).count() as u64 + 1)
}

/// A database by Tripwire with MD5, signed by keys of its own, as it insists.
pub(crate) fn tripwire(folder: &Path, tree: &Path) -> Result<Measured> {
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "ROOT=/usr/sbin\nPOLFILE={}\nDBFILE={}\nREPORTFILE={}\nSITEKEYFILE={}\nLOCALKEYFILE={}\nEDITOR=/bin/true\n\
         MAILMETHOD=SENDMAIL\nMAILPROGRAM=/bin/true\nSYSLOGREPORTING=false\n",
        at("tw.pol"),
        at("tw.twd"),
        at("tw.twr"),
        at("site.key"),
        at("local.key")
    );
    fs::write(at("tw.txt"), text).map_err(doing("write Tripwire's configuration"))?;
    let policy = format!("\"{}\" -> +pinugtsmcM ;\n", tree.display());
    fs::write(at("pol.txt"), policy).map_err(doing("write Tripwire's policy"))?;
    let (config, site, local) = (at("tw.cfg"), at("site.key"), at("local.key"));
    admin(&["--generate-keys", "-S", &site, "-L", &local, "-Q", "", "-P", ""])?;
    admin(&["--create-cfgfile", "-c", &config, "-S", &site, "-Q", "", &at("tw.txt")])?;
    admin(&["--create-polfile", "-c", &config, "-S", &site, "-Q", "", &at("pol.txt")])?;
    let arguments = ["--init", "-c", &config, "-P", ""].map(OsStr::new);
    measure(folder, Path::new("tripwire"), &arguments, &[0]).map(|(measured, _)| measured)
}

fn admin(arguments: &[&str]) -> Result<()> {
    let output = Command::new("twadmin").args(arguments).output().map_err(doing("run twadmin"))?;
    let told =
        || format!("twadmin {arguments:?}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    output.status.success().then_some(()).ok_or_else(|| Error::Unexpected(told()))
}

/// The yardstick of a re-check by metadata.
pub(crate) struct RawWalk(PathBuf);

impl RawWalk {
    pub(crate) fn build(folder: &Path) -> Result<Self> {
        compile("raw_walk", folder).map(Self)
    }

    /// One walk, and how many entries it met.
    pub(crate) fn run(&self, folder: &Path, tree: &Path) -> Result<(Measured, u64)> {
        let (measured, output) = measure(folder, &self.0, &[tree.as_os_str()], &[0])?;
        let entries = String::from_utf8_lossy(&output.stdout).trim().parse();
        Ok((measured, entries.map_err(|_| Error::Unexpected("raw_walk printed no number".into()))?))
    }
}
