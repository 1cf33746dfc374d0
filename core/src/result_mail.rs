//! A batch's result in a mail: tables as names and values, and never more of them than a job's payload has room for.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::aggregate::AggregateSpec;
use crate::one_or_many::OneOrMany;
use crate::result_table::{cell, is_cell};

/// The most bytes of JSON that the rows of all tables together take in a mail's data: 384 KiB. With a result of half a
/// payload, which travels beside them, there is room left for the batch.
pub const TABLES_BYTES_MAX: usize = 384 * 1024;

/// The name of the entry that says how many rows of a table were left out: `{"left_out": 4321}`.
pub const REST: &str = "…";

/// The data of a mail: its templates show groups as a name and a value, so the rows of tables become that in `result`; as
/// they are they stand in `tables`, for templates of one's own. Tables share [`TABLES_BYTES_MAX`]; rows that exceed its
/// share are left out of both, and `left_out` has how many of which table.
pub fn data(data: &Value, measures: &BTreeMap<String, AggregateSpec>) -> Value {
    let mut data = data.clone();
    let Some(Value::Object(result)) = data.get_mut("result") else { return data };
    let mut waiting: Vec<(&String, usize)> = result
        .iter()
        .filter_map(|(name, value)| Some((name, keys(measures.get(name)?, value)?)))
        .map(|(name, keys)| (name, keys.len()))
        .collect();
    // Small tables leave their share to larger ones.
    let size = |name: &String| result.get(name).map_or(0, bytes);
    waiting.sort_by_cached_key(|(name, _)| size(name));
    let order: Vec<String> = waiting.into_iter().map(|(name, _)| name.clone()).collect();

    let (mut tables, mut left_out, mut room) = (Map::new(), Map::new(), TABLES_BYTES_MAX);
    for (done, name) in order.iter().enumerate() {
        let Some(value) = result.get_mut(name) else { continue };
        let Some(keys) = measures.get(name).and_then(|spec| keys(spec, value)) else { continue };
        let share = room / (order.len() - done);
        let Fitted { shown, kept, left, bytes } = fitted(value, keys, share);
        room -= bytes.min(room);
        *value = Value::Object(shown);
        tables.insert(name.clone(), kept);
        if left > 0 {
            left_out.insert(name.clone(), left.into());
        }
    }
    for (name, of_tables) in [("tables", tables), ("left_out", left_out)] {
        if !of_tables.is_empty() {
            data[name] = Value::Object(of_tables);
        }
    }
    data
}

/// The fields that make the groups of a measure whose result is a table: rows, or groups with more than one value.
fn keys<'s>(spec: &'s AggregateSpec, value: &Value) -> Option<&'s [String]> {
    let AggregateSpec::Measure(spec) = spec else { return None };
    let keys = spec.group.as_ref().map(OneOrMany::as_slice).filter(|keys| !keys.is_empty())?;
    let is_table = match value {
        Value::Array(_) => spec.measures.is_some(),
        Value::Object(groups) => !is_cell(value) && groups.values().any(|group| !is_cell(group)),
        _ => false,
    };
    is_table.then_some(keys)
}

/// As much of a table as there is room for.
struct Fitted {
    /// Each row as a name and a text.
    shown: Map<String, Value>,
    /// The rows as they were.
    kept: Value,
    /// How many rows were left out.
    left: u64,
    /// The bytes that the others take.
    bytes: usize,
}

fn fitted(table: &Value, keys: &[String], room: usize) -> Fitted {
    let mut rows = Rows { room, bytes: 0, left: 0, shown: Map::new(), twins: HashMap::new() };
    let kept = match table {
        Value::Array(list) => {
            let fits = |row: &&Value| {
                let (name, rest) = parted(row, keys);
                rows.take(&name, text(&rest), bytes(row))
            };
            Value::Array(list.iter().filter(fits).cloned().collect())
        }
        groups => rows.within(groups, &mut Vec::new(), keys.len()).unwrap_or_else(|| json!({})),
    };
    let Rows { bytes, left, mut shown, .. } = rows;
    if left > 0 {
        shown.insert(free(&shown, &mut HashMap::new(), REST), json!({ "left_out": left }));
    }
    Fitted { shown, kept, left, bytes }
}

/// Rows as they are taken, until the first that has no room: no later one is taken, so that what is there is the beginning.
struct Rows {
    room: usize,
    bytes: usize,
    left: u64,
    shown: Map<String, Value>,
    /// How often a name was there.
    twins: HashMap<String, u64>,
}

impl Rows {
    /// Takes a row of so many bytes, if there is room for it and its text.
    fn take(&mut self, name: &str, text: String, row: usize) -> bool {
        // Quotes, colon and comma of the entry, and what sets a name apart from its twins.
        let more = row + bytes(&Value::from(name)) + bytes(&Value::from(text.as_str())) + 32;
        if self.left > 0 || self.bytes + more > self.room {
            self.left += 1;
            return false;
        }
        self.bytes += more;
        self.shown.insert(free(&self.shown, &mut self.twins, name), text.into());
        true
    }

    /// The groups within groups that are taken, `depth` levels of them. `None`: not one.
    fn within(&mut self, value: &Value, above: &mut Vec<String>, depth: usize) -> Option<Value> {
        let groups = match value {
            Value::Object(groups) if depth > 0 => groups,
            row => {
                let keys: usize = above.iter().map(|key| bytes(&Value::from(key.as_str())) + 4).sum();
                return self.take(&above.join(" / "), text(row), bytes(row) + keys).then(|| row.clone());
            }
        };
        let mut kept = Map::new();
        for (key, value) in groups {
            above.push(key.clone());
            let below = self.within(value, above, depth - 1);
            above.pop();
            kept.extend(below.map(|below| (key.clone(), below)));
        }
        (!kept.is_empty()).then_some(Value::Object(kept))
    }
}

/// A name that no row has yet.
fn free(shown: &Map<String, Value>, twins: &mut HashMap<String, u64>, name: &str) -> String {
    if !shown.contains_key(name) {
        return name.to_owned();
    }
    let twin = twins.entry(name.to_owned()).or_insert(1);
    loop {
        *twin += 1;
        let free = format!("{name} ({twin})");
        if !shown.contains_key(&free) {
            return free;
        }
    }
}

/// The name of a row, of its keys, and its other fields.
fn parted(row: &Value, keys: &[String]) -> (String, Value) {
    let Value::Object(fields) = row else { return (String::new(), row.clone()) };
    let name: Vec<String> = keys.iter().map(|key| shown(fields.get(key).unwrap_or(&Value::Null))).collect();
    let rest = fields.iter().filter(|(name, _)| !keys.contains(name));
    (name.join(" / "), Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// The text of a row's values: the only one, or each with its name.
fn text(row: &Value) -> String {
    let named = |name: &str, value: &Value| format!("{name} {}", shown(value));
    match row {
        Value::Object(fields) if !is_cell(row) => match fields.values().next() {
            Some(only) if fields.len() == 1 => shown(only),
            _ => fields.iter().map(|(name, value)| named(name, value)).collect::<Vec<_>>().join(", "),
        },
        // The most frequent values of a group.
        Value::Array(ranks) => {
            ranks.iter().map(|rank| named(&shown(&rank["value"]), &rank["count"])).collect::<Vec<_>>().join(", ")
        }
        value => shown(value),
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { cell(value).into_owned() }
}

/// How many bytes a value has as JSON.
fn bytes(value: &Value) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // Counting does not fail, and a value has no keys but texts.
    serde_json::to_writer(&mut counted, value).map_or(usize::MAX, |()| counted.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::PAYLOAD_BYTES_MAX;

    fn measures(value: Value) -> BTreeMap<String, AggregateSpec> {
        serde_json::from_value(value).expect("measures")
    }

    fn of_a_table() -> Value {
        json!({ "group": ["country", "month"], "measures": { "n": "count", "sum": { "sum": "total" } } })
    }

    #[test]
    fn the_rows_of_tables_are_named_by_their_keys_and_are_there_as_they_are() {
        let result = json!({
            "revenue": "9.45", "kinds": { "about": 123_000 },
            "by_country": { "UK": "5", "France": "4.45" },
            "best": [{ "value": "x", "count": 3 }],
            "table": [
                { "country": "UK", "month": "01", "n": 2, "sum": "-5" },
                { "country": "UK", "month": null, "n": 1, "sum": null },
                { "country": "UK", "month": "-", "n": 4, "sum": { "about": "14.45" } },
            ],
            "nested": { "UK": { "01": { "n": 1 }, "02": { "n": 3 } }, "France": { "01": { "n": 9 } } },
            "spread": { "UK": { "0.5": "1", "0.9": "2" } },
            "often": { "UK": [{ "value": "a", "count": 2 }, { "value": "b", "count": 1 }] },
        });
        let measures = measures(json!({
            "revenue": { "sum": "total" }, "kinds": { "distinct": "kind" },
            "by_country": { "group": "country", "sum": "total" }, "best": { "top": "kind" }, "table": of_a_table(),
            "nested": { "group": ["country", "month"], "measures": { "n": "count" }, "nested": true },
            "spread": { "group": "country", "quantiles": "total" },
            "often": { "group": "country", "top": "kind" },
        }));
        let made = data(&json!({ "batch": {}, "result": result }), &measures);
        let right = json!({
            "UK / 01": "n 2, sum -5", "UK / -": "n 1, sum -", "UK / - (2)": "n 4, sum about 14.45",
        });
        assert_eq!(made["result"]["table"], right, "a month is a key, though it is a number");
        assert_eq!(made["result"]["nested"], json!({ "UK / 01": "1", "UK / 02": "3", "France / 01": "9" }));
        assert_eq!(made["result"]["spread"], json!({ "UK": "0.5 1, 0.9 2" }));
        assert_eq!(made["result"]["often"], json!({ "UK": "a 2, b 1" }));
        for plain in ["revenue", "kinds", "by_country", "best"] {
            assert_eq!(made["result"][plain], result[plain]);
        }
        for table in ["table", "nested", "spread", "often"] {
            assert_eq!(made["tables"][table], result[table]);
        }
        assert_eq!(made.get("left_out"), None);
        for untouched in [json!({ "result": { "rows": 1 } }), json!({ "result": null })] {
            assert_eq!(data(&untouched, &measures), untouched);
        }
    }

    #[test]
    fn a_result_that_just_travels_has_room_in_a_payload_as_a_mail_too() {
        let row = |n: usize| json!({ "country": "UK", "month": format!("{n:05}"), "n": n, "sum": "1" });
        let rows: Vec<Value> = (0..9_000).map(row).collect();
        let whole = json!({ "small": [row(1)], "table": rows, "nested": { "UK": { "1": { "n": "1" } } } });
        let travels = bytes(&whole);
        assert!((PAYLOAD_BYTES_MAX / 2 - 80_000..PAYLOAD_BYTES_MAX / 2).contains(&travels), "{travels}");
        let nested = json!({ "group": ["country", "month"], "measures": { "n": "count" }, "nested": true });
        let measures = measures(json!({ "small": of_a_table(), "table": of_a_table(), "nested": nested }));
        let made = data(&json!({ "result": whole }), &measures);
        let length = bytes(&made);
        assert!(length <= TABLES_BYTES_MAX + 200 && length > TABLES_BYTES_MAX / 2, "{length}");
        let kept = made["tables"]["table"].as_array().expect("rows");
        let left = 9_000 - kept.len();
        assert!(left > 0 && kept[..] == rows[..kept.len()], "the first rows, in their order");
        assert_eq!(made["left_out"], json!({ "table": left }));
        assert_eq!(made["result"]["table"][REST], json!({ "left_out": left }));
        assert_eq!(made["result"]["table"].as_object().map(Map::len), Some(kept.len() + 1));
        assert_eq!(made["result"]["small"], json!({ "UK / 00001": "n 1, sum 1" }));
    }

    #[test]
    fn groups_within_groups_are_cut_by_their_rows_too() {
        let months: Map<String, Value> = (0..60).map(|n| (format!("{n:02}"), json!({ "n": n }))).collect();
        let groups: Map<String, Value> = (0..200).map(|n| (format!("c{n:03}"), json!(months))).collect();
        let spec = json!({ "group": ["country", "month"], "measures": { "n": "count" }, "nested": true });
        let made = data(&json!({ "result": { "t": groups } }), &measures(json!({ "t": spec })));
        let kept: usize = made["tables"]["t"]
            .as_object()
            .expect("groups")
            .values()
            .map(|group| group.as_object().map_or(0, Map::len))
            .sum();
        assert_eq!(made["left_out"]["t"], json!(200 * 60 - kept));
        assert!(kept > 1_000 && bytes(&made) <= TABLES_BYTES_MAX + 200, "{kept}");
    }

    #[test]
    fn rows_of_one_name_cost_no_more_than_others() {
        // By appending to a name until it is free, a thousand times as many rows would be looked up.
        let rows: Vec<Value> = (0..4_000).map(|n| json!({ "country": null, "month": null, "n": n })).collect();
        let made = data(&json!({ "result": { "table": rows } }), &measures(json!({ "table": of_a_table() })));
        let shown = made["result"]["table"].as_object().expect("rows");
        assert_eq!((shown.len(), &shown["- / - (4000)"]), (4_000, &json!("3999")));
    }
}
