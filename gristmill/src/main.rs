//! The program `gristmill`: the command line with the kinds that come with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill::App::new().main()
}
