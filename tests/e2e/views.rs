//! `fhirvest views`: mistakes for people, programs and editors; tables that a database takes.

use serde_json::{Value, json};

use crate::harness::Home;

const BROKEN: &str = r#"{"resource": "Patient", "name": "mine", "select": [{"column": [
  {"name": "family", "path": "name.frist().family"},
  {"name": "born", "path": "birthdate"}]}]}"#;

#[test]
fn mistakes_are_told_to_people_programs_and_editors() {
    let home = Home::new();
    home.write("my views/broken.json", BROKEN);
    let path = "my views/broken.json";
    let done = home.run(&["views", "check", path]).expect(2);
    for part in [
        "my views/broken.json:2:36: error[unknown-function]",
        "/select/0/column/0/path",
        "did you mean `first`?",
        "my views/broken.json:3:29: warning[unknown-element]",
        "did you mean `birthDate`?",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert!(done.stderr.contains("errors: 1, warnings: 1"), "{}", done.stderr);

    let done = home.run(&["views", "check", path, "--format", "json"]).expect(2);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told[0]["code"], "unknown-function");
    assert_eq!((&told[0]["line"], &told[0]["column"]), (&json!(2), &json!(36)));
    assert_eq!(told[0]["text"], "frist");

    let done = home.run(&["views", "check", path, "--format", "sarif"]).expect(2);
    let log: Value = serde_json::from_str(&done.stdout).unwrap();
    let result = &log["runs"][0]["results"][0];
    assert_eq!((&log["version"], &result["ruleId"]), (&json!("2.1.0"), &json!("unknown-function")));
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "my%20views/broken.json");
}

#[test]
fn a_warning_alone_is_no_failure_and_shipped_views_are_clean() {
    let home = Home::new();
    home.write("warned.json", &BROKEN.replace("frist", "first"));
    let done = home.run(&["views", "check", "warned.json"]).expect(0);
    assert!(done.stdout.contains("warning[unknown-element]") && done.stderr.contains("errors: 0, warnings: 1"));
    let done = home.run(&["views", "check"]).expect(0);
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("errors: 0, warnings: 0"), "{}", done.stderr);
    home.run(&["views", "check", "plan-net/location"]).expect(0);
    home.run(&["views", "check", "nowhere.json"]).expect(2);
}

/// A column's name, its path or type, and DuckDB's name of what comes of it.
const COLUMNS: [(&str, &str, &str); 29] = [
    ("inferred_code", "gender", "VARCHAR"),
    ("inferred_boolean", "active", "BOOLEAN"),
    ("inferred_date", "birthDate", "VARCHAR"),
    ("inferred_instant", "meta.lastUpdated", "TIMESTAMP WITH TIME ZONE"),
    ("inferred_integer", "multipleBirth.ofType(integer)", "INTEGER"),
    ("inferred_count", "name.count()", "INTEGER"),
    ("inferred_decimal", "name.count() / 2", "VARCHAR"),
    ("inferred_truth", "name.exists()", "BOOLEAN"),
    ("inferred_text", "name.first().family.upper()", "VARCHAR"),
    ("inferred_list", "name.given[]", "VARCHAR[]"),
    ("inferred_rank", "telecom.rank[]", "INTEGER[]"),
    ("inferred_object", "maritalStatus", "VARCHAR"),
    ("fhir_integer", "type:integer", "INTEGER"),
    ("fhir_positive", "type:positiveInt", "INTEGER"),
    ("fhir_unsigned", "type:unsignedInt", "INTEGER"),
    ("fhir_integer64", "type:integer64", "BIGINT"),
    ("fhir_decimal", "type:decimal", "VARCHAR"),
    ("fhir_instant", "type:instant", "TIMESTAMP WITH TIME ZONE"),
    ("fhir_binary", "type:base64Binary", "BLOB"),
    ("ansi_date", "ansi:DATE", "DATE"),
    ("ansi_time", "ansi:TIME", "TIME"),
    ("ansi_timestamp", "ansi:TIMESTAMP", "TIMESTAMP"),
    ("ansi_zoned", "ansi:TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"),
    ("ansi_decimal", "ansi:DECIMAL(12,4)", "DECIMAL(12,4)"),
    ("ansi_double", "ansi:DOUBLE PRECISION", "DOUBLE"),
    ("ansi_bigint", "ansi:BIGINT", "BIGINT"),
    ("ansi_boolean", "ansi:BOOLEAN", "BOOLEAN"),
    ("ansi_varchar", "ansi:CHARACTER VARYING(20)", "VARCHAR"),
    ("ansi_binary", "ansi:BINARY", "BLOB"),
];

#[test]
fn duckdb_takes_the_tables_of_all_types() {
    let home = Home::new();
    let columns = COLUMNS.map(|(name, what, _)| match what.split_once(':') {
        Some(("type", of)) => json!({"name": name, "path": "id", "type": of}),
        Some((_, sql)) => json!({"name": name, "path": "id", "tag": [{"name": "ansi/type", "value": sql}]}),
        None => json!({"name": name, "path": what.trim_end_matches("[]"), "collection": what.ends_with("[]")}),
    });
    let view = json!({"resource": "Patient", "name": "all_types", "select": [{"column": columns.to_vec()}]});
    home.write("all.json", &view.to_string());
    let done = home.run(&["views", "ddl", "all.json"]).expect(0);
    home.write("lake/views.sql", &done.stdout);
    let found = home.duckdb("SELECT column_name AS name, data_type AS type FROM duckdb_columns() WHERE table_name = 'all_types' ORDER BY column_index");
    let found: Vec<(&str, &str)> =
        found.iter().map(|row| (row["name"].as_str().unwrap(), row["type"].as_str().unwrap())).collect();
    assert_eq!(found, COLUMNS.map(|(name, _, sql)| (name, sql)));

    // Every shipped table, too.
    let done = home.run(&["views", "ddl"]).expect(0);
    let tables = done.stdout.matches("CREATE TABLE").count() as u64;
    home.write("lake/views.sql", &done.stdout);
    assert_eq!(home.duckdb("SELECT count(*) AS n FROM duckdb_tables()")[0]["n"].as_u64(), Some(tables));
    assert!(tables > 50);
}
