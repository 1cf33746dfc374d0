//! Batches over sources of several kinds, from the configuration to the result.

use serde_json::json;

use crate::place::Place;

const ORDERS: &str = "[batch.b]\nchunk = 2\nfailure_budget = 10\n";

fn counts_of(place: &Place, more: &str) -> (serde_json::Value, serde_json::Value) {
    place.write("config.toml", &format!("[store]\nurl = \"sqlite://gristmill.db\"\n{ORDERS}{more}"));
    assert_eq!(place.json(0, &["check", "--json"])["problems"], json!([]));
    let tried = place.json(0, &["batch", "try", "b", "--json"]);
    let found = place.json(0, &["batch", "run", "b", "--wait", "--json"]);
    assert_eq!(tried["result"], found["result"], "a trial of so few items is the whole");
    (found["batch"]["counts"].clone(), found["result"].clone())
}

#[test]
fn orders_are_joined_with_what_is_known_of_their_customers() {
    let place = Place::new();
    place.write("a.csv", "id,customer,total\n1,c1,2.50\n2,c2,7\n3,c9,1\nshort\n");
    place.write("b.txt", "# from the old system\n0004c1        1.25\n0005c2       10.00\n");
    place.write("customers.jsonl", "{\"id\": \"c1\", \"country\": \"NO\"}\n{\"id\": \"c2\", \"country\": \"FR\"}\n");
    let (counts, result) = counts_of(
        &place,
        "aggregate = { by = { group = \"country\", measures = { n = \"count\", sum = { sum = \"total\" } } } }\n\
         [[batch.b.source.merge]]\ncsv = \"a.csv\"\n\
         [[batch.b.source.merge]]\nfixed = \"b.txt\"\ncomment = \"#\"\n\
         fields = [{ name = \"id\", start = 1, width = 4 }, { name = \"customer\", start = 5, width = 4 }, { name = \"total\", start = 9, width = 10 }]\n\
         [[batch.b.source.join]]\nwith = { jsonl = \"customers.jsonl\" }\non = \"customer\"\nkey = \"id\"\nmissing = \"quarantine\"\n",
    );
    assert_eq!((&counts["input"], &counts["ok"], &counts["quarantined"]), (&json!(6), &json!(4), &json!(2)));
    let rows = json!([{ "country": "FR", "n": 2, "sum": "17" }, { "country": "NO", "n": 2, "sum": "3.75" }]);
    assert_eq!(result["by"], rows);
    let set_aside = place.expect(0, &["quarantine", "list"]);
    assert!(set_aside.contains("a.csv:5: row has 1 field"), "{set_aside}");
    assert!(set_aside.contains("`customer` is `c9`, and `"), "{set_aside}");
    assert!(set_aside.contains("customers.jsonl` has no such `id`"), "{set_aside}");
}

#[test]
fn a_list_of_sources_is_read_in_its_order_from_wherever_the_command_runs() {
    let place = Place::new();
    place.write("a.csv", "n\n1\n2\n");
    place.write("b.jsonl", "{\"n\": 3}\n");
    let (counts, result) = counts_of(
        &place,
        "source = [{ csv = \"a.csv\" }, { jsonl = \"b.jsonl\" }]\naggregate = { sum = { sum = \"n\" }, rows = \"count\" }\n",
    );
    assert_eq!((&counts["ok"], result), (&json!(3), json!({ "rows": 3, "sum": "6" })));
    let shown = place.expect(0, &["config", "show"]);
    assert!(shown.contains(&place.path().join("a.csv").display().to_string()), "{shown}");
}

#[test]
fn what_is_wrong_with_one_of_several_sources_is_found_by_a_check() {
    let place = Place::new();
    for (source, said) in [
        ("source = []", "`merge` is empty"),
        ("source = [{ csv = \"a.csv\" }, { csvv = \"b.csv\" }]", "csvv"),
        ("source = { merge = [{ csv = \"a.csv\", delimiter = \"::\" }] }", "`merge[0]`: `delimiter`"),
        ("source = { csv = \"a.csv\", join = [{ with = { sql = { url = \"x\" } }, on = \"id\" }] }", "query"),
        ("source = 1", "a list of tables"),
    ] {
        place.write("config.toml", &format!("[batch.b]\n{source}\n"));
        let found = place.json(9, &["check", "--json"]);
        let problem = found["problems"][0].to_string();
        assert!(problem.contains(said), "{source}: {problem}");
    }
}
