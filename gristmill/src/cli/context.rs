//! What every command receives: what a process works with, the output, and how the command was called.

use std::ffi::OsString;
use std::ops::Deref;
use std::sync::Arc;

use gristmill_core::trace::TraceContext;
use gristmill_service::process::operator;
use gristmill_service::{Actor, Order};

use crate::cli::backend::{Backend, Local};
use crate::cli::output::Output;
use crate::config::error::all_of;
use crate::config::show::{redact_address, redact_url};
use crate::config::{Layers, Loaded, load};
use crate::exit_code::{CommandError, Result};
use crate::extensions::Extensions;
use crate::remote::Remote;
use crate::runtime::context::{Notice, ProcessContext};

/// What every command receives. Dereferences to what any process works with: configuration, kinds, connections.
#[derive(Debug)]
pub(crate) struct CommandContext {
    process: ProcessContext,
    /// The layers that the configuration was built from.
    pub(crate) layers: Layers,
    /// Where to write.
    pub(crate) output: Output,
    /// The trace that everything this command causes belongs to.
    trace: TraceContext,
    args: Vec<OsString>,
    /// The tenant, if the command or the environment names one.
    said_tenant: Option<String>,
    /// The server that is asked instead of the store.
    remote: Option<Remote>,
}

impl Deref for CommandContext {
    type Target = ProcessContext;

    fn deref(&self) -> &ProcessContext {
        &self.process
    }
}

impl CommandContext {
    /// Creates it without opening anything yet.
    pub(crate) fn new(
        loaded: Loaded,
        layers: Layers,
        output: Output,
        tenant: String,
        extensions: Extensions,
        args: Vec<OsString>,
    ) -> Self {
        let again = layers.clone();
        let reload = Arc::new(move || load(&again));
        let notify = Arc::new(move |notice| match notice {
            Notice::Note(text) => output.note(&text),
            Notice::Warning(text) => output.warning(&text),
        });
        let process = ProcessContext::new(loaded, tenant, extensions, reload, notify);
        Self {
            process,
            layers,
            output,
            trace: gristmill_telemetry::trace::begin(),
            args,
            said_tenant: None,
            remote: None,
        }
    }

    /// The same context with the tenant as the command or the environment names it.
    pub(crate) fn saying(self, said_tenant: Option<String>) -> Self {
        Self { said_tenant, ..self }
    }

    /// The tenant, if the command or the environment names one.
    pub(crate) fn said_tenant(&self) -> Option<String> {
        self.said_tenant.clone()
    }

    /// The same context with a server that is asked instead of the store.
    pub(crate) fn asking(self, remote: Remote) -> Self {
        let process = self.process.elsewhere(remote.name());
        Self { process, remote: Some(remote), ..self }
    }

    /// The server that is asked instead of the store, if one is.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Whom the verbs ask.
    ///
    /// # Errors
    ///
    /// When the store refuses. A server is not asked yet.
    pub(crate) async fn backend(&self) -> Result<Backend<'_>> {
        match &self.remote {
            Some(remote) => Ok(Backend::Server(remote)),
            None => Ok(Backend::Store(Local { process: &self.process, service: self.process.service().await? })),
        }
    }

    /// The same context with another configuration.
    pub(crate) fn with(&self, loaded: Loaded, layers: Layers) -> Self {
        let context =
            Self::new(loaded, layers, self.output, self.tenant.clone(), self.extensions.clone(), self.args.clone());
        Self { trace: self.trace, ..context }
    }

    /// The same context with further flags of one command laid over the configuration.
    ///
    /// # Errors
    ///
    /// When a value makes no sense.
    pub(crate) fn with_flags(&self, flags: Vec<(&'static str, &'static str, String)>) -> Result<Self> {
        let mut layers = self.layers.clone();
        layers.flags.extend(flags);
        let loaded = load(&layers).map_err(all_of)?;
        Ok(self.with(loaded, layers))
    }

    /// An order of the operator who runs this command, for the tenant that it names.
    pub(crate) fn order(&self, dry_run: bool) -> Order {
        Order::new(&self.tenant, Actor::Operator(operator())).rehearsed(dry_run)
    }

    /// The trace context of this command's jobs and batches, so that everything they cause is one trace.
    pub(crate) fn trace(&self) -> String {
        self.trace.to_string()
    }

    /// How the program was called, as it would be typed.
    pub(crate) fn program(&self) -> String {
        self.args.first().map_or("gristmill".to_owned(), |program| quoted(&program.to_string_lossy()))
    }

    /// The program with the flags that lead to the same store, as it would be typed. Passwords are
    /// left out.
    pub(crate) fn program_here(&self) -> String {
        let mut program = self.program();
        if let Some(file) = &self.layers.file {
            program.push_str(&format!(" --config {}", quoted(&file.display().to_string())));
        }
        for (flag, _, value) in self.layers.flags.iter().filter(|(flag, ..)| matches!(*flag, "store" | "broker")) {
            program.push_str(&format!(" --{flag} {}", quoted(&redact_address(value))));
        }
        let mut args = self.args.iter().map(|arg| arg.to_string_lossy());
        if let Some(flag) = args.find(|arg| *arg == "--context" || arg.starts_with("--context=")) {
            let name = flag.strip_prefix("--context=").map(str::to_owned).or_else(|| Some(args.next()?.into_owned()));
            program.push_str(&format!(" --context {}", quoted(&name.unwrap_or_default())));
        }
        if self.tenant != gristmill_core::id::DEFAULT_TENANT {
            program.push_str(&format!(" --tenant {}", quoted(&self.tenant)));
        }
        program
    }

    /// The same command with other values for some flags, as it would be typed. Passwords are left out.
    pub(crate) fn again(&self, flags: &[&str]) -> String {
        let replaced: Vec<&str> = flags.iter().filter(|flag| flag.starts_with("--")).copied().collect();
        let mut words = vec![self.program()];
        let mut skip = false;
        for arg in self.args.iter().skip(1).map(|arg| arg.to_string_lossy()) {
            if std::mem::take(&mut skip) {
                continue;
            }
            if replaced.contains(&arg.as_ref()) {
                skip = true;
            } else if !replaced.iter().any(|flag| arg.starts_with(&format!("{flag}="))) {
                words.push(quoted(&redact_url(&arg)));
            }
        }
        words.extend(flags.iter().map(|word| quoted(word)));
        words.join(" ")
    }
}

/// A word quoted for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// An error that only a fault of this program explains.
pub(crate) fn internal(what: impl std::fmt::Display) -> CommandError {
    CommandError::internal(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_replaces_the_flag_that_it_changes() {
        let args = ["gristmill", "job", "list", "--after", "a", "--limit", "5", "--kind", "my kind"];
        let output = Output::new(false, true, true, crate::cli::output::Color::Never);
        let args = args.map(OsString::from).into();
        let context = CommandContext::new(
            Loaded::default(),
            Layers::default(),
            output,
            "main".to_owned(),
            Extensions::default(),
            args,
        );
        assert_eq!(context.again(&["--after", "b"]), "gristmill job list --limit 5 --kind 'my kind' --after b");
    }
}
