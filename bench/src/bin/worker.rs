//! The program `gristmill` with the kind `note` in it: what is measured is the shipped code of every command.

use std::process::ExitCode;

use gristmill_bench::note::Note;

fn main() -> ExitCode {
    gristmill::App::new().kind::<Note>().main()
}
