//! The program, as `src/main.rs` has it, for `tests/image/run` to link statically.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(trailship::cli::main(std::env::args_os()).code())
}
