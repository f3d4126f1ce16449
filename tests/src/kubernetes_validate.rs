//! kubernetes-validate, which has the schemas of Kubernetes' own kinds in it and asks nobody. Reads the cache outside the checkout;
//! installs it there, once, from PyPI into a virtual environment, pinned by tests/kubernetes-validate.
use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Doing as _, Error, Result},
    go_build::cache_folder,
};

const REQUIREMENTS: &str = include_str!("../kubernetes-validate/requirements.txt");

/// Makes it an error that it is missing.
const REQUIRED: &str = "VEDETTE_REQUIRE_KUBERNETES_VALIDATE";

/// The program.
#[derive(Debug)]
pub struct KubernetesValidate {
    program: PathBuf,
}

impl KubernetesValidate {
    /// Finds it in the cache, or installs it there. `None`, and a line on standard error, where this machine cannot have it; with
    /// `VEDETTE_REQUIRE_KUBERNETES_VALIDATE=1` that is an error. Blocks.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn find_or_skip() -> Result<Option<Self>> {
        match Self::find_or_install() {
            Err(Error::Prerequisite(missing)) if env::var_os(REQUIRED).is_none_or(|value| value != "1") => {
                // Past what a test's output is captured by.
                let _ = writeln!(io::stderr(), "SKIPPED without kubernetes-validate: {missing}");
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn find_or_install() -> Result<Self> {
        let key: String = Sha256::digest(REQUIREMENTS)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = cache_folder(|name| env::var_os(name))?.join("kubernetes-validate").join(key);
        fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
        let lock = folder.join("lock");
        let alone = File::create(&lock).doing(|| format!("open {}", lock.display()))?;
        alone.lock().doing(|| format!("lock {}", lock.display()))?;
        let program = folder.join("venv/bin/kubernetes-validate");
        let complete = folder.join("complete");
        if !complete.is_file() {
            install(&folder)?;
            File::create(&complete).doing(|| format!("write {}", complete.display()))?;
        }
        Ok(Self { program })
    }

    /// Checks files against the schemas of a version of Kubernetes; a field that is in none is refused.
    ///
    /// # Errors
    /// When it cannot be run, or with what it says when it does not take one.
    pub fn check(&self, kubernetes: &str, files: &[PathBuf]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["--strict", "--quiet", "--kubernetes-version", kubernetes]).args(files).stdin(Stdio::null());
        let output = command.output().doing(|| format!("run {}", self.program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Unexpected(format!("not taken by Kubernetes {kubernetes}: {}", String::from_utf8_lossy(&said))))
    }
}

fn install(folder: &Path) -> Result<()> {
    let (venv, requirements) = (folder.join("venv"), folder.join("requirements.txt"));
    fs::write(&requirements, REQUIREMENTS).doing(|| format!("write {}", requirements.display()))?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run(make, "apt-get install python3-venv")?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-deps", "--requirement"]).arg(&requirements);
    run(pip, "it comes from PyPI, by pip")
}

fn run(mut command: Command, help: &str) -> Result<()> {
    let what = format!("{command:?}");
    let failed = |why: String| Err(Error::Prerequisite(format!("{what} {why} ({help})")));
    match command.stdin(Stdio::null()).output() {
        Err(error) => failed(format!("cannot be run: {error}")),
        Ok(output) if !output.status.success() => {
            let said = [output.stdout, output.stderr].concat();
            failed(format!("ended with {}: {}", output.status, String::from_utf8_lossy(&said).trim()))
        }
        Ok(_) => Ok(()),
    }
}
