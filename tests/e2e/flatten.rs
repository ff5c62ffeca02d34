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
    home.run(&["flatten", "--view", "location.json", "--input", "nowhere", "--output", "out.csv"]).expect(2);
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
