//! Where etcd and kube-apiserver come from. Reads `KUBEBUILDER_ASSETS` and the cache outside the checkout; builds what is
//! missing there, once, pinned by the Go module in tests/control-plane. Never leaves a half-written binary under its name.
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Doing as _, Error, Result},
    process::Process,
};

const OLDEST_GO: (u32, u32) = (1, 26);

/// A build takes minutes: without a line now and then it looks as if it hung.
const BETWEEN_PROGRESS: Duration = Duration::from_secs(15);

struct Program {
    name: &'static str,
    package: &'static str,
    linker_flags: &'static str,
}

const ETCD: Program = Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", linker_flags: "-s -w" };

/// Without its version stamped in it calls itself v0.0.0-master, and charts that ask for a minimum refuse it.
const KUBE_APISERVER: Program = Program {
    name: "kube-apiserver",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    linker_flags: "-s -w \
        -X k8s.io/component-base/version.gitVersion=v1.37.2 \
        -X k8s.io/component-base/version.gitMajor=1 \
        -X k8s.io/component-base/version.gitMinor=37 \
        -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2 \
        -X k8s.io/client-go/pkg/version.gitMajor=1 \
        -X k8s.io/client-go/pkg/version.gitMinor=37",
};

/// The two programs of a control plane, as files that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// etcd
    pub etcd: PathBuf,
    /// kube-apiserver
    pub kube_apiserver: PathBuf,
}

impl Binaries {
    /// Finds them, or builds them; a build takes 5 to 10 minutes and tells on standard error how it goes. Blocks.
    ///
    /// # Errors
    /// When `KUBEBUILDER_ASSETS` names a folder without them, when Go is missing or too old, or when the build fails.
    pub fn find_or_build() -> Result<Self> {
        Lookup::of_this_process()?.find_or_build()
    }
}

/// The folder that outlives checkouts: `VEDETTE_CACHE`, else `vedette` in the user's cache folder.
///
/// # Errors
/// When no variable says where that is.
pub(crate) fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("VEDETTE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("vedette")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/vedette")))
        .ok_or_else(|| {
            Error::Prerequisite("there is no place for the built control plane: set VEDETTE_CACHE to a folder".into())
        })
}

struct Lookup {
    assets: Option<PathBuf>,
    cache: PathBuf,
    module: PathBuf,
    go: PathBuf,
    say: fn(&str),
}

impl Lookup {
    fn of_this_process() -> Result<Self> {
        Ok(Self {
            assets: env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from),
            cache: cache_folder(|name| env::var_os(name))?.join("control-plane"),
            module: Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane"),
            go: "go".into(),
            say: say_past_capture,
        })
    }

    fn find_or_build(&self) -> Result<Binaries> {
        if let Some(assets) = &self.assets {
            let asset = |program: &Program| {
                let path = assets.join(program.name);
                if path.is_file() {
                    Ok(path)
                } else {
                    Err(Error::Prerequisite(format!(
                        "KUBEBUILDER_ASSETS is {}, but there is no {} in it: unset it, and both are built",
                        assets.display(),
                        program.name
                    )))
                }
            };
            return Ok(Binaries { etcd: asset(&ETCD)?, kube_apiserver: asset(&KUBE_APISERVER)? });
        }
        let folder = self.cache.join(self.key()?);
        let binaries = Binaries { etcd: folder.join(ETCD.name), kube_apiserver: folder.join(KUBE_APISERVER.name) };
        let complete = || binaries.etcd.is_file() && binaries.kube_apiserver.is_file();
        if !complete() {
            fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
            let _alone = self.lock(&folder.join("lock"))?;
            for program in [&ETCD, &KUBE_APISERVER] {
                if !folder.join(program.name).is_file() {
                    self.check_go()?;
                    self.build(program, &folder)?;
                }
            }
        }
        Ok(binaries)
    }

    /// Changes with everything that decides what the binaries are, so that an old cache is never taken for a new one.
    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for name in ["go.mod", "go.sum"] {
            let path = self.module.join(name);
            let content = fs::read(&path).doing(|| format!("read {}", path.display()))?;
            hash.update(Sha256::digest(content));
        }
        for program in [&ETCD, &KUBE_APISERVER] {
            hash.update(Sha256::digest(program.package));
            hash.update(Sha256::digest(program.linker_flags));
        }
        hash.update(env::consts::ARCH);
        Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn check_go(&self) -> Result<()> {
        let needed = |found: String| {
            let (major, minor) = OLDEST_GO;
            Error::Prerequisite(format!(
                "the tests build a control plane and need Go {major}.{minor} or newer (see \"Prerequisites\" in README.md), \
                 but {found}; or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver"
            ))
        };
        let output = Command::new(&self.go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .current_dir(&self.cache)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| needed(format!("`{}` cannot be run: {error}", self.go.display())))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match parse_go_version(&version) {
            Some(found) if found >= OLDEST_GO => Ok(()),
            Some(_) => Err(needed(format!("this is {version}"))),
            None => Err(needed(format!(
                "`go env GOVERSION` answers {version:?} {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
        }
    }

    fn build(&self, program: &Program, folder: &Path) -> Result<()> {
        let name = program.name;
        let log = folder.join(format!("{name}.log"));
        let unfinished = folder.join(format!("{name}.unfinished"));
        let mut command = Command::new(&self.go);
        command
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags"])
            .arg(program.linker_flags)
            .arg("-o")
            .args([unfinished.as_path(), Path::new(program.package)])
            .current_dir(&self.module)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        (self.say)(&format!("building {name} into {}, once; its output is in {}", folder.display(), log.display()));
        let begin = Instant::now();
        let mut build = Process::start(&format!("the build of {name}"), command, &log)?;
        let status =
            self.with_progress(|| build.status(), |elapsed| format!("building {name}: {} s", elapsed.as_secs()))?;
        if !status.success() {
            build.still_runs()?;
        }
        let finished = folder.join(name);
        fs::rename(&unfinished, &finished).doing(|| format!("put the built {name} at {}", finished.display()))?;
        (self.say)(&format!("built {name} in {} s", begin.elapsed().as_secs()));
        Ok(())
    }

    /// One process builds, the others wait and then find it built.
    fn lock(&self, path: &Path) -> Result<File> {
        let file = File::create(path).doing(|| format!("open {}", path.display()))?;
        self.with_progress(
            || match file.try_lock() {
                Ok(()) => Ok(Some(())),
                Err(fs::TryLockError::WouldBlock) => Ok(None),
                Err(fs::TryLockError::Error(error)) => Err(error).doing(|| format!("lock {}", path.display())),
            },
            |elapsed| format!("another process builds the control plane: waiting for {} s", elapsed.as_secs()),
        )?;
        Ok(file)
    }

    /// Asks `done` until it has an answer, and says on standard error how long that has taken.
    fn with_progress<T>(
        &self,
        mut done: impl FnMut() -> Result<Option<T>>,
        line: impl Fn(Duration) -> String,
    ) -> Result<T> {
        let begin = Instant::now();
        let mut said = begin;
        loop {
            if let Some(answer) = done()? {
                return Ok(answer);
            }
            if said.elapsed() >= BETWEEN_PROGRESS {
                said = Instant::now();
                (self.say)(&line(begin.elapsed()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// "go1.26.8" is (1, 26); a release candidate counts as its release.
fn parse_go_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Past the test runner's capture, which would keep the progress until it is over. Nobody misses it when it cannot be written.
pub(crate) fn say_past_capture(line: &str) {
    let _ = writeln!(io::stderr(), "prerequisites: {line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GO: &str = r#"if [ "$1" = env ]; then echo go1.26.8; exit; fi
        while [ "$1" != -o ]; do shift; done"#;

    struct Scratch {
        folder: tempfile::TempDir,
        lookup: Lookup,
    }

    /// A process of its own writes it: a test beside this one that forks while the file is open here would hold it open
    /// for writing, and the system runs no file that somebody writes.
    fn write_script(path: &Path, commands: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let status = Command::new("/bin/sh").args(["-c", write, "sh", commands]).arg(path).status().unwrap();
        assert!(status.success(), "{status}");
    }

    /// A lookup in folders of its own; `go` is a shell script in the place of Go.
    fn scratch(go: &str) -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("module")).unwrap();
        fs::write(at("module/go.mod"), "module x").unwrap();
        fs::write(at("module/go.sum"), "").unwrap();
        write_script(&at("go"), go);
        let lookup = Lookup { assets: None, cache: at("cache"), module: at("module"), go: at("go"), say: |_| {} };
        Scratch { folder, lookup }
    }

    #[test]
    fn assets_that_are_set_win_over_cache_and_build() {
        let mut scratch = scratch("exit 1");
        let assets = scratch.folder.path().join("assets");
        fs::create_dir(&assets).unwrap();
        for name in ["etcd", "kube-apiserver"] {
            fs::write(assets.join(name), "").unwrap();
        }
        scratch.lookup.assets = Some(assets.clone());
        let found = scratch.lookup.find_or_build().unwrap();
        assert_eq!(found.etcd, assets.join("etcd"));
        assert_eq!(found.kube_apiserver, assets.join("kube-apiserver"));
    }

    #[test]
    fn assets_without_a_binary_are_named_and_not_silently_replaced() {
        let mut scratch = scratch(&format!("{GO}; echo x > $2"));
        scratch.lookup.assets = Some(scratch.folder.path().to_owned());
        let error = scratch.lookup.find_or_build().unwrap_err().to_string();
        assert!(error.contains("there is no etcd in it"), "{error}");
    }

    #[test]
    fn what_is_in_the_cache_is_not_built_again() {
        let mut scratch = scratch(&format!("{GO}; echo once > $2"));
        let built = scratch.lookup.find_or_build().unwrap();
        assert_eq!(fs::read_to_string(&built.etcd).unwrap(), "once\n");
        scratch.lookup.go = "/nonexistent/go".into();
        assert_eq!(scratch.lookup.find_or_build().unwrap(), built);
    }

    #[test]
    fn another_pin_is_another_build() {
        let scratch = scratch(&format!("{GO}; echo x > $2"));
        let before = scratch.lookup.find_or_build().unwrap();
        fs::write(scratch.lookup.module.join("go.sum"), "newer").unwrap();
        assert_ne!(scratch.lookup.find_or_build().unwrap().etcd, before.etcd);
    }

    #[test]
    fn a_half_built_binary_is_never_used() {
        let mut scratch = scratch(&format!("{GO}; echo half > $2; echo out of disk >&2; exit 1"));
        let error = scratch.lookup.find_or_build().unwrap_err().to_string();
        assert!(error.starts_with("the build of etcd ended with exit status: 1"), "{error}");
        assert!(error.ends_with("out of disk"), "{error}");
        let good = scratch.folder.path().join("good-go");
        write_script(&good, &format!("{GO}; echo whole > $2"));
        scratch.lookup.go = good;
        let built = scratch.lookup.find_or_build().unwrap();
        assert_eq!(fs::read_to_string(built.etcd).unwrap(), "whole\n");
    }

    #[test]
    fn a_missing_go_names_the_prerequisite() {
        let mut scratch = scratch("");
        scratch.lookup.go = "/nonexistent/go".into();
        let error = scratch.lookup.find_or_build().unwrap_err().to_string();
        assert!(error.contains("need Go 1.26 or newer (see \"Prerequisites\" in README.md)"), "{error}");
        assert!(error.contains("`/nonexistent/go` cannot be run"), "{error}");
    }

    #[test]
    fn an_old_go_names_the_prerequisite() {
        let scratch = scratch("echo go1.21.13");
        let error = scratch.lookup.find_or_build().unwrap_err().to_string();
        assert!(error.contains("need Go 1.26 or newer"), "{error}");
        assert!(error.contains("this is go1.21.13"), "{error}");
    }

    #[test]
    fn go_versions_are_read_as_go_writes_them() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("go2.0"), Some((2, 0)));
        assert_eq!(parse_go_version("devel +abc"), None);
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let with = |set: &'static [(&str, &str)]| {
            cache_folder(move |name| {
                let (_, value) = set.iter().find(|(key, _)| *key == name)?;
                Some((*value).into())
            })
        };
        let all = &[("VEDETTE_CACHE", "/v"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(with(all).unwrap(), Path::new("/v"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap(), Path::new("/x/vedette"));
        assert_eq!(with(&[("VEDETTE_CACHE", ""), ("HOME", "/h")]).unwrap(), Path::new("/h/.cache/vedette"));
        assert!(with(&[]).is_err());
    }
}
