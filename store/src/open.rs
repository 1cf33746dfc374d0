//! From a URL to a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Result, StoreError};
use crate::postgres::PostgresStore;
use crate::settings::Settings;
use crate::sqlite::SqliteStore;
use crate::{StoreHandle, migrations};

/// How a store is opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpenOptions {
    /// `[store]`; its `url` is ignored here.
    pub settings: Settings,
    /// Whether a broker carries ids. Only then is anything written to the outbox.
    pub with_outbox: bool,
}

/// Opens the store at a URL, ready for use: migrations are applied when the settings say so (on SQLite always).
///
/// # Errors
///
/// [`StoreError::Invalid`] when the URL is not one of ours, [`StoreError::NeedsMigration`] and [`StoreError::TooNew`]
/// when the schema does not fit, [`StoreError::Unavailable`] when it cannot be reached.
pub async fn open(url: &str, options: OpenOptions) -> Result<StoreHandle> {
    let migrate = options.settings.migrate;
    let store = connect(url, options).await?;
    if migrate || store.embedded() {
        store.migrate().await?;
    } else {
        migrations::check(&store.migrations().await?)?;
    }
    Ok(store)
}

/// Opens the store at a URL without checking its schema, in order to migrate it or to show its status.
///
/// # Errors
///
/// As for [`open`], except those about the schema.
pub async fn connect(url: &str, options: OpenOptions) -> Result<StoreHandle> {
    match Place::of(url)? {
        Place::Sqlite(path) => Ok(Arc::new(SqliteStore::connect(&path, &options.settings, options.with_outbox).await?)),
        Place::Postgres => Ok(Arc::new(PostgresStore::connect(url, &options.settings, options.with_outbox).await?)),
    }
}

/// What a URL points to.
#[derive(Debug, PartialEq)]
enum Place {
    Sqlite(PathBuf),
    Postgres,
}

impl Place {
    fn of(url: &str) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
        match path {
            Some("" | ":memory:") => Err(StoreError::Invalid(format!(
                "the store URL `{url}` names no file; write `sqlite://PATH`, such as `sqlite://gristmill.db` or `sqlite:///var/lib/gristmill.db`"
            ))),
            Some(path) => Ok(Self::Sqlite(PathBuf::from(path))),
            None => Err(StoreError::Invalid(format!(
                "the store URL `{}` is neither `sqlite://PATH` nor `postgres://USER:PASSWORD@HOST/DATABASE`",
                without_password(url)
            ))),
        }
    }
}

/// A URL as it may be shown: a URL with a mistyped scheme still has a password in it.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let shown = match rest.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => rest.to_owned(),
    };
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_relative_or_absolute() {
        assert_eq!(Place::of("sqlite://a.db").expect("relative"), Place::Sqlite(PathBuf::from("a.db")));
        assert_eq!(Place::of("sqlite:///v/a.db").expect("absolute"), Place::Sqlite(PathBuf::from("/v/a.db")));
        assert_eq!(Place::of("postgresql://h/d").expect("a server"), Place::Postgres);
    }

    #[test]
    fn a_bad_url_is_told_what_would_be_right_and_shows_no_password() {
        let error = Place::of("mysql://me:secret@host/db").expect_err("unknown").to_string();
        assert!(error.contains("sqlite://PATH") && error.contains("host/db") && !error.contains("secret"), "{error}");
        assert!(Place::of("sqlite://:memory:").expect_err("no file").to_string().contains("sqlite://gristmill.db"));
    }
}
