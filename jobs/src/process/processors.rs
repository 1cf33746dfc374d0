//! Chooses the processor that a definition asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gristmill_core::definition::ProcessSpec;

use super::ItemProcessor;
use super::exec::ExecFactory;
use super::http::HttpFactory;
use super::item::{AsyncItem, AsyncItemFn, CONCURRENCY_DEFAULT, CONCURRENCY_MAX};
use super::rust::{FnItem, ItemFn};
use crate::exec_policy::ExecPolicy;
use crate::pool::ItemPool;
use crate::settings::{ExecSettings, MailSettings};

/// Makes a processor for one kind of process step.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// Makes the processor for this step, once for each batch. May check, but must not work yet.
    ///
    /// # Errors
    ///
    /// What makes no sense in the specification, and what would.
    fn make(&self, spec: &ProcessSpec) -> Result<Arc<dyn ItemProcessor>, String>;
}

/// A Rust item handler that a program has registered.
#[derive(Clone)]
pub enum ItemHandler {
    /// Computes, on the threads for items.
    Sync(ItemFn),
    /// May wait, on the tokio runtime.
    Async(AsyncItemFn),
}

impl fmt::Debug for ItemHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Sync",
            Self::Async(_) => "Async",
        })
    }
}

/// The Rust handlers that a program has registered, and the factories of the other kinds.
#[derive(Clone, Default)]
pub struct Processors {
    rust: BTreeMap<String, ItemHandler>,
    exec: Option<Arc<dyn ProcessorFactory>>,
    http: Option<Arc<dyn ProcessorFactory>>,
    mail: Arc<MailSettings>,
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").field("rust", &self.rust.keys()).finish_non_exhaustive()
    }
}

impl Processors {
    /// Adds a Rust handler, or replaces the one with the same name.
    #[must_use]
    pub fn with_item(self, name: impl Into<String>, work: ItemFn) -> Self {
        self.with_handler(name, ItemHandler::Sync(work))
    }

    /// The same for a handler of either sort.
    #[must_use]
    pub fn with_handler(mut self, name: impl Into<String>, handler: ItemHandler) -> Self {
        self.rust.insert(name.into(), handler);
        self
    }

    /// Adds the programs that these settings allow, and HTTP services, whose headers may name these environment
    /// variables.
    #[must_use]
    pub fn with_outside(self, exec: &ExecSettings, env: &[String]) -> Self {
        let exec = ExecFactory::new(ExecPolicy::new(exec));
        self.with_exec(Arc::new(exec)).with_http(Arc::new(HttpFactory { env: env.to_vec() }))
    }

    /// Sets how the messages of mailings are made. Only the sender, the templates and the addresses of these settings are
    /// read here: keys that sign belong to those who send.
    #[must_use]
    pub fn with_mail(mut self, mail: &MailSettings) -> Self {
        self.mail = Arc::new(mail.clone());
        self
    }

    /// How the messages of mailings are made.
    pub(crate) fn mail(&self) -> &MailSettings {
        &self.mail
    }

    /// Sets the factory of processors for `process.exec`.
    #[must_use]
    pub fn with_exec(mut self, factory: Arc<dyn ProcessorFactory>) -> Self {
        self.exec = Some(factory);
        self
    }

    /// Sets the factory of processors for `process.http`.
    #[must_use]
    pub fn with_http(mut self, factory: Arc<dyn ProcessorFactory>) -> Self {
        self.http = Some(factory);
        self
    }

    /// Makes the processor that a step asks for.
    ///
    /// # Errors
    ///
    /// When the step asks for none, for several, or for one that this program does not have.
    pub fn make(&self, spec: &ProcessSpec, pool: &ItemPool) -> Result<Arc<dyn ItemProcessor>, String> {
        if spec.concurrency.is_some() && spec.rust.is_none() {
            return Err("`concurrency` is for `rust` handlers; for a service, write `http.concurrency`".to_owned());
        }
        match (&spec.rust, &spec.exec, &spec.http) {
            (Some(name), None, None) => self.item(name, spec.concurrency, pool),
            (None, Some(_), None) => from_factory(self.exec.as_ref(), "exec", spec),
            (None, None, Some(_)) => from_factory(self.http.as_ref(), "http", spec),
            (None, None, None) => Err("it asks for nothing; write `rust`, `exec` or `http`".to_owned()),
            _ => Err("it asks for several; write one of `rust`, `exec` and `http`".to_owned()),
        }
    }

    fn item(&self, name: &str, concurrency: Option<usize>, pool: &ItemPool) -> Result<Arc<dyn ItemProcessor>, String> {
        let handler = self.rust.get(name).ok_or_else(|| {
            let known = self.rust.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            format!("this program has no Rust item handler `{name}`; it has {known}")
        })?;
        match (handler, concurrency) {
            (ItemHandler::Sync(work), None) => Ok(Arc::new(FnItem::new(Arc::clone(work), pool.clone()))),
            (ItemHandler::Sync(_), Some(_)) => Err(format!(
                "`concurrency` is for asynchronous handlers, and `{name}` computes on the threads for items; leave it out"
            )),
            (ItemHandler::Async(_), Some(items)) if !(1..=CONCURRENCY_MAX).contains(&items) => {
                Err(format!("`concurrency` is {items}; write 1 to {CONCURRENCY_MAX}"))
            }
            (ItemHandler::Async(work), items) => {
                Ok(Arc::new(AsyncItem::new(Arc::clone(work), items.unwrap_or(CONCURRENCY_DEFAULT))))
            }
        }
    }
}

fn from_factory(
    factory: Option<&Arc<dyn ProcessorFactory>>,
    kind: &str,
    spec: &ProcessSpec,
) -> Result<Arc<dyn ItemProcessor>, String> {
    factory.ok_or_else(|| format!("this program cannot run `{kind}` steps"))?.make(spec)
}
