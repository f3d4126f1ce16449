//! Programs written in Go that the tests run, built once from a module in this tree and kept in the cache outside the
//! checkout. Reads the module's files, which pin everything; produces programs. Never leaves a half-written program under its name.
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

/// One program of a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) linker_flags: &'static str,
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

/// A Go module in this tree, and where its built programs are kept.
pub(crate) struct GoModule {
    pub(crate) source: PathBuf,
    pub(crate) cache: PathBuf,
    /// All of its programs; they decide with it what is a new build.
    pub(crate) programs: &'static [Program],
    /// What helps where there is no Go, as the end of a sentence.
    pub(crate) without_go: &'static str,
    pub(crate) go: PathBuf,
    pub(crate) say: fn(&str),
}

impl GoModule {
    /// The module in `tests/{name}`; its programs are kept under that name too.
    pub(crate) fn of_this_tree(name: &str, programs: &'static [Program], without_go: &'static str) -> Result<Self> {
        Ok(Self {
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
            cache: cache_folder(|name| env::var_os(name))?.join(name),
            programs,
            without_go,
            go: "go".into(),
            say: say_past_capture,
        })
    }

    /// The folder with these programs in it, after the missing ones were built. Blocks, for minutes when it builds.
    pub(crate) fn find_or_build(&self, wanted: &[&str]) -> Result<PathBuf> {
        let folder = self.cache.join(self.key()?);
        let wanted: Vec<&Program> = self.programs.iter().filter(|program| wanted.contains(&program.name)).collect();
        let missing = |program: &&Program| !folder.join(program.name).is_file();
        if wanted.iter().any(missing) {
            fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
            let _alone = self.lock(&folder.join("lock"))?;
            for program in wanted.into_iter().filter(missing) {
                self.check_go()?;
                self.build(program, &folder)?;
            }
        }
        Ok(folder)
    }

    /// Changes with everything that decides what the programs are, so that an old cache is never taken for a new one.
    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let mut files = vec![self.source.join("go.mod"), self.source.join("go.sum")];
        files.extend(own_code(&self.source)?);
        for path in files {
            let content = fs::read(&path).doing(|| format!("read {}", path.display()))?;
            hash.update(Sha256::digest(content));
        }
        for program in self.programs {
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
                "the tests build programs and need Go {major}.{minor} or newer (see \"Prerequisites\" in README.md), \
                 but {found}{}",
                self.without_go
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
            .current_dir(&self.source)
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
            |elapsed| format!("another process builds: waiting for {} s", elapsed.as_secs()),
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

/// The Go files of the module itself, in an order of their own.
fn own_code(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).doing(what)? {
        let path = entry.doing(what)?.path();
        if path.is_dir() {
            found.extend(own_code(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "go") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// "go1.26.8" is (1, 26); a release candidate counts as its release.
fn parse_go_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Past the test runner's capture, which would keep the progress until it is over. Nobody misses it when it cannot be written.
fn say_past_capture(line: &str) {
    let _ = writeln!(io::stderr(), "prerequisites: {line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PROGRAMS: &[Program] = &[
        Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", linker_flags: "-s -w" },
        Program { name: "other", package: "other.test/other", linker_flags: "-s -w" },
    ];

    const GO: &str = r#"if [ "$1" = env ]; then echo go1.26.8; exit; fi
        while [ "$1" != -o ]; do shift; done"#;

    struct Scratch {
        folder: tempfile::TempDir,
        module: GoModule,
    }

    /// A process of its own writes it: a test beside this one that forks while the file is open here would hold it open
    /// for writing, and the system runs no file that somebody writes.
    fn write_script(path: &Path, commands: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let status = Command::new("/bin/sh").args(["-c", write, "sh", commands]).arg(path).status().unwrap();
        assert!(status.success(), "{status}");
    }

    /// A module in folders of its own; `go` is a shell script in the place of Go.
    fn scratch(go: &str) -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("module")).unwrap();
        fs::write(at("module/go.mod"), "module x").unwrap();
        fs::write(at("module/go.sum"), "").unwrap();
        write_script(&at("go"), go);
        let module = GoModule {
            source: at("module"),
            cache: at("cache"),
            programs: PROGRAMS,
            without_go: "; or do without",
            go: at("go"),
            say: |_| {},
        };
        Scratch { folder, module }
    }

    #[test]
    fn what_is_in_the_cache_is_not_built_again() {
        let mut scratch = scratch(&format!("{GO}; echo once > $2"));
        let built = scratch.module.find_or_build(&["etcd"]).unwrap();
        assert_eq!(fs::read_to_string(built.join("etcd")).unwrap(), "once\n");
        scratch.module.go = "/nonexistent/go".into();
        assert_eq!(scratch.module.find_or_build(&["etcd"]).unwrap(), built);
    }

    #[test]
    fn another_pin_or_other_code_is_another_build() {
        let scratch = scratch(&format!("{GO}; echo x > $2"));
        let mut builds = vec![scratch.module.find_or_build(&["etcd"]).unwrap()];
        fs::create_dir(scratch.module.source.join("own")).unwrap();
        for file in ["go.sum", "own/main.go"] {
            fs::write(scratch.module.source.join(file), "newer").unwrap();
            let build = scratch.module.find_or_build(&["etcd"]).unwrap();
            assert!(!builds.contains(&build), "{file}");
            builds.push(build);
        }
    }

    #[test]
    fn a_half_built_binary_is_never_used() {
        let mut scratch = scratch(&format!("{GO}; echo half > $2; echo out of disk >&2; exit 1"));
        let error = scratch.module.find_or_build(&["etcd"]).unwrap_err().to_string();
        assert!(error.starts_with("the build of etcd ended with exit status: 1"), "{error}");
        assert!(error.ends_with("out of disk"), "{error}");
        let good = scratch.folder.path().join("good-go");
        write_script(&good, &format!("{GO}; echo whole > $2"));
        scratch.module.go = good;
        let built = scratch.module.find_or_build(&["etcd"]).unwrap();
        assert_eq!(fs::read_to_string(built.join("etcd")).unwrap(), "whole\n");
    }

    #[test]
    fn a_missing_go_names_the_prerequisite() {
        let mut scratch = scratch("");
        scratch.module.go = "/nonexistent/go".into();
        let error = scratch.module.find_or_build(&["etcd"]).unwrap_err().to_string();
        assert!(error.contains("need Go 1.26 or newer (see \"Prerequisites\" in README.md)"), "{error}");
        assert!(error.contains("`/nonexistent/go` cannot be run"), "{error}");
    }

    #[test]
    fn an_old_go_names_the_prerequisite() {
        let scratch = scratch("echo go1.21.13");
        let error = scratch.module.find_or_build(&["etcd"]).unwrap_err().to_string();
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
