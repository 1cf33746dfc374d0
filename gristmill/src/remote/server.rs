//! The server of one command.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use gristmill_client::http::{Call, Server, ServerOptions, Token, Upload};
use gristmill_core::Instant;
use gristmill_service::Order;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::choose::Chosen;
use crate::cli::output::Output;
use crate::exit_code::{CommandError, Exit, Result};

/// The largest file of a token or of certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The server of one command.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(super) server: Server,
    name: String,
    protected: bool,
    /// What was typed after `--confirm`.
    confirm: Option<String>,
    pub(super) output: Output,
    /// Whether the change was announced, and confirmed where that is needed.
    agreed: OnceCell<()>,
}

impl Remote {
    /// Reads the token and the certificates, and sends nothing yet. `tenant` wins over that of the context.
    ///
    /// # Errors
    ///
    /// When the address, the token or the certificates cannot be read or make no sense.
    pub(crate) fn prepare(
        chosen: Chosen,
        tenant: Option<String>,
        confirm: Option<String>,
        output: Output,
    ) -> Result<Self> {
        let Chosen { name, entry } = chosen;
        let token = entry.token_file.as_deref().map(|path| read("token", path)).transpose()?;
        let ca = entry.ca_file.as_deref().map(|path| read("authority", path)).transpose()?;
        let options = ServerOptions {
            token: token.map(|bytes| Token::new(String::from_utf8_lossy(&bytes))),
            ca,
            tenant: tenant.or(entry.tenant),
            in_the_clear: entry.in_the_clear,
            ..ServerOptions::new(entry.url)
        };
        let server = Server::new(&options)?;
        Ok(Self { server, name, protected: entry.protected, confirm, output, agreed: OnceCell::new() })
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The time on its clock.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub(crate) async fn now(&self) -> Result<Instant> {
        Ok(self.server.clock().await?)
    }

    /// Asks for a document.
    ///
    /// # Errors
    ///
    /// What the server answers, or that it does not.
    pub(crate) async fn look<T: DeserializeOwned>(&self, call: &Call) -> Result<T> {
        Ok(self.server.send(call).await?)
    }

    /// Asks for a whole list.
    ///
    /// # Errors
    ///
    /// Same as [`Remote::look`].
    pub(crate) async fn all<T: DeserializeOwned>(&self, call: &Call) -> Result<Vec<T>> {
        Ok(self.server.all(call).await?)
    }

    /// Asks for a stream, and gives its pieces away as they come.
    ///
    /// # Errors
    ///
    /// Same as [`Remote::look`], and those of `take`.
    pub(crate) async fn download(
        &self,
        call: &Call,
        take: impl FnMut(&[u8]) -> std::result::Result<(), String> + Send,
    ) -> Result<()> {
        Ok(self.server.download(call, take).await?)
    }

    /// Asks for a file of which the first bytes are there already, and gives its pieces away as they come, each with the
    /// number of bytes before it.
    ///
    /// # Errors
    ///
    /// Same as [`Remote::look`], and those of `take`.
    pub(crate) async fn download_rest(
        &self,
        call: &Call,
        have: (u64, &str),
        take: impl FnMut(u64, &[u8]) -> std::result::Result<(), String> + Send,
    ) -> Result<()> {
        Ok(self.server.download_rest(call, have, take).await?)
    }

    /// Changes something, or only says what would change.
    ///
    /// # Errors
    ///
    /// Same as [`Remote::look`]; and when the name of a protected server was not typed.
    pub(crate) async fn change<T: DeserializeOwned>(&self, call: Call, order: &Order) -> Result<T> {
        self.agree(order).await?;
        Ok(self.server.send(&ordered(call, order)).await?)
    }

    /// Changes something by a body that is sent while it is read or made.
    ///
    /// # Errors
    ///
    /// Same as [`Remote::change`], and those of the body.
    pub(crate) async fn upload<T: DeserializeOwned>(&self, call: Call, order: &Order, upload: Upload) -> Result<T> {
        self.agree(order).await?;
        Ok(self.server.upload(&ordered(call, order), upload).await?)
    }

    /// Says once which server is about to be changed, and asks for its name where that is needed.
    pub(super) async fn agree(&self, order: &Order) -> Result<()> {
        let agree = || async {
            self.output.note(&format!("on {}", self.describe()));
            if self.protected && !order.dry_run { self.confirmed() } else { Ok(()) }
        };
        // A rehearsal agrees to nothing.
        if order.dry_run { agree().await } else { self.agreed.get_or_try_init(agree).await.copied() }
    }

    fn describe(&self) -> String {
        let address = self.server.address();
        if self.name == address { address } else { format!("{} ({address})", self.name) }
    }

    fn confirmed(&self) -> Result<()> {
        let name = &self.name;
        let right = format!("--confirm={name}");
        match &self.confirm {
            Some(typed) if typed == name => return Ok(()),
            Some(typed) => {
                let wrong = format!("--confirm={typed} is not the name of the context: nothing was changed");
                return Err(CommandError::usage(wrong).hint(format!("it would be {right}")));
            }
            None => {}
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(CommandError::usage(format!("the context `{name}` is protected: nothing was changed"))
                .hint(format!("add {right}")));
        }
        let mut typed = String::new();
        let mut screen = std::io::stderr();
        let asked = write!(screen, "`{name}` is protected; type its name to go on: ").and_then(|()| screen.flush());
        let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut typed));
        match read {
            Ok(_) if typed.trim() == name => Ok(()),
            _ => Err(CommandError::new(Exit::Cancelled, "that is not its name: nothing was changed")),
        }
    }
}

/// The request with what the order says of it.
fn ordered(call: Call, order: &Order) -> Call {
    call.flag("dry_run", order.dry_run).maybe("reason", order.reason.as_ref())
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let wrong = |error: String| CommandError::usage(format!("the file of the {what}, `{shown}`, {error}"));
    let about = std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("has {} bytes", about.len())));
    }
    std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))
}
