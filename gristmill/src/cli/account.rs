//! What the commands over users, tokens and tenants share.

use std::io::Read;
use std::path::Path;

use gristmill_service::accounts::{AccountSettings, Accounts, Passwords, Secret};
use gristmill_service::shared::Shared;

use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Result};

/// The most bytes of a file with a password.
const PASSWORD_BYTES_MAX: u64 = 4 * 1024;

/// Where links lead when the configuration does not say.
const LOCAL: &str = "http://127.0.0.1:7700";

/// The verbs over accounts, for the owner of the database.
pub(super) async fn accounts(context: &CommandContext) -> Result<Accounts> {
    let settings = context.loaded.config.accounts.clone();
    let url = if settings.url.is_empty() { LOCAL.to_owned() } else { settings.url.clone() };
    let shared = Shared::new(&context.loaded.config.cache)
        .map_err(|wrong| CommandError::usage(format!("`cache.redis` {wrong}")))?;
    let accounts = Accounts::new(context.service().await?, Passwords::default(), AccountSettings { url, ..settings });
    Ok(accounts.sharing(shared))
}

/// Reads a password from a file, or from standard input for `-`. One line end behind it does not belong to it.
///
/// # Errors
///
/// When it cannot be read, or is no text of one line.
pub(super) fn password(file: &Path) -> Result<Secret> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text))
    };
    let shown = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    read.map_err(|error| CommandError::usage(format!("the password cannot be read from {shown}: {error}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\r', '\0']) {
        return Err(CommandError::usage(format!("{shown} does not hold a password: one line, and not empty")));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("written");
            password(&file).map(|secret| secret.expose().to_owned())
        };
        assert_eq!(read("correct horse\r\n").as_deref(), Ok("correct horse"));
        assert_eq!(read(" spaces stay ").as_deref(), Ok(" spaces stay "));
        for wrong in ["", "\n", "one\ntwo\n"] {
            assert!(read(wrong).expect_err(wrong).message.contains("one line"));
        }
        password(&folder.path().join("missing")).expect_err("no file");
    }
}
