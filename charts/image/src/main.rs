//! `vedette-image`: builds operator and agent, and writes an archive of each.

use clap::Parser;
use std::error::Error as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vedette_image::build::build;
use vedette_image::image::{AGENT, Image, Kind, OPERATOR};
use vedette_image::program::Program;
use vedette_image::{Error, Result, archive};

/// Makes container images of operator and agent, without a container engine and without a registry.
#[derive(Debug, Parser)]
#[command(
    name = "vedette-image",
    version,
    after_help = "Examples:
  cargo image                                        # both, for this processor, into target/images
  cargo image --target aarch64-unknown-linux-musl
  cargo image --operator ./vedette-operator --agent ./vedette-agent   # of programs that are there

docs/install.md says how to import the archives. Each line on standard output is an archive and the image's digest."
)]
struct CommandLine {
    /// Rust's name of a target with a static C library; rustup target add brings it
    #[arg(long, value_name = "TRIPLE", default_value_t = this_machine())]
    target: String,
    /// The cargo profile to build with
    #[arg(long, value_name = "NAME", default_value = "image")]
    profile: String,
    /// A static vedette-operator to take instead of building one
    #[arg(long, value_name = "FILE", requires = "agent", conflicts_with_all = ["target", "profile"])]
    operator: Option<PathBuf>,
    /// A static vedette-agent to take instead of building one
    #[arg(long, value_name = "FILE", requires = "operator")]
    agent: Option<PathBuf>,
    /// The commit that they are built from, for the label org.opencontainers.image.revision
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
    /// Where the archives go
    #[arg(long, value_name = "DIR", default_value = "target/images")]
    output: PathBuf,
}

fn this_machine() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut sentence = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                sentence.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let _ = writeln!(io::stderr(), "{sentence}");
            ExitCode::from(2)
        }
    }
}

fn run(line: &CommandLine) -> Result<()> {
    let (operator, agent) = match (&line.operator, &line.agent) {
        (Some(operator), Some(agent)) => (operator.clone(), agent.clone()),
        _ => {
            let built = build(&line.target, &line.profile)?;
            (built.operator, built.agent)
        }
    };
    let failed = |what: String| move |source| Error::Io { what, source };
    fs::create_dir_all(&line.output).map_err(failed(format!("make {}", line.output.display())))?;
    for (kind, program) in [(OPERATOR, operator), (AGENT, agent)] {
        let (path, digest) = image(line, kind, &program)?;
        writeln!(io::stdout(), "{} {digest}", path.display()).map_err(failed("write to standard output".into()))?;
    }
    Ok(())
}

fn image(line: &CommandLine, kind: Kind, program: &Path) -> Result<(PathBuf, String)> {
    let version = env!("CARGO_PKG_VERSION");
    let program = Program::read(program)?;
    let image = Image::of(kind, &program, version, line.revision.as_deref())?;
    let path = line.output.join(format!("{}-{version}-linux-{}.tar", kind.name, program.architecture));
    archive::write(&image, kind.name, version, &path)?;
    Ok((path, image.manifest.descriptor.digest))
}
