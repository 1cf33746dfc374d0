//! From a URL to a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::address::{SqliteAddress, is_postgres};
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
        if is_postgres(url) {
            return Ok(Self::Postgres);
        }
        let wrong = |wrong: String| StoreError::Invalid(format!("the store URL {wrong}"));
        // The URL is not quoted: one with a mistyped scheme still has a password in it.
        let unknown = || wrong("is neither `sqlite://PATH` nor `postgres://USER:PASSWORD@HOST/DATABASE`".to_owned());
        let address = SqliteAddress::of(url).ok_or_else(unknown)?.map_err(wrong)?;
        if !address.for_store().map_err(wrong)? && !address.file.exists() {
            let file = address.file.display();
            return Err(wrong(format!("has `mode=rw`, and {file} does not exist; write `mode=rwc` to have it made")));
        }
        Ok(Self::Sqlite(address.file))
    }
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
    fn a_bad_url_is_answered_with_what_would_be_right_and_shows_no_password() {
        let error = Place::of("mysql://me:secret@host/db").expect_err("unknown").to_string();
        assert!(error.contains("sqlite://PATH") && !error.contains("secret"), "{error}");
        assert!(Place::of("sqlite://:memory:").expect_err("no file").to_string().contains("sqlite://gristmill.db"));
    }
}
