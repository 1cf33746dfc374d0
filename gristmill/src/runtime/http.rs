//! The API of a process: bound before the work begins, served beside it or alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_dashboard::Server;
use gristmill_dashboard::gate::settings::Auth;
use gristmill_dashboard::gate::{Api, ApiParts, Program, ServeSettings};
use gristmill_dashboard::hooks::Receiver;
use gristmill_jobs::mail::made::signing;
use gristmill_mail::signed::Signed;
use gristmill_service::accounts::{AccountError, AccountSettings, Accounts, Passwords, Providers};
use gristmill_service::audit::AuditSettings;
use gristmill_service::documents::SettingDocument;
use gristmill_service::process::operator;
use gristmill_service::retention::PrunerOptions;
use gristmill_service::shared::Shared;
use gristmill_service::{Actor, Order, Service};
use gristmill_store::StoreError;
use gristmill_telemetry::{BoundListener, Certificates, Exporter, ServerState, bind};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::runs::rehearsed;
use crate::config::{Loaded, nearest, show};
use crate::exit_code::{CommandError, Exit, Result};
use crate::extensions::Extensions;
use crate::runtime::context::ProcessContext;
use crate::runtime::metrics::{Watch, trouble};
use crate::runtime::retention::{pruner_options, queue_names};
use crate::runtime::roles::Roles;
use crate::runtime::schedules::{Served, served};
use crate::runtime::signals::Signals;

/// How often those who watch are told that the server is there. Many proxies end what is silent for half a minute.
const BEAT: Duration = Duration::from_secs(15);

/// An address that is bound but not served yet, and its certificate.
pub(crate) struct HttpServer {
    bound: BoundListener,
    tls: Option<Certificates>,
}

impl HttpServer {
    /// Binds the address of `[serve]` and reads its certificate.
    ///
    /// # Errors
    ///
    /// When the address is taken, or the certificate cannot be used.
    pub(crate) async fn prepare(context: &ProcessContext) -> Result<Self> {
        let settings = &context.loaded.config.serve;
        let tls = certificates(settings)?;
        Ok(Self { bound: bind(&settings.listen).await.map_err(trouble)?, tls })
    }

    /// The same beside other work. When the configuration does not say which address, and the usual one is taken, such as by another
    /// process like this one, that is reported, and the work goes on without.
    ///
    /// # Errors
    ///
    /// Same as [`HttpServer::prepare`] for an address that was asked for.
    pub(crate) async fn prepare_beside(context: &ProcessContext) -> Result<Option<Self>> {
        match Self::prepare(context).await {
            Ok(server) => Ok(Some(server)),
            Err(error) if error.exit == Exit::Conflict && !context.loaded.origins.contains_key("serve.listen") => {
                context.note(format!("the API is not served: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Serves until `stop`, as one of the `servers`.
    ///
    /// # Errors
    ///
    /// When the store or the broker refuses.
    pub(crate) async fn begin(
        self,
        context: &ProcessContext,
        served: Served,
        exporter: Option<Exporter>,
        servers: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<()> {
        check_security(context).await?;
        let Self { bound, tls } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = bound.addr().map(|address| format!("{scheme}://{address}")).unwrap_or_default();
        context.note(format!("API on {url}/api/v1"));
        context.note(format!("dashboard on {url}/"));
        let accounts = accounts(context, url).await?;
        let server = server(context, served, exporter, tls, accounts).await?;
        let (stop, drain) = (stop.clone(), context.loaded.config.worker.drain.0);
        servers.spawn(async move { server.serve(bound, drain, stop.cancelled_owned()).await });
        Ok(())
    }
}

/// Refuses to serve where tenants are to be kept apart by the database and would not be, or each request would fail.
async fn check_security(context: &ProcessContext) -> Result<()> {
    match context.store().await?.row_security().await? {
        Some(security) if !security.faults.is_empty() => {
            let what =
                format!("`[store] api_role` is not in force: `{}`: {}", security.role, security.faults.join("; "));
            Err(CommandError::new(Exit::Conflict, what).hint("say `gristmill db roles` as the owner of the tables"))
        }
        Some(_) | None => Ok(()),
    }
}

fn certificates(settings: &ServeSettings) -> Result<Option<Certificates>> {
    if settings.tls_cert.is_empty() {
        return Ok(None);
    }
    let read = Certificates::read(Path::new(&settings.tls_cert), Path::new(&settings.tls_key));
    read.map(Some).map_err(|error| CommandError::usage(format!("`serve.tls_cert`: {error}")))
}

async fn server(
    context: &ProcessContext,
    served: Served,
    exporter: Option<Exporter>,
    tls: Option<Certificates>,
    accounts: Accounts,
) -> Result<Server> {
    let Served { run_context, hooks } = served;
    let (config, store) = (&context.loaded.config, context.store().await?);
    let dispatcher = context.dispatcher().await?;
    let service = Service::new(Arc::clone(&store), dispatcher.clone());
    let (extensions, loaded) = (context.extensions.clone(), context.loaded.clone());
    let mail_signing = signing(&config.mail).map_err(|why| CommandError::new(Exit::Problems, why))?;
    let program = Around { kinds: context.kinds(), extensions, loaded, mail_signing };
    let api = Api::new(ApiParts {
        service: service.clone(),
        run_context: run_context.clone(),
        program: Arc::new(program),
        settings: config.serve.clone(),
        stall: config.listener.body_timeout.0,
        beat: BEAT,
        recognize: Arc::new(accounts.recognizer().clone()),
        accounts,
    });
    let exporter = exporter.filter(|_| config.serve.metrics);
    let stuck = context.stuck.clone();
    let listener = config.listener.clone();
    Ok(Server {
        api,
        hooks: Receiver { service, run_context, hooks, listener: listener.clone() },
        watched: ServerState { store, dispatcher, stuck, exporter },
        listener,
        tls,
    })
}

/// The verbs over accounts, with links that lead to `url` unless the configuration says where. As long as there is no user,
/// and everybody has to log in, the terminal shows the link by which the first one is made.
async fn accounts(context: &ProcessContext, url: String) -> Result<Accounts> {
    let config = &context.loaded.config;
    let said = config.accounts.url.clone();
    let settings = AccountSettings { url: if said.is_empty() { url } else { said }, ..config.accounts.clone() };
    let shared = Shared::new(&config.cache).map_err(|wrong| CommandError::usage(format!("`cache.redis` {wrong}")))?;
    let accounts = Accounts::new(context.service().await?, Passwords::default(), settings).sharing(shared);
    let providers = Providers::new(&config.oidc).map_err(CommandError::usage)?;
    let accounts = accounts.with_providers(providers);
    if config.serve.auth == Auth::Users {
        let order = Order::new(DEFAULT_TENANT, Actor::Program(operator()));
        match accounts.first_owner_link(&order).await {
            Ok(secret) => {
                let link = accounts.address_of(&secret);
                context
                    .note(format!("there is no user yet; the first one, who owns everything, is made once by {link}"));
            }
            Err(AccountError::Store(StoreError::Conflict(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(accounts)
}

/// What this program knows and the rooms below do not.
#[derive(Debug)]
struct Around {
    kinds: Vec<String>,
    extensions: Extensions,
    loaded: Loaded,
    mail_signing: Option<Signed>,
}

impl Program for Around {
    fn check_kind(&self, kind: &str) -> std::result::Result<(), String> {
        if self.kinds.iter().any(|known| known == kind) {
            return Ok(());
        }
        match nearest(kind, self.kinds.iter().map(String::as_str)) {
            Some(near) => Err(format!(
                "there is no kind `{kind}`; did you mean `{near}`? A kind that another program serves is announced by \
                 [kind.{kind}] in the configuration"
            )),
            None => Ok(()),
        }
    }

    fn check_payload(&self, kind: &str, payload: &Value) -> std::result::Result<(), String> {
        self.extensions.check_payload(kind, payload)
    }

    fn check_schedule(&self, name: &str, spec: &ScheduleSpec) -> std::result::Result<(), String> {
        let wrong = rehearsed("", name, spec, &self.loaded.config.batch, &self.extensions);
        wrong.map_or(Ok(()), |(key, wrong)| Err(if key.is_empty() { wrong } else { format!("`{key}`: {wrong}") }))
    }

    fn pruner_options(&self) -> PrunerOptions {
        pruner_options(&self.loaded.config, true)
    }

    fn names_queue(&self, queue: &str) -> Option<String> {
        queue_names(&self.loaded.config).remove(queue)
    }

    fn settings(&self) -> Vec<SettingDocument> {
        let settings = show::settings(&self.loaded).into_iter();
        settings.map(|show::Setting { key, value, origin }| SettingDocument { key, value, origin }).collect()
    }

    fn audit(&self) -> AuditSettings {
        self.loaded.config.audit.clone()
    }

    fn mail_signing(&self) -> Option<&Signed> {
        self.mail_signing.as_ref()
    }

    fn definitions(&self) -> BTreeMap<String, Value> {
        show::definitions(&self.loaded.config)
    }
}

/// Serves the API alone until a signal: requests that have begun are answered.
///
/// # Errors
///
/// When the address is taken, or the store or the broker refuses.
pub(crate) async fn serve(context: &ProcessContext) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let http = HttpServer::prepare(context).await?;
    let none = Roles { worker: false, scheduler: false };
    let exporter = Watch::prepare(context, none, true).await?.exporter();
    let (served, follow) = served(context)?;
    let (mut servers, stop) = (JoinSet::new(), CancellationToken::new());
    http.begin(context, served, exporter, &mut servers, &stop).await?;
    let store = context.store().await?;
    context.note(format!("serving {}; stop with Ctrl-C", store.describe()));
    tokio::select! {
        _ = signals.next() => {}
        () = follow => {}
        _ = servers.join_next() => return Err(CommandError::internal("the server ended by itself")),
    }
    context.note("stopping: what has begun is answered; once more stops at once");
    stop.cancel();
    tokio::select! {
        _ = async { while servers.join_next().await.is_some() {} } => Ok(Exit::Success),
        exit = signals.next() => Ok(exit),
    }
}
