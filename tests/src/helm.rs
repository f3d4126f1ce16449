//! The real helm, and what it makes of the chart in this tree. Reads the cache outside the checkout; builds helm there, once,
//! pinned by the Go module in tests/helm. Never touches a cluster that it was not given, nor the settings of who runs the tests.
use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    error::{Doing as _, Result},
    go_build::{GoModule, Program},
};

const PROGRAMS: &[Program] = &[Program {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    linker_flags: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
}];

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
        let program = GoModule::of_this_tree("helm", PROGRAMS, "")?.find_or_build(&["helm"])?.join("helm");
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
