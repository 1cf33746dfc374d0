//! The program `gristmill` with crash points in it: what the fault campaign runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill::App::new().main()
}
