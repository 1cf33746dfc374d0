//! Lines of fixed width, and lines that are no records.

use gristmill_core::definition::{FixedField, OneOrMany, SourceSpec};
use gristmill_jobs::source;
use serde_json::{Value, json};

mod source_place;

use source_place::{Place, csv, reason};

fn fixed(name: &str) -> SourceSpec {
    let field = |(name, start, width): (&str, u32, u32)| FixedField { name: name.to_owned(), start, width };
    SourceSpec {
        fixed: Some(OneOrMany::One(name.to_owned())),
        fields: Some([("id", 1, 4), ("name", 5, 8), ("cents", 13, 6)].map(field).to_vec()),
        ..SourceSpec::default()
    }
}

#[tokio::test]
async fn lines_of_fixed_width_become_objects_however_they_are_cut() {
    let place = Place::new();
    let text = "Export of 31.01.\r\n* a remark\r\n0001Ada       1250\r\n\r\n   2Zo\u{eb} B    -30\r\n* 0003Eve\r\n0004\r\n0005Bob         x y\r\n   6";
    place.write("in.txt", text);
    let spec = SourceSpec { skip_lines: Some(1), comment: Some("*".to_owned()), ..fixed("in.txt") };
    // By hand, from the columns of the text.
    let item = |id: &str, name: &str, cents: &str| json!({ "id": id, "name": name, "cents": cents });
    let right = [
        (3, Some(item("0001", "Ada", "1250"))),
        (5, Some(item("2", "Zo\u{eb} B", "-30"))),
        (7, Some(item("0004", "", ""))),
        (8, None),
        (9, Some(item("6", "", ""))),
    ];
    for chunk in 1..=5 {
        let records = place.records(&spec, chunk).await;
        let found: Vec<(u64, Option<Value>)> =
            records.iter().map(|record| (record.line.expect("a line"), record.item.clone().ok())).collect();
        assert_eq!(found, right, "chunks of {chunk}");
        assert_eq!(reason(&records[3]), "the line goes on at column 19, behind its last field, which ends at 18");
        let first = source::peek(&spec, place.dir.path().to_owned(), None, chunk).await.expect("read");
        assert_eq!(first[..], records[..first.len()]);
    }
}

#[tokio::test]
async fn a_line_of_spaces_is_a_record_of_fixed_width_and_an_empty_one_is_not() {
    let place = Place::new();
    place.write("in.txt", "0001Ada\n     \n\n0002\n");
    let lines: Vec<_> = place.records(&fixed("in.txt"), 9).await.iter().map(|record| record.line).collect();
    assert_eq!(lines, [Some(1), Some(2), Some(4)]);
}

#[tokio::test]
async fn comments_are_no_records_of_separated_values_whatever_is_in_them() {
    let place = Place::new();
    let text = "# made by hand, \"on\r# Monday\nid,name\n#,\"open\n1,\"# a\n# b\"\n\"#2\",x\n#\n 3,#\n# the end, \"";
    place.write("in.csv", text);
    let spec = SourceSpec { comment: Some("#".to_owned()), ..csv("in.csv") };
    let item = |id: &str, name: &str| json!({ "id": id, "name": name });
    for chunk in 1..=4 {
        let records = place.records(&spec, chunk).await;
        let found: Vec<_> =
            records.iter().map(|record| (record.line.expect("a line"), record.item.clone().expect("a row"))).collect();
        assert_eq!(
            found,
            [(4, item("1", "# a\n# b")), (6, item("#2", "x")), (8, item(" 3", "#"))],
            "chunks of {chunk}"
        );
    }
    let (fingerprint, _) = place.plan(&spec, 3).await.expect("planned");
    assert_eq!(fingerprint.files[0].columns, ["id", "name"]);
    let (fingerprint, _) = place.plan(&csv("in.csv"), 3).await.expect("planned");
    assert_eq!(fingerprint.files[0].columns[0], "# made by hand", "by default they are rows");
}

#[tokio::test]
async fn a_file_of_comments_alone_has_no_header() {
    let place = Place::new();
    place.write("in.csv", "# nothing\n#\n");
    let spec = SourceSpec { comment: Some("#".to_owned()), ..csv("in.csv") };
    let refused = place.refusal(&spec).await.to_string();
    assert!(refused.contains("blank lines and comments only"), "{refused}");
}
