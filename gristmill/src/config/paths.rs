//! Paths in a configuration file are relative to that file's folder.

use std::path::{Path, absolute};

use gristmill_core::definition::{BatchDefinition, OneOrMany, SourceSpec};

use super::origin::{Origin, Origins};
use super::settings::Config;
use super::zoneinfo;

/// Makes every path from the file independent of where the program was started.
pub(super) fn resolve(config: &mut Config, origins: &Origins, folder: &Path) {
    let from_file = |key: &str| matches!(origins.get(key), Some(Origin::File { .. }));
    // The default is relative to the file as well, if there is one.
    if from_file("store.url") || !origins.contains_key("store.url") {
        config.store.url = sqlite_url(&config.store.url, folder);
    }
    if from_file("broker.ca_file") {
        config.broker.ca_file = config.broker.ca_file.take().map(|path| below(folder, &path));
    }
    if from_file("mail.url")
        && let Some(path) = config.mail.url.strip_prefix("folder://")
    {
        config.mail.url = format!("folder://{}", below(folder, path));
    }
    for (key, path) in [
        ("mail.password_file", &mut config.mail.password_file),
        ("mail.secret_file", &mut config.mail.secret_file),
        ("mail.ca_file", &mut config.mail.ca_file),
        ("mail.templates", &mut config.mail.templates),
        ("webhook.secret_file", &mut config.webhook.secret_file),
    ] {
        if from_file(key) {
            *path = path.take().map(|path| below(folder, &path));
        }
    }
    for relay in config.mail.relays.values_mut() {
        for path in [&mut relay.password_file, &mut relay.ca_file] {
            *path = path.take().map(|path| below(folder, &path));
        }
    }
    for (key, path) in
        [("audit.key_file", &mut config.audit.key_file), ("audit.heads_file", &mut config.audit.heads_file)]
    {
        if from_file(key) && !path.is_empty() {
            *path = below(folder, path);
        }
    }
    if from_file("scheduler.zoneinfo") && config.scheduler.zoneinfo.as_deref() != Some(zoneinfo::BUILT_IN) {
        config.scheduler.zoneinfo = config.scheduler.zoneinfo.take().map(|path| below(folder, &path));
    }
    if from_file("exec.programs") {
        // A bare name is no path, and is refused as such.
        config.exec.programs.iter_mut().filter(|program| program.contains('/')).for_each(|it| *it = far(folder, it));
    }
    if from_file("exec.dir") || config.exec.dir.is_none() {
        config.exec.dir = Some(far(folder, config.exec.dir.as_deref().unwrap_or(".")));
    }
    resolve_channels(config, folder);
    for watch in config.watch.values_mut().filter(|watch| !watch.folder.is_empty()) {
        watch.folder = far(folder, &watch.folder);
    }
    for hook in config.hook.values_mut() {
        let schema = hook.validate.as_mut().and_then(|validate| validate.schema.as_mut());
        for path in schema.into_iter().chain(&mut hook.secret_file) {
            *path = far(folder, path);
        }
    }
    for batch in config.batch.values_mut() {
        resolve_batch(batch, folder);
    }
}

fn resolve_channels(config: &mut Config, folder: &Path) {
    for channel in config.notify.values_mut() {
        for path in [&mut channel.url_file, &mut channel.token_file].into_iter().flatten() {
            *path = far(folder, path);
        }
    }
}

/// A relative `sqlite:` address below the folder; anything else as it is.
fn sqlite_url(url: &str, folder: &Path) -> String {
    match gristmill_store::sqlite_file(url) {
        Some(file) if !folder.as_os_str().is_empty() && file.is_relative() => {
            gristmill_store::sqlite_url(&folder.join(file), url)
        }
        _ => url.to_owned(),
    }
}

/// Makes a batch's paths absolute: its definition is sent to workers that were started elsewhere.
fn resolve_batch(batch: &mut BatchDefinition, folder: &Path) {
    batch.source.each(&mut |source| resolve_source(source, folder));
    if let Some(schema) = batch.validate.as_mut().and_then(|validate| validate.schema.as_mut()) {
        *schema = far(folder, schema);
    }
    for enrich in &mut batch.enrich {
        if let Some(file) = &mut enrich.file {
            *file = far(folder, file);
        }
        if let Some(sql) = &mut enrich.sql {
            sql.url = far_url(&sql.url, folder);
        }
    }
    if let Some(output) = &mut batch.output {
        for path in [&mut output.jsonl, &mut output.csv].into_iter().flatten() {
            *path = far(folder, path);
        }
    }
    if let Some(exec) = batch.process.as_mut().and_then(|process| process.exec.as_mut()) {
        // The program's arguments may be paths too: by default it starts in the file's folder.
        exec.dir = Some(far(folder, exec.dir.as_deref().unwrap_or(".")));
        if let Some(program) = exec.command.first_mut().filter(|program| program.contains('/')) {
            *program = far(folder, program);
        }
    }
}

fn resolve_source(source: &mut SourceSpec, folder: &Path) {
    let SourceSpec { csv, jsonl, fixed, sql, .. } = source;
    for list in [csv, jsonl, fixed].into_iter().flatten() {
        match list {
            OneOrMany::One(path) => *path = far(folder, path),
            OneOrMany::Many(paths) => paths.iter_mut().for_each(|path| *path = far(folder, path)),
        }
    }
    if let Some(sql) = sql {
        sql.url = far_url(&sql.url, folder);
    }
}

fn below(folder: &Path, path: &str) -> String {
    folder.join(path).display().to_string()
}

fn far(folder: &Path, path: &str) -> String {
    if path == "-" {
        return path.to_owned();
    }
    let joined = folder.join(path);
    absolute(&joined).unwrap_or(joined).display().to_string()
}

fn far_url(url: &str, folder: &Path) -> String {
    sqlite_url(url, &absolute(folder.join(".")).unwrap_or_else(|_| folder.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_database_lies_beside_the_file_that_names_it() {
        let folder = Path::new("etc");
        assert_eq!(sqlite_url("sqlite://a.db", folder), "sqlite://etc/a.db");
        assert_eq!(sqlite_url("sqlite:///var/a.db", folder), "sqlite:///var/a.db");
        assert_eq!(sqlite_url("sqlite://a.db?mode=rw", folder), "sqlite://etc/a.db?mode=rw");
        assert_eq!(sqlite_url("postgres://h/d", folder), "postgres://h/d");
        assert_eq!(sqlite_url("sqlite://a.db", Path::new("")), "sqlite://a.db");
    }
}
