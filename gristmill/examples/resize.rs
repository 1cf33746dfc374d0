//! A program with its own kind of job: it is the whole command line, and can also resize images.
//!
//! ```sh
//! cargo run --example resize -- enqueue resize-image --payload '{"path":"a.png","width":80}' --wait
//! cargo run --example resize -- dev
//! ```

use std::process::ExitCode;
use std::time::Duration;

use gristmill::model::duration::Span;
use gristmill::model::retry::RetryPolicy;
use gristmill::{App, Context, Failure, Kind};
use serde::{Deserialize, Serialize};

/// The payload of a job.
#[derive(Debug, Serialize, Deserialize)]
struct ResizeImage {
    path: String,
    width: u32,
}

/// What a job leaves behind.
#[derive(Debug, Serialize)]
struct Resized {
    path: String,
    attempt: u32,
}

/// What the program shares with its jobs.
#[derive(Clone)]
struct Limits {
    width_max: u32,
}

impl Kind for ResizeImage {
    const NAME: &str = "resize-image";
    type Output = Resized;

    fn retry() -> RetryPolicy {
        RetryPolicy::Fixed(Span(Duration::from_secs(2)))
    }

    fn max_attempts() -> u32 {
        3
    }

    fn timeout() -> Duration {
        Duration::from_secs(60)
    }

    /// One job for each picture at a time.
    fn unique_key(&self) -> Option<String> {
        Some(format!("{}:{}", self.path, self.width))
    }

    async fn run(self, context: Context) -> Result<Resized, Failure> {
        let limits = context.state::<Limits>();
        if self.width == 0 || self.width > limits.width_max {
            let wrong = format!("width {}: it must be 1 to {}", self.width, limits.width_max);
            return Err(Failure::permanent(wrong));
        }
        // A real program would resize here. The job's id is the same for every attempt: a file
        // named by it can be written twice without harm.
        let path = format!("{}.{}.{}", self.path, self.width, context.idempotency_key());
        Ok(Resized { path, attempt: context.attempt() })
    }
}

/// The program: its kinds, and what it shares with them.
pub(crate) fn app() -> App {
    App::new().kind::<ResizeImage>().state(Limits { width_max: 4_096 })
}

fn main() -> ExitCode {
    app().main()
}
