//! What bad items cost a batch, as an operator meets it: themselves, each listed with its reason.

use serde_json::Value;

use crate::place::Place;
use crate::servers::Schema;

/// Ten sales, of which the program dies of number 3, and the table refuses numbers 5 (the key of another row) and 8.
const SALES: &str = "id,shop\n1,A\n2,A\n3,A\n4,B\n1,B\n6,B\n7,B\n8,\n9,C\n10,C\n";

const BATCH: &str = r#"
[batch.sales]
source = { csv = "sales.csv" }
failure_budget = 5
parse = { id = "integer" }
transform = "if .shop == \"\" then .shop = null else . end"
process = { exec = { command = ["/bin/sh", "dies.sh"] } }
output = { sql = { table = "sale", columns = ["id", "shop"] } }
aggregate = { rows = "count", ids = { sum = "id" } }
"#;

const DIES: &str = r#"while read -r line; do
    item=${line#*\"item\":}
    case $item in *'"id":3'[,}]*) exit 1;; esac
    printf '{"ok":%s\n' "$item"
done
"#;

/// Runs the batch on a store, in which `query` answers statements that count.
fn run(store: &str, create: impl Fn(&Place, &str), count: impl Fn(&Place, &str) -> i64) {
    let place = Place::new();
    place.write("sales.csv", SALES);
    place.write("dies.sh", DIES);
    place.write("config.toml", &format!("[store]\nurl = \"{store}\"\n[exec]\nprograms = [\"/bin/sh\"]\n{BATCH}"));
    create(&place, "CREATE TABLE sale (id BIGINT PRIMARY KEY, shop TEXT NOT NULL)");
    let batch = place.json(0, &["batch", "run", "sales", "--wait", "--json"]);
    let id = batch["batch"]["id"].as_str().expect("an id").to_owned();
    let counts = &batch["batch"]["counts"];
    assert_eq!((&counts["ok"], &counts["quarantined"]), (&Value::from(7), &Value::from(3)), "{batch}");
    assert_eq!((&batch["result"]["rows"], &batch["result"]["ids"]), (&Value::from(7), &Value::from("39")), "{batch}");
    assert_eq!(count(&place, "SELECT count(*) FROM sale"), 7);
    let found = place.json(0, &["quarantine", "list", "--batch", &id, "--json"]);
    let found = found.as_array().expect("a list");
    let of = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let stages: Vec<_> = found.iter().map(|item| (item["line"].as_i64(), of(item, "stage"))).collect();
    let expected = [(4, "process"), (6, "output"), (9, "output")];
    assert_eq!(stages, expected.map(|(line, stage)| (Some(line), stage.to_owned())), "{found:?}");
    assert!(of(&found[0], "reason").contains("exit code 1"), "{found:?}");
    assert!(found[1..].iter().all(|item| of(item, "reason").to_lowercase().contains("constraint")), "{found:?}");
    let exported = place.expect(0, &["quarantine", "export", &id]);
    assert!(exported.contains("exit code 1") && exported.lines().count() >= 3, "{exported}");
}

#[test]
fn bad_items_cost_themselves_and_are_listed_on_sqlite() {
    let place = Place::new();
    let file = place.path().join("store.db");
    let url = format!("sqlite://{}", file.display());
    place.expect(0, &["--store", &url, "db", "migrate"]);
    let connect = || sqlx::SqlitePool::connect_lazy(&url).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let change = |_: &Place, sql: &str| {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        runtime.block_on(async { sqlx::raw_sql(sql).execute(&connect()).await.map(drop) }).expect("done");
    };
    let count = |_: &Place, sql: &str| {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        runtime.block_on(async { sqlx::query_scalar(sql).fetch_one(&connect()).await }).expect("a number")
    };
    run(&url, change, count);
}

#[test]
fn bad_items_cost_themselves_and_are_listed_on_postgres() {
    let schema = Schema::new();
    let url = schema.migrated();
    run(&url, |_, sql| schema.change(sql), |_, sql| schema.count(sql));
}
