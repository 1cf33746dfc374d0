//! The program `gristmill` with failpoints in it: what the fault campaign runs. It knows one kind more, whose jobs do
//! nothing: a backlog of a million of them measures what Gristmill itself costs.

use std::process::ExitCode;

use gristmill::{Context, Failure, Kind};
use serde::{Deserialize, Serialize};

/// A job that does nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Grain {
    number: u64,
}

impl Kind for Grain {
    const NAME: &str = "grain";
    type Output = u64;

    async fn run(self, _context: Context) -> Result<u64, Failure> {
        Ok(self.number)
    }
}

fn main() -> ExitCode {
    gristmill::App::new().kind::<Grain>().main()
}
