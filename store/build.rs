//! Embeds the migrations: writes a list of the files below `migrations/`, each with its number and its name.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../migrations");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../migrations");
    let mut code = String::new();
    for (list, folder) in [("POSTGRES", "postgres"), ("SQLITE", "sqlite")] {
        writeln!(code, "pub(super) const {list}: &[(i64, &str, &str)] = &[")?;
        for (number, name, path) in migrations(&root.join(folder))? {
            writeln!(code, "    ({number}, {name:?}, include_str!({path:?})),")?;
        }
        writeln!(code, "];")?;
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("migrations.rs"), code)?;
    Ok(())
}

/// The migrations in a folder, by number. A file `0002_some_words.sql` is number 2, `some words`.
/// A migration: its number, its name and its file.
type Migration = (i64, String, PathBuf);

fn migrations(folder: &Path) -> Result<Vec<Migration>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = file.strip_suffix(".sql").and_then(|stem| stem.split_once('_'));
        let Some((number, words)) = named else {
            return Err(format!("{}: a migration is named `0002_some_words.sql`", path.display()).into());
        };
        let number = number.parse::<i64>().map_err(|error| format!("{}: {number}: {error}", path.display()))?;
        found.push((number, words.replace('_', " "), path.canonicalize()?));
    }
    found.sort();
    Ok(found)
}
