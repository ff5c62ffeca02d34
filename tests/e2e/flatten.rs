//! Files in, tables out: every kind of input, every format of output, and nothing lost in silence.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{Done, Home, workspace};

const LOCATIONS: &str = r#"{"resourceType":"ViewDefinition","name":"location","resource":"Location","select":[{"column":[
  {"name":"id","path":"getResourceKey()"},{"name":"city","path":"address.city"},
  {"name":"updated","path":"meta.lastUpdated","type":"instant"},
  {"name":"latitude","path":"position.latitude","type":"decimal","tag":[{"name":"ansi/type","value":"DECIMAL(18,6)"}]}]}]}"#;
const ROLES: &str = r#"{"resourceType":"ViewDefinition","name":"role_location","resource":"PractitionerRole","select":[
  {"column":[{"name":"id","path":"getResourceKey()"}]},
  {"forEach":"location","column":[{"name":"idx","path":"%rowIndex","type":"integer"},{"name":"location_id","path":"getReferenceKey(Location)"}]}]}"#;

fn location(number: usize) -> String {
    format!(
        r#"{{"resourceType":"Location","id":"l{number}","meta":{{"lastUpdated":"2026-01-02T03:04:05.678Z"}},"address":{{"city":"Town, \"{number}\""}},"position":{{"latitude":40.{number:02}}}}}"#
    )
}

fn role(number: usize) -> String {
    format!(
        r#"{{"id":"r{number}","location":[{{"reference":"Location/l1"}},{{"reference":"Location/l{number}"}}],"resourceType":"PractitionerRole"}}"#
    )
}

fn lines(range: std::ops::Range<usize>, one: fn(usize) -> String) -> String {
    range.map(|number| one(number) + "\n").collect()
}

/// Rows of a query in DuckDB, without a lake.
fn duckdb(sql: &str) -> Vec<Value> {
    let python =
        std::env::var_os("FHIRVEST_PYTHON").map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from);
    let output = Command::new(python).arg(workspace().join("tests/support/query.py")).arg(sql).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_input_gives_the_same_rows_in_one_pass() {
    let home = Home::new();
    home.write("location.json", LOCATIONS);
    home.write("role.json", ROLES);
    home.write("in/plain.ndjson", &lines(0..10, location));
    let compressed = zstd::encode_all(lines(10..20, location).as_bytes(), 1).unwrap();
    std::fs::write(home.path("in/b.ndjson.zst"), compressed).unwrap();
    let resources: Vec<String> = (20..30).map(location).chain((0..5).map(role)).collect();
    let entries: Vec<String> = resources.iter().map(|resource| format!("{{\"resource\":{resource}}}")).collect();
    let bundle =
        format!("{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[\n{}]}}", entries.join(",\n"));
    home.write("in/bundle.json", &bundle);
    let pretty: Value = serde_json::from_str(&location(30)).unwrap();
    home.write("in/one.json", &serde_json::to_string_pretty(&pretty).unwrap());

    let mut command = home.fhirvest(&["flatten", "--view", "location.json", "--view", "role.json", "--json"]);
    command.args(["--input", "in", "--input", "-", "--output", "out", "--threads", "3"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines(5..9, role).as_bytes()).unwrap();
    let done = Done::from(child.wait_with_output().unwrap()).expect(0);
    let report = done.report();
    assert_eq!(
        (&report[0]["table"], &report[0]["rows"], &report[1]["rows"]),
        (&"location".into(), &31.into(), &18.into())
    );
    assert_eq!(report[0]["filtered"], 9, "every resource is in one counter: {report}");

    let folder = home.path("out");
    let rows = duckdb(&format!(
        "SELECT count(DISTINCT id) AS ids, min(city) AS city, max(updated) AS updated, sum(latitude) AS sum
         FROM read_parquet('{}/location.parquet')",
        folder.display()
    ));
    assert_eq!((&rows[0]["ids"], &rows[0]["city"]), (&31.into(), &"Town, \"0\"".into()));
    assert_eq!(rows[0]["updated"], "2026-01-02 03:04:05.678+00");
    // 31 * 40 + (0 + 1 + … + 30) / 100, exactly.
    assert_eq!(rows[0]["sum"], "1244.650000");
    let roles =
        duckdb(&format!("FROM read_parquet('{}/role_location.parquet') WHERE idx = 1 ORDER BY id", folder.display()));
    let found: Vec<&str> = roles.iter().map(|row| row["location_id"].as_str().unwrap()).collect();
    assert_eq!(found, ["l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8"]);
}

#[test]
fn every_format_says_the_same() {
    let home = Home::new();
    home.write("location.json", LOCATIONS);
    home.write("in.ndjson", &lines(0..2000, location));
    let base = ["flatten", "--view", "location.json", "--input", "in.ndjson", "--output"];
    for name in ["out.parquet", "out.csv", "out.ndjson", "out.arrow"] {
        home.run(&[&base[..], &[name]].concat()).expect(0);
        assert_eq!(home.files("").len(), 3, "nothing but the output is left: {:?}", home.files(""));
        if name == "out.arrow" {
            let file = std::fs::File::open(home.path(name)).unwrap();
            let rows: usize = arrow::ipc::reader::FileReader::try_new(file, None)
                .unwrap()
                .map(|batch| batch.unwrap().num_rows())
                .sum();
            assert_eq!(rows, 2000);
        } else {
            let path = home.path(name);
            let reader = if name == "out.ndjson" { "read_json" } else { name.strip_prefix("out.").unwrap() };
            let reader = if reader == "read_json" { reader.to_owned() } else { format!("read_{reader}") };
            let rows = duckdb(&format!(
                "SELECT id, city, CAST(latitude AS DECIMAL(18,6)) AS latitude, CAST(updated AS TIMESTAMPTZ) AS updated
                 FROM {reader}('{}') ORDER BY city DESC LIMIT 1",
                path.display()
            ));
            assert_eq!((&rows[0]["id"], &rows[0]["city"]), (&"l999".into(), &"Town, \"999\"".into()), "{name}");
            assert_eq!(
                (&rows[0]["latitude"], &rows[0]["updated"]),
                (&"40.999000".into(), &"2026-01-02 03:04:05.678+00".into())
            );
        }
        std::fs::remove_file(home.path(name)).unwrap();
    }
    let done =
        home.run(&["flatten", "--view", "location.json", "--input", "in.ndjson", "--output", "-", "--format", "csv"]);
    let done = done.expect(0);
    assert!(done.stdout.starts_with("id,city,updated,latitude\nl0,\"Town, \"\"0\"\"\","), "{}", &done.stdout[..200]);
    assert_eq!(done.stdout.lines().count(), 2001);
    home.run(&[&base[..], &["out.xlsx"]].concat()).expect(2);
}

#[test]
fn a_bad_line_is_told_with_its_place_and_costs_itself_only() {
    let home = Home::new();
    home.write("location.json", LOCATIONS);
    let deep = format!("{{\"resourceType\":\"Location\",\"address\":{}1{}}}\n", "[".repeat(10_000), "]".repeat(10_000));
    let deeper = format!("{}1{}\n", "{\"skipped\":".repeat(10_000), "}".repeat(10_000));
    let text = [
        &lines(0..3, location),
        "{\"resourceType\":\"Location\",\n",
        &deep,
        &deeper,
        "no json\n",
        &lines(3..5, location),
    ];
    home.write("in/a.ndjson", &lines(10..12, location));
    std::fs::write(home.path("in/b.ndjson"), [text.concat().as_bytes(), b"{\"id\":\"\xff\"}\n"].concat()).unwrap();
    home.write("in/c.json", "{\n  \"resourceType\": \"Location\",\n  oops\n}\n");
    home.write("in/d.ndjson", &format!("{{\"resourceType\":\n{}", lines(20..21, location)));
    let done =
        home.run(&["flatten", "--view", "location.json", "--input", "in", "--output", "out.csv", "--json"]).expect(5);
    assert_eq!(done.report()[0]["rows"], 8);
    for place in [
        "in/b.ndjson:4: ",
        "in/b.ndjson:5: ",
        "in/b.ndjson:6: ",
        "in/b.ndjson:7: ",
        "in/b.ndjson:10: not UTF-8",
        "in/d.ndjson:1: ",
    ] {
        assert!(done.stderr.contains(place), "{place} is not in {}", done.stderr);
    }
    assert!(done.stderr.contains("in/c.json:3: no JSON document"), "{}", done.stderr);
    assert!(done.stderr.contains("6 lines are no readable resource"), "{}", done.stderr);
    let kept: Vec<Value> = std::fs::read_to_string(home.path("out.csv.quarantine.ndjson"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kept.len(), 7, "six lines and a document: {kept:?}");
    let of = |input: &str, line: u64| kept.iter().find(|one| one["input"] == input && one["line"] == line).unwrap();
    assert_eq!(of("in/b.ndjson", 7)["text"], "no json");
    assert_eq!(of("in/b.ndjson", 10)["base64"], "eyJpZCI6Iv8ifQ==");
    assert_eq!(of("in/b.ndjson", 5)["text"], deep.trim_end());
    assert!(of("in/c.json", 3)["reason"].as_str().unwrap().contains("line 3"));
    assert!(done.stderr.contains("out.csv.quarantine.ndjson"), "{}", done.stderr);
    home.run(&["flatten", "--view", "location.json", "--input", "nowhere", "--output", "out.csv"]).expect(2);
}

#[test]
fn a_resource_that_misses_a_table_is_kept_with_its_name() {
    let home = Home::new();
    home.write("location.json", LOCATIONS);
    let two = r#"{"resourceType":"Location","id":"two","meta":[{"lastUpdated":"2026"},{"lastUpdated":"2026"}]}"#;
    home.write("in.ndjson", &format!("{}{two}\n", lines(0..2, location)));
    let flatten = ["flatten", "--view", "location.json", "--input", "in.ndjson", "--json"];
    let done =
        home.run(&[&flatten[..], &["--output", "out.parquet", "--quarantine", "kept.ndjson"]].concat()).expect(5);
    assert_eq!((&done.report()[0]["rows"], &done.report()[0]["failed"]), (&2.into(), &1.into()));
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(home.path("kept.ndjson")).unwrap()).unwrap();
    assert_eq!((&kept["table"], &kept["line"], &kept["text"]), (&"location".into(), &3.into(), &two.into()));
}

#[test]
fn bytes_are_base64_in_texts_and_lists_are_json_in_csv() {
    let home = Home::new();
    let view = r#"{"resource":"Patient","name":"patient","select":[{"column":[{"name":"id","path":"id"},
      {"name":"photo","path":"photo.data.first()","type":"base64Binary"},
      {"name":"photos","path":"photo.data","type":"base64Binary","collection":true},
      {"name":"given","path":"name.given","type":"string","collection":true},
      {"name":"ranks","path":"telecom.rank","type":"positiveInt","collection":true}]}]}"#;
    home.write("view.json", view);
    let patients = r#"{"resourceType":"Patient","id":"1","photo":[{"data":"AAH+"},{"data":"Zg=="}],"name":[{"given":["A \"x\"","B, C"]}],"telecom":[{"rank":1},{"rank":20}]}
{"resourceType":"Patient","id":"2"}
"#;
    home.write("in.ndjson", patients);
    for name in ["out.csv", "out.ndjson", "out.parquet"] {
        home.run(&["flatten", "--view", "view.json", "--input", "in.ndjson", "--output", name]).expect(0);
    }
    let csv = std::fs::read_to_string(home.path("out.csv")).unwrap();
    let expected = [
        "id,photo,photos,given,ranks",
        r#"1,AAH+,"[""AAH+"",""Zg==""]","[""A \""x\"""",""B, C""]","[1,20]""#,
        "2,,[],[],[]",
    ];
    assert_eq!(csv.lines().collect::<Vec<_>>(), expected);
    let ndjson = std::fs::read_to_string(home.path("out.ndjson")).unwrap();
    let first: Value = serde_json::from_str(ndjson.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["photo"], &first["photos"][1], &first["ranks"][1]),
        (&"AAH+".into(), &"Zg==".into(), &20.into())
    );
    let rows =
        duckdb(&format!("SELECT hex(photo) AS photo FROM read_parquet('{}')", home.path("out.parquet").display()));
    assert_eq!(rows[0]["photo"], "0001FE");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    home.write("location.json", LOCATIONS);
    home.write("in.ndjson", &lines(0..50_000, location));
    for format in ["csv", "ndjson"] {
        let mut command = home.fhirvest(&["flatten", "--view", "location.json", "--input", "in.ndjson"]);
        command.args(["--output", "-", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 100];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut some).unwrap();
        drop(stdout);
        Done::from(child.wait_with_output().unwrap()).expect(0);
    }
}

/// A payer's flags come as texts, and once a name as a string: no role is missing from the table, and the count says where to look.
#[test]
fn values_of_another_type_cost_no_row() {
    const VIEW: &str = r#"{"resourceType":"ViewDefinition","name":"role","resource":"PractitionerRole","where":[{"path":"active"}],"select":[
      {"column":[{"name":"id","path":"getResourceKey()"},{"name":"active","path":"active","type":"boolean"}]},
      {"forEachOrNull":"specialty.coding","column":[{"name":"code","path":"code"}]}]}"#;
    let home = Home::new();
    home.write("role.json", VIEW);
    let roles = [
        r#"{"resourceType":"PractitionerRole","id":"fine","active":true,"specialty":[{"coding":[{"code":"a"},{"code":"b"}]}]}"#,
        r#"{"resourceType":"PractitionerRole","id":"left","active":false}"#,
        r#"{"resourceType":"PractitionerRole","id":"text","active":"true","specialty":[{"coding":[{"code":"c"}]},"Cardiology"]}"#,
    ];
    home.write("in.ndjson", &roles.join("\n"));
    let done = home
        .run(&["flatten", "--view", "role.json", "--input", "in.ndjson", "--output", "out.ndjson", "--json"])
        .expect(0);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    // The flag itself in two rows, the filter that could not use it, and the code of the specialty that is a text.
    assert_eq!((&told[0]["rows"], &told[0]["failed"], &told[0]["misfits"]), (&4.into(), &0.into(), &4.into()));
    let text = std::fs::read_to_string(home.path("out.ndjson")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["id"], &row["code"])).collect();
    let (fine, text, null) = (Value::from("fine"), Value::from("text"), Value::Null);
    assert_eq!(found, [(&fine, &"a".into()), (&fine, &"b".into()), (&text, &"c".into()), (&text, &null)]);
}
