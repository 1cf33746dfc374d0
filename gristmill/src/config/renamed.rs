//! Keys that had another name: the old one keeps working, and a warning says what to write instead.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::keys::variable_of;
use super::origin::{Origin, Origins};

/// The old name of a key and its current name; `*` stands for any name of a table.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("scheduler.batch", "scheduler.rows_max"),
    ("scheduler.sweep", "scheduler.duties.relay"),
    ("scheduler.outbox_relay", "scheduler.duties.relay"),
    ("scheduler.promote", "scheduler.duties.promote"),
    ("scheduler.rescue", "scheduler.duties.rescue"),
    ("scheduler.probe", "scheduler.duties.probe"),
    ("scheduler.reconcile", "scheduler.duties.reconcile"),
    ("kind.*.lane", "kind.*.priority"),
    ("batch.*.tolerate", "batch.*.failure_budget"),
    ("batch.*.lane", "batch.*.priority"),
    ("schedule.*.job.lane", "schedule.*.job.priority"),
    ("hook.*.job.lane", "hook.*.job.priority"),
    ("watch.*.job.lane", "watch.*.job.priority"),
];

/// Returns the key that the variable of an old key sets now, with a warning.
pub(super) fn variable(name: &str) -> Option<(&'static str, String)> {
    let (_, new) = RENAMED.iter().find(|(old, _)| !old.contains('*') && variable_of(old) == name)?;
    Some((new, format!("the variable {name} is called {} now", variable_of(new))))
}

/// Moves values from old names to the new ones, and returns a warning for each.
pub(super) fn carry(
    tree: &mut Map<String, Value>,
    origins: &mut Origins,
    errors: &mut Vec<ConfigError>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (old, new) in RENAMED {
        for (old, new) in expand(tree, old, new) {
            let Some(value) = take(tree, &old) else { continue };
            let origin = origins.remove(&old);
            if matches!((&origin, origins.get(&new)), (Some(Origin::File { .. }), Some(Origin::Env(_)))) {
                let place = origin.as_ref().map_or_else(String::new, |origin| format!("{origin}: "));
                warnings.push(format!("{place}`{old}` is called `{new}` now, and a variable sets that"));
                continue;
            }
            if get(tree, &new).is_some() {
                let what = format!("is the old name of `{new}`, which is set too: remove `{old}`");
                errors.push(ConfigError::at(origin, old, what));
                continue;
            }
            let place = origin.as_ref().map_or_else(String::new, |origin| format!("{origin}: "));
            warnings.push(format!("{place}`{old}` is called `{new}` now; the old name keeps working"));
            put(tree, &new, value);
            if let Some(origin) = origin {
                origins.insert(new, origin);
            }
        }
    }
    warnings
}

/// Both names, with each name of a table in place of `*`.
fn expand(tree: &Map<String, Value>, old: &str, new: &str) -> Vec<(String, String)> {
    let Some((section, _)) = old.split_once(".*.") else { return vec![(old.to_owned(), new.to_owned())] };
    let named = tree.get(section).and_then(Value::as_object).into_iter().flat_map(Map::keys);
    named.map(|name| (old.replace('*', name), new.replace('*', name))).collect()
}

/// Splits off the first part of a path. Names of tables may contain dots themselves, so a known key is tried first.
fn step<'p>(map: &Map<String, Value>, path: &'p str) -> Option<(&'p str, Option<&'p str>)> {
    if map.contains_key(path) {
        return Some((path, None));
    }
    let mut splits = path.match_indices('.').map(|(at, _)| (&path[..at], Some(&path[at + 1..])));
    splits.rfind(|(head, _)| map.get(*head).is_some_and(Value::is_object))
}

fn get<'t>(tree: &'t Map<String, Value>, path: &str) -> Option<&'t Value> {
    match step(tree, path)? {
        (key, None) => tree.get(key),
        (head, Some(rest)) => get(tree.get(head)?.as_object()?, rest),
    }
}

fn take(tree: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match step(tree, path)? {
        (key, None) => tree.shift_remove(key),
        (head, Some(rest)) => take(tree.get_mut(head)?.as_object_mut()?, rest),
    }
}

/// Sets a key; missing tables on the way are created.
fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    let (head, rest) = match step(tree, path) {
        Some((head, rest)) => (head, rest),
        None => path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest))),
    };
    let Some(rest) = rest else {
        tree.insert(head.to_owned(), value);
        return;
    };
    let below = tree.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if let Some(below) = below.as_object_mut() {
        put(below, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn carried(tree: Value) -> (Value, Vec<String>, Vec<String>) {
        let Value::Object(mut tree) = tree else { panic!("a table") };
        let (mut origins, mut errors) = (Origins::new(), Vec::new());
        origins.insert("batch.a.b.lane".to_owned(), Origin::File { file: "c.toml".to_owned(), line: 7, column: 1 });
        let warnings = carry(&mut tree, &mut origins, &mut errors);
        (Value::Object(tree), warnings, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_old_name_sets_the_new_key_and_says_so_with_its_line() {
        let (tree, warnings, errors) = carried(json!({
            "scheduler": { "batch": 7 },
            "batch": { "a.b": { "lane": "high", "tolerate": "1%" } },
            "schedule": { "n": { "job": { "kind": "exec", "lane": "low" } } },
        }));
        assert_eq!(
            tree,
            json!({
                "scheduler": { "rows_max": 7 },
                "batch": { "a.b": { "priority": "high", "failure_budget": "1%" } },
                "schedule": { "n": { "job": { "kind": "exec", "priority": "low" } } },
            })
        );
        assert_eq!(errors, Vec::<String>::new());
        assert!(
            warnings.contains(
                &"c.toml:7:1: `batch.a.b.lane` is called `batch.a.b.priority` now; the old name keeps working"
                    .to_owned()
            ),
            "{warnings:?}"
        );
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    }

    #[test]
    fn both_names_at_once_are_an_error() {
        let (_, _, errors) = carried(json!({ "scheduler": { "batch": 7, "rows_max": 8 } }));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("`scheduler.rows_max`, which is set too"), "{errors:?}");
    }

    #[test]
    fn the_rhythms_of_the_duties_moved_to_a_table_of_their_own() {
        let (tree, warnings, errors) =
            carried(json!({ "scheduler": { "promote": "1s", "sweep": "2s", "rows_max": 7 } }));
        let duties = json!({ "relay": "2s", "promote": "1s" });
        assert_eq!(tree, json!({ "scheduler": { "rows_max": 7, "duties": duties } }));
        assert_eq!(errors, Vec::<String>::new());
        let wanted = "`scheduler.sweep` is called `scheduler.duties.relay` now; the old name keeps working";
        assert!(warnings.iter().any(|warning| warning == wanted), "{warnings:?}");
        let (_, _, errors) = carried(json!({ "scheduler": { "sweep": "2s", "outbox_relay": "3s" } }));
        assert_eq!(errors.len(), 1, "two old names of one key: {errors:?}");
    }

    #[test]
    fn a_variable_wins_over_the_old_name_in_a_file() {
        let Value::Object(mut tree) = json!({ "scheduler": { "promote": "1s", "duties": { "promote": "5s" } } }) else {
            panic!("a table")
        };
        let (mut origins, mut errors) = (Origins::new(), Vec::new());
        origins.insert("scheduler.promote".to_owned(), Origin::File { file: "c.toml".to_owned(), line: 2, column: 1 });
        origins.insert(
            "scheduler.duties.promote".to_owned(),
            Origin::Env("GRISTMILL_SCHEDULER_DUTIES_PROMOTE".to_owned()),
        );
        let warnings = carry(&mut tree, &mut origins, &mut errors);
        assert_eq!(errors.len(), 0);
        assert_eq!(Value::Object(tree), json!({ "scheduler": { "duties": { "promote": "5s" } } }));
        assert!(warnings[0].starts_with("c.toml:2:1: `scheduler.promote` is called `scheduler.duties.promote` now"));
    }

    #[test]
    fn the_variable_of_an_old_key_still_sets_it() {
        let (key, warning) = variable("GRISTMILL_SCHEDULER_SWEEP").expect("known");
        assert_eq!(key, "scheduler.duties.relay");
        assert!(warning.contains("GRISTMILL_SCHEDULER_DUTIES_RELAY"), "{warning}");
        let (key, _) = variable("GRISTMILL_SCHEDULER_RESCUE").expect("known");
        assert_eq!(key, "scheduler.duties.rescue");
        assert_eq!(variable("GRISTMILL_SCHEDULER_DUTIES_RESCUE"), None);
    }
}
