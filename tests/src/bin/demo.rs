//! `cargo demo`: Vedette on a real control plane, in about a minute. `--real` has real nodes too; `--keep` leaves it running.
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut keep, mut real) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => keep = true,
            "--real" => real = true,
            other => {
                eprintln!("cargo demo takes --keep, --real or both, not {other}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(vedette_tests::demo::tell(keep, real)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(2)
        }
    }
}
