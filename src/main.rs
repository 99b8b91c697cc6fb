//! The `trailship` program.

use std::process::ExitCode;

/// Runs the command line; its outcome is the exit code, and that is all that is decided here.
fn main() -> ExitCode {
    ExitCode::from(trailship::cli::main(std::env::args_os()).code())
}
