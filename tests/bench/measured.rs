//! One process under a meter: what it needed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

use vedette_tests::{Error, Result};

/// What a process needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Seconds on the clock.
    pub(crate) wall: f64,
    /// Seconds of processors, user and system.
    pub(crate) cpu: f64,
    /// The most memory at one time, in MiB.
    pub(crate) mib: f64,
}

/// Says what failed.
pub(crate) fn doing(what: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = what.to_owned();
    move |source| Error::Io { what, source }
}

/// What runs a program and says what it needed.
#[derive(Debug)]
pub(crate) struct Meter(PathBuf);

impl Meter {
    pub(crate) fn build(folder: &Path) -> Result<Self> {
        compile("needs", folder).map(Self)
    }

    /// Puts it where [`measure`] looks for it.
    pub(crate) fn put_into(&self, folder: &Path) -> Result<()> {
        fs::hard_link(&self.0, folder.join("needs")).map_err(doing("put the meter into a folder"))
    }
}

/// Compiles a C program that lies beside this file.
pub(crate) fn compile(name: &str, folder: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(format!("{name}.c"));
    let program = folder.join(name);
    let status = Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&program).arg(&source).status();
    let status = status.map_err(doing("run cc"))?;
    let failed = || Error::Unexpected(format!("cc {} ended with {status}", source.display()));
    status.success().then_some(program).ok_or_else(failed)
}

/// Runs a program to its end, which must be one of these exit codes; the folder has a meter in it.
pub(crate) fn measure(
    folder: &Path,
    program: &Path,
    arguments: &[&OsStr],
    codes: &[i32],
) -> Result<(Measured, Output)> {
    let needs = folder.join("needed");
    let output = Command::new(folder.join("needs")).arg(&needs).arg(program).args(arguments).output();
    let output = output.map_err(doing(&format!("run {}", program.display())))?;
    if !output.status.code().is_some_and(|code| codes.contains(&code)) {
        return Err(Error::Unexpected(format!(
            "{} {arguments:?} ended with {}: {}{}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = fs::read_to_string(&needs).map_err(doing("read what the meter wrote"))?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [wall, cpu, kib] = numbers[..] else {
        return Err(Error::Unexpected(format!("the meter wrote {text:?}")));
    };
    let measured = Measured { wall, cpu, mib: kib / 1024.0 };
    let name = program.file_name().unwrap_or_default().display();
    eprintln!("  {name}: {:.2} s, {:.2} cpu s, {:.0} MiB", measured.wall, measured.cpu, measured.mib);
    Ok((measured, output))
}
