//! Debian packages that tests need and their machine need not have: fetched once and unpacked into the cache, never
//! installed. Reads apt's sources; produces a folder with the `usr` of a set of packages.
use std::{
    collections::hash_map::RandomState,
    env, fs,
    fs::File,
    hash::BuildHasher as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Doing as _, Error, Result},
    go_build::cache_folder,
};

/// Packages that are unpacked into one folder.
pub(crate) struct Packages {
    pub(crate) names: &'static [&'static str],
    /// Programs in them that have to run with `--version`, as in `usr/bin/promtool`.
    pub(crate) programs: &'static [&'static str],
}

/// runc, CNI's plugins and nft, with the libraries of nft: laid over a node's `/usr`.
pub(crate) const OF_NODES: Packages = Packages {
    names: &[
        "runc",
        "containernetworking-plugins",
        "nftables",
        "libnftables1",
        "libnftnl11",
        "libjansson4",
        "libedit2",
        "libxtables12",
    ],
    programs: &["usr/sbin/runc", "usr/sbin/nft"],
};

/// Prometheus and promtool, which need no library.
pub(crate) const PROMETHEUS: Packages =
    Packages { names: &["prometheus"], programs: &["usr/bin/prometheus", "usr/bin/promtool"] };

/// The folder with their `usr` in it, after they were fetched if they were not there. Blocks.
pub(crate) fn find_or_fetch(packages: &Packages) -> Result<PathBuf> {
    let cache = cache_folder(|name| env::var_os(name))?.join("packages");
    let folder = cache.join(key(packages)?);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).doing(|| format!("make {}", cache.display()))?;
    let lock = cache.join("lock");
    let alone = File::create(&lock).doing(|| format!("open {}", lock.display()))?;
    alone.lock().doing(|| format!("lock {}", lock.display()))?;
    if !folder.is_dir() {
        let unfinished = cache.join(format!("unfinished-{:x}", RandomState::new().hash_one(0)));
        let fetched = fetch(packages, &unfinished).and_then(|()| {
            fs::rename(unfinished.join("root"), &folder).doing(|| format!("put packages at {}", folder.display()))
        });
        fs::remove_dir_all(&unfinished).doing(|| format!("remove {}", unfinished.display()))?;
        fetched?;
    }
    Ok(folder)
}

/// Another distribution, or release, has other packages.
fn key(packages: &Packages) -> Result<String> {
    let release = fs::read("/etc/os-release").doing(|| "read /etc/os-release".into())?;
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(release));
    hash.update(packages.names.join(" "));
    hash.update(env::consts::ARCH);
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn fetch(packages: &Packages, folder: &Path) -> Result<()> {
    let names = packages.names;
    let (downloads, root, lists) = (folder.join("downloads"), folder.join("root"), folder.join("lists"));
    for made in [&downloads, &root, &lists.join("partial")] {
        fs::create_dir_all(made).doing(|| format!("make {}", made.display()))?;
    }
    let _ = writeln!(std::io::stderr(), "prerequisites: fetching {} with apt-get, once", names.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "APT::Sandbox::User=root"]).args(arguments).current_dir(&downloads);
        said(command)
    };
    let download = [&["download"][..], names].concat();
    if apt(&download).is_err() {
        // Lists of our own: those of the machine stay as old as its owner lets them be.
        let lists = format!("Dir::State::lists={}", lists.display());
        let fetched = apt(&["-o", &lists, "update"]).and_then(|()| apt(&[&["-o", &lists][..], &download].concat()));
        fetched.map_err(|said| {
            Error::Prerequisite(format!("apt-get does not give the packages {}: {said}", names.join(", ")))
        })?;
    }
    let what = || format!("list {}", downloads.display());
    for entry in fs::read_dir(&downloads).doing(what)? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").args([entry.doing(what)?.path(), root.clone()]);
        said(unpack).map_err(|said| Error::Prerequisite(format!("a package cannot be unpacked: {said}")))?;
    }
    runs(packages, &root)
}

/// A library that neither the packages nor the machine have is better found here than in the log of a test.
fn runs(packages: &Packages, root: &Path) -> Result<()> {
    let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH));
    for program in packages.programs {
        let mut command = Command::new(root.join(program));
        command.arg("--version").env("LD_LIBRARY_PATH", &libraries);
        said(command).map_err(|said| Error::Prerequisite(format!("the fetched {program} does not run: {said}")))?;
    }
    Ok(())
}

fn said(mut command: Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{name} ended with {}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim()))
}
