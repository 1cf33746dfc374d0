//! The benchmark by command; `make bench` builds what it needs and starts the servers.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill_bench::command::main()
}
