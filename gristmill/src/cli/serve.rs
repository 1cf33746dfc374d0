//! `gristmill serve`: the API over HTTP.

use clap::Args;

use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};
use crate::runtime::http::serve;

/// Serve the API over HTTP
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill serve
  gristmill serve --listen 127.0.0.1:8080
  curl -s http://127.0.0.1:7700/api/v1/jobs?state=dead

Work is done by `gristmill worker` and `gristmill scheduler`, or by `gristmill dev`, which serves the API too.
Hooks, health and, with `[serve] metrics`, metrics are on the same address. See docs/api.md.")]
pub(crate) struct Serve {
    /// The address
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let listen = self.listen.map(|address| ("listen", "serve.listen", address));
        let context = context.with_flags(listen.into_iter().collect())?;
        serve(&context).await
    }
}
