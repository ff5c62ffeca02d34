//! Rows worked out by hand: `tests/fixtures/views/<name>.json` holds resources, the views to run, and the rows that each
//! table must have. They cover what the reference data lacks, above all the first generation of the formulary guide.
//! These tests need nothing but the project, so they run in `make test` as well.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use crate::harness::{fhirvest, root, stdout_of};

/// `{"views": ["plan-net/practitioner.json"], "resources": [...], "expect": {"practitioner": [{...}]}}`.
/// An expected row names the columns that are not null; a column that it does not name must be null.
fn check(path: &Path) -> Result<(), String> {
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("resources.ndjson");
    let lines: Vec<String> = fixture["resources"].as_array().unwrap().iter().map(ToString::to_string).collect();
    fs::write(&input, lines.join("\n")).unwrap();

    let mut command = fhirvest();
    command.arg("flatten").arg("--json").args(["--format", "ndjson", "--input"]).arg(&input);
    for view in fixture["views"].as_array().unwrap() {
        command.arg("--view").arg(root().join("config/views").join(view.as_str().unwrap()));
    }
    let expected = fixture["expect"].as_object().unwrap();
    let output = folder.path().join(if expected.len() > 1 { "tables" } else { "table.ndjson" });
    let report: Vec<Value> = serde_json::from_str(&stdout_of(command.arg("--output").arg(&output))).unwrap();
    if report.len() != expected.len() {
        return Err(format!("{} tables came out, {} are expected", report.len(), expected.len()));
    }
    for table in &report {
        let name = table["table"].as_str().unwrap();
        let rows = fs::read_to_string(table["output"].as_str().unwrap()).unwrap();
        let found = normal(rows.lines().map(|line| serde_json::from_str(line).unwrap()));
        let wanted = normal(
            expected.get(name).ok_or(format!("the table {name} is not expected"))?.as_array().unwrap().iter().cloned(),
        );
        if found != wanted {
            return Err(format!("{name}: found\n{}\nexpected\n{}", found.join("\n"), wanted.join("\n")));
        }
        if table["failed"] != 0 || table["misfits"] != 0 {
            return Err(format!("{table}"));
        }
    }
    Ok(())
}

/// Rows as sorted text: without nulls, and every number in one notation, since writers differ in trailing zeros.
fn normal(rows: impl Iterator<Item = Value>) -> Vec<String> {
    let one = |value: Value| match value.as_f64() {
        Some(number) => number.into(),
        None => value,
    };
    let row = |row: Value| {
        let Value::Object(fields) = row else { panic!("a row is no object: {row}") };
        let kept: Map<String, Value> =
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, one(value))).collect();
        Value::Object(kept).to_string()
    };
    let mut rows: Vec<String> = rows.map(row).collect();
    rows.sort();
    rows
}

#[test]
fn fixtures_give_the_rows_worked_out_by_hand() {
    let mut paths: Vec<_> =
        fs::read_dir(root().join("tests/fixtures/views")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let wrong: Vec<String> = paths
        .iter()
        .filter_map(|path| check(path).err().map(|reason| format!("{}: {reason}", path.file_name().unwrap().display())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every shipped view compiles, and files that feed one table agree.
#[test]
fn shipped_views_compile_together() {
    let listed: Vec<Value> = serde_json::from_str(&stdout_of(fhirvest().args(["views", "list", "--json"]))).unwrap();
    let mut files = 0;
    for group in ["plan-net", "formulary", "patient-access"] {
        files += fs::read_dir(root().join("config/views").join(group)).unwrap().count();
    }
    assert_eq!(listed.len(), files);
    for view in &listed {
        assert!(view["columns"].as_u64().unwrap() > 1, "{view}");
        assert!(view["description"].is_string(), "{view}");
    }
}
