//! The fault campaign by command: `faults [--schedules N] [--seed S] [--only LEVEL] [--at-once N]`.

use std::process::ExitCode;

use gristmill_campaign::command;

fn main() -> ExitCode {
    command::main(std::env::args().skip(1))
}
