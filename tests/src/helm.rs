//! The real helm, and what it makes of the chart in this tree. Reads the cache outside the checkout; builds helm there, once,
//! pinned by the Go module in tests/helm. Never touches a cluster that it was not given, nor the settings of who runs the tests.
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    binaries::cache_folder,
    error::{Doing as _, Error, Result},
};

const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";
const LINKER_FLAGS: &str = "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1";

/// helm, with a home of its own.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

/// How a run of helm ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Whether it exited 0.
    pub success: bool,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// The chart in this tree.
#[must_use]
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vedette")
}

impl Helm {
    /// Finds it in the cache, or builds it there, which takes 3 to 7 minutes. Blocks.
    ///
    /// # Errors
    /// When Go is missing or the build fails: then with its output.
    pub fn find_or_build() -> Result<Self> {
        let cache = cache_folder(|name| env::var_os(name))?.join("helm");
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm");
        let folder = cache.join(key(&module)?);
        let program = folder.join("helm");
        if !program.is_file() {
            fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
            let lock = folder.join("lock");
            let alone = File::create(&lock).doing(|| format!("open {}", lock.display()))?;
            alone.lock().doing(|| format!("lock {}", lock.display()))?;
            // Another process may have built it meanwhile.
            if !program.is_file() {
                build(&module, &folder, &program)?;
            }
        }
        let home = tempfile::tempdir().doing(|| "make a home for helm".into())?;
        Ok(Self { program, home })
    }

    /// Runs it without a cluster.
    ///
    /// # Errors
    /// When it cannot be started. That it refused something is no error here.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Ran> {
        self.run_as(Path::new("/dev/null"), arguments)
    }

    /// Runs it on the cluster of a kubeconfig.
    ///
    /// # Errors
    /// When it cannot be started. That it refused something is no error here.
    pub fn run_as<A: AsRef<OsStr>>(&self, kubeconfig: &Path, arguments: impl IntoIterator<Item = A>) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HELM_") || name.starts_with("KUBE")) {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.home.path()).env("KUBECONFIG", kubeconfig);
        let output = command.output().doing(|| format!("run {}", self.program.display()))?;
        Ok(Ran {
            success: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Changes with everything that decides what is built.
fn key(module: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let path = module.join(name);
        hash.update(Sha256::digest(fs::read(&path).doing(|| format!("read {}", path.display()))?));
    }
    hash.update(LINKER_FLAGS);
    hash.update(env::consts::ARCH);
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn build(module: &Path, folder: &Path, program: &Path) -> Result<()> {
    let unfinished = folder.join("helm.unfinished");
    crate::binaries::say_past_capture(&format!("building helm into {}, once: 3 to 7 minutes", folder.display()));
    let output = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", LINKER_FLAGS, "-o"])
        .args([unfinished.as_os_str(), OsStr::new(PACKAGE)])
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Error::Prerequisite(format!("the tests build helm and need Go (see Prerequisites in README.md): {error}"))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Unexpected(format!("the build of helm ended with {}:\n{said}", output.status)));
    }
    fs::rename(&unfinished, program).doing(|| format!("put the built helm at {}", program.display()))
}
