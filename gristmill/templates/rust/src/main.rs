//! A program with a kind of job of its own. It is the whole command line as well:
//!
//! ```sh
//! cargo run -- enqueue greet --payload '{"name":"Ada"}' --wait
//! cargo run -- dev
//! ```

use std::process::ExitCode;

use gristmill::{App, Context, Failure, Kind};
use serde::{Deserialize, Serialize};

/// The payload of a job of kind `greet`.
#[derive(Debug, Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Kind for Greet {
    const NAME: &str = "greet";
    type Output = String;

    async fn run(self, _context: Context) -> Result<String, Failure> {
        if self.name.is_empty() {
            // No retry helps.
            return Err(Failure::permanent("`name` is empty; nobody is to be greeted"));
        }
        Ok(format!("Hello {}", self.name))
    }
}

/// The program and its kinds.
pub(crate) fn app() -> App {
    App::new().kind::<Greet>()
}

fn main() -> ExitCode {
    app().main()
}
