//! The program `gristmill`: the command line with its built-in kinds.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill::App::new().main()
}
