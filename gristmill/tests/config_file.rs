//! The configuration file at the root: it lists every setting, each with its default.

use std::path::Path;

use gristmill::config::keys::flatten;
use gristmill::config::layers::defaults;
use gristmill::config::toml_tree::read_toml;
use gristmill::config::{Layers, SECTIONS, load};
use serde_json::Value;

const TEXT: &str = include_str!("../../config.toml");

#[test]
fn every_setting_is_there_with_its_default() {
    let (tree, _) = read_toml("config.toml", TEXT).expect("TOML");
    let mut said = Vec::new();
    for section in SECTIONS {
        flatten(section, tree.get(section).unwrap_or(&Value::Null), &mut said);
    }
    for (key, default) in defaults() {
        let found = said.iter().find(|(said, _)| *said == key).map(|(_, value)| value);
        match (&default, found) {
            (Value::Null, None) => {
                let name = key.rsplit('.').next().expect("a name");
                assert!(TEXT.contains(&format!("\n# {name} = ")), "`{key}` is neither set nor shown in a comment");
            }
            (_, Some(found)) => assert_eq!(*found, default, "`{key}` is not at its default"),
            (_, None) => panic!("`{key}` is missing; its default is {default}"),
        }
    }
}

#[test]
fn it_runs_as_it_stands() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.toml");
    let loaded = load(&Layers { file: Some(file), ..Layers::default() }).expect("valid");
    assert!(loaded.config.batch.is_empty());
}

#[test]
fn what_it_shows_in_comments_is_valid_too() {
    let mut uncommented = String::new();
    let mut inside = false;
    for line in TEXT.lines() {
        let bare = line.strip_prefix("# ").unwrap_or("");
        let begins = ["[kind.", "[batch.", "[limit.", "[queue."].iter().any(|section| bare.starts_with(section));
        inside = (inside || begins) && line.starts_with("# ");
        if inside {
            uncommented.push_str(bare);
            uncommented.push('\n');
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("schemas")).expect("made");
    std::fs::write(folder.path().join("schemas/invoice.json"), "{}").expect("written");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, uncommented).expect("written");
    let loaded = load(&Layers { file: Some(file), ..Layers::default() }).expect("valid");
    assert!(loaded.config.batch.contains_key("example") && loaded.config.kind.contains_key("email"));
    let limit = &loaded.config.limit["crm"];
    assert_eq!((limit.concurrency, limit.rate, limit.per_key), (Some(5), Some(100), true));
    assert!(loaded.config.queue["crm"].fair);
}
