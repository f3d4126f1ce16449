//! One process under GNU time: what it needed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;
use std::{fs, io};

use vedette_tests::{Error, Result};

/// What a process needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Seconds on the clock: ours, for GNU time knows hundredths alone.
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

/// Runs a program to its end, which must be one of these exit codes.
pub(crate) fn measure(
    folder: &Path,
    program: &Path,
    arguments: &[&OsStr],
    codes: &[i32],
) -> Result<(Measured, Output)> {
    let times = folder.join("times");
    let mut command = Command::new("/usr/bin/time");
    command.args(["--quiet", "--format", "%U %S %M", "--output"]).arg(&times).arg(program).args(arguments);
    let began = Instant::now();
    let output = command.output().map_err(doing(&format!("run {}", program.display())))?;
    let wall = began.elapsed().as_secs_f64();
    if !output.status.code().is_some_and(|code| codes.contains(&code)) {
        return Err(Error::Unexpected(format!(
            "{} {arguments:?} ended with {}: {}{}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = fs::read_to_string(&times).map_err(doing("read what GNU time wrote"))?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [user, system, kib] = numbers[..] else {
        return Err(Error::Unexpected(format!("GNU time wrote {text:?}")));
    };
    let measured = Measured { wall, cpu: user + system, mib: kib / 1024.0 };
    let name = program.file_name().unwrap_or_default().display();
    eprintln!("  {name}: {:.2} s, {:.2} cpu s, {:.0} MiB", measured.wall, measured.cpu, measured.mib);
    Ok((measured, output))
}
