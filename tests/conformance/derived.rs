//! The derived views and macros of `views.sql` over real resources, in the oldest DuckDB that is promised and in the newest:
//! what they say against what the NDJSON says to a script that knows neither fhirvest nor DuckDB.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::harness::{Server, data, fhirvest, newest_duckdb, oldest_duckdb, query_by, root, stdout_of};

fn by_hand(what: &str, folders: &[&Path]) -> Value {
    let mut command = Command::new(newest_duckdb());
    command.arg(root().join("tests/support/derived.py")).arg(what).args(folders);
    serde_json::from_str(&stdout_of(&mut command)).unwrap()
}

/// Crawls all of a folder into a lake.
fn harvest(folder: &Path, source: &str, lake: &Path) {
    let file = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path();
    let files: Vec<PathBuf> = folder.read_dir().unwrap().map(file).collect();
    let mut types: Vec<&str> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    types.sort_unstable();
    let (_server, url) = Server::sandbox(folder);
    let mut command = fhirvest();
    command.args(["harvest", &url, "--resources", &types.join(","), "--rate", "0", "--source", source, "--output"]);
    stdout_of(command.arg(lake));
}

#[test]
#[ignore = "needs FHIRVEST_SHARED: make conformance"]
fn derived_views_say_what_the_data_say_in_every_duckdb() {
    let (lake, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = data("plan-net");
    harvest(&directory, "directory", lake.path());
    harvest(&data("formulary"), "formulary", lake.path());
    let changed = by_hand("formulary", &[&data("formulary"), second.path()]);
    harvest(second.path(), "formulary", lake.path());

    let said = by_hand("directory", &[&directory]);
    let views = lake.path().join("views.sql");
    let networks = format!(
        "SELECT list(DISTINCT network_id ORDER BY network_id) AS networks FROM in_network('{}')",
        said["npi"].as_str().unwrap()
    );
    let signals = "SELECT signal, count(*) AS n FROM directory.ghost_signals GROUP BY ALL ORDER BY ALL";
    for (sql, expected) in [
        ("SELECT count(*) AS n FROM directory.pharmacy", json!([{"n": said["pharmacies"]}])),
        (&networks, json!([{"networks": said["networks"]}])),
        (
            "SELECT CAST(sum(practitioners) AS BIGINT) AS n FROM directory.network_adequacy",
            json!([{"n": said["network_members"]}]),
        ),
        // All references resolve, every practitioner has one role with one place, and the stamps are of one day.
        (signals, json!([{"signal": "invalid-npi", "n": said["invalid_npis"]}])),
        ("SELECT count(*) AS n FROM coverage WHERE status = 'complete'", json!([{"n": 11}])),
        (
            "SELECT id, what, was, \"now\" FROM formulary.formulary_changes ORDER BY id",
            Value::Array(changed.as_array().unwrap().iter().map(row).collect()),
        ),
        (
            "SELECT key, change FROM changes('formulary_drug', (SELECT min(run) FROM \"all\"._runs WHERE source = 'formulary'),
               DATE '2999-01-01') ORDER BY key",
            json!([{"key": changed[0][0], "change": "removed"}, {"key": changed[1][0], "change": "changed"}]),
        ),
        ("SELECT count(*) AS n FROM as_of('practitioner', DATE '2999-01-01')", json!([{"n": 2000}])),
    ] {
        for duckdb in [oldest_duckdb(), newest_duckdb()] {
            assert_eq!(Value::Array(query_by(&duckdb, Some(&views), sql)), expected, "{sql} in {}", duckdb.display());
        }
    }
}

fn row(told: &Value) -> Value {
    json!({"id": told[0], "what": told[1], "was": told[2], "now": told[3]})
}
