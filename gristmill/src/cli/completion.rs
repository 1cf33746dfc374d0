//! `gristmill completion SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::output::wrote;
use crate::exit_code::{Exit, Result};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill completion bash > /etc/bash_completion.d/gristmill
  gristmill completion zsh > ~/.zfunc/_gristmill
  gristmill completion fish > ~/.config/fish/completions/gristmill.fish")]
pub(crate) struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "gristmill", &mut script);
        wrote(std::io::Write::write_all(&mut std::io::stdout().lock(), &script));
        Ok(Exit::Success)
    }
}
