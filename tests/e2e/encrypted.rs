//! A sensitive lake whose tables are encrypted: DuckDB reads all of it with the key, and nobody reads any of it without.

use std::{fs, process::Command};

use serde_json::json;

use crate::{
    harness::{Done, Home, Sandbox},
    sensitive::{MEMBERS, job, members},
};

/// A key of 32 bytes.
pub(crate) const KEY: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=";
const LAKE: &str = "lake-sensitive";
/// Another one.
pub(crate) const OTHER: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDY=";
const NO_KEY: &str = "lake-sensitive are encrypted: `key` below [encryption]";

fn keyed(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.fhirvest(arguments);
    command.env("FHIRVEST__ENCRYPTION__KEY__FILE", "key");
    command
}

fn run(home: &Home, arguments: &[&str]) -> Done {
    Done::from(keyed(home, arguments).output().unwrap())
}

/// Where DuckDB does what fails when a filter reaches an encrypted column: filters, joins, the first rows of an order.
fn asked(home: &Home, sql: &str) -> serde_json::Value {
    let key = format!("PRAGMA add_parquet_key('fhirvest', '{KEY}')");
    serde_json::Value::Array(home.duckdb_after(&key, LAKE, sql))
}

#[test]
fn tables_are_read_with_the_key_and_only_with_it() {
    let home = Home::new();
    home.write("key", &format!("{KEY}\n"));
    let sandbox = members(&home, &[]);
    let first = run(&home, &["run", "members", "--json"]).expect(0);
    assert!(!format!("{}{}", first.stdout, first.stderr).contains(KEY));
    let next = first.report()["next_step"].as_str().unwrap().to_owned();
    assert!(next.contains("add_parquet_key") && next.contains(".read ./lake-sensitive/views.sql"), "{next}");
    let first = first.report()["run"].as_str().unwrap().to_owned();
    drop(sandbox);

    // The next night one observation is gone and another one has changed; what was known is read with the key.
    let world = fs::read_to_string(home.path("world/Observation.ndjson")).unwrap();
    let mut lines: Vec<String> = world.lines().map(ToOwned::to_owned).collect();
    lines.retain(|line| !line.contains("\"seen-39\""));
    lines[3] = lines[3].replace("final", "amended");
    home.write("world/Observation.ndjson", &lines.join("\n"));
    let sandbox = Sandbox::start(&home, &["--data", home.path("world").to_str().unwrap()]);
    job(&home, sandbox.url("fhir"), &MEMBERS[..2]);
    run(&home, &["run", "members", "--json"]).expect(0);
    drop(sandbox);
    run(&home, &["rerun", "members", "--all"]).expect(0);

    let tables: Vec<String> = home.files(LAKE).into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert!(tables.len() > 8, "{tables:?}");
    for name in &tables {
        let bytes = fs::read(home.path(LAKE).join(name)).unwrap();
        assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (b"PARE".as_slice(), b"PARE".as_slice()), "{name}");
        for word in MEMBERS.iter().copied().chain(["seen-", "Patient", "subject", "fhirvest.run"]) {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} in {name}");
        }
    }

    for (sql, expected) in [
        ("SELECT count(*) AS n FROM acme.observation", json!([{"n": 39}])),
        ("SELECT status FROM acme.observation WHERE id = 'seen-3'", json!([{"status": "amended"}])),
        (
            "SELECT p.family_name, count(*) AS n FROM acme.observation AS o JOIN acme.patient AS p ON p.id = o.patient_id \
             WHERE o.status <> 'amended' AND p.birth_date > DATE '1960-01-01' GROUP BY ALL ORDER BY ALL",
            json!([{"family_name": MEMBERS[2], "n": 20}, {"family_name": MEMBERS[3], "n": 18}]),
        ),
        ("SELECT id FROM \"all\".observation ORDER BY id DESC LIMIT 1", json!([{"id": "seen-9"}])),
        (
            "SELECT id, change FROM \"all\"._changes WHERE change <> 'added' ORDER BY id",
            json!([{"id": "seen-3", "change": "changed"}, {"id": "seen-39", "change": "removed"}]),
        ),
        (
            &format!("SELECT count(*) AS n FROM as_of('observation', '{first}') WHERE id IN ('seen-3', 'seen-39')"),
            json!([{"n": 2}]),
        ),
        (
            &format!("SELECT key, change FROM changes('observation', '{first}', '~') ORDER BY key"),
            json!([{"key": "seen-3", "change": "changed"}, {"key": "seen-39", "change": "removed"}]),
        ),
        (
            "SELECT first_seen('Observation', 'seen-3') = date_trunc('second', min(started_at)) AS same FROM \"all\"._runs",
            json!([{"same": true}]),
        ),
        ("SELECT status FROM coverage WHERE resource_type = 'Patient'", json!([{"status": "complete"}])),
    ] {
        assert_eq!(asked(&home, sql), expected, "{sql}");
    }

    let report = run(&home, &["--lake", LAKE, "report", &first, "--json"]).expect(0).stdout;
    assert!(report.contains("\"null_share\""), "{report}");
    let refused = home.run(&["--lake", LAKE, "report", &first, "--json"]).expect(2).stderr;
    assert!(refused.contains(NO_KEY), "{refused}");
    let verified = home.run(&["--lake", LAKE, "verify"]);
    assert_eq!(verified.code, Some(0), "hashes need no key: {}{}", verified.stdout, verified.stderr);
}

#[test]
fn a_lake_keeps_the_key_that_it_was_begun_with() {
    let home = Home::new();
    home.write("key", KEY);
    let _sandbox = members(&home, &[]);
    run(&home, &["run", "members"]).expect(0);
    let before = home.files(LAKE);
    let refused = home.run(&["run", "members"]).expect(2).stderr;
    assert!(refused.contains(NO_KEY), "{refused}");
    home.write("key", OTHER);
    let refused = run(&home, &["rerun", "members"]).expect(2).stderr;
    assert!(
        refused.contains("is not the one that the tables of the lake ./lake-sensitive are encrypted with"),
        "{refused}"
    );
    home.write("key", "c2hvcnQ=");
    let refused = run(&home, &["run", "members"]).expect(2).stderr;
    assert!(refused.contains("is not 32 bytes in base64") && !refused.contains("c2hvcnQ="), "{refused}");
    assert_eq!(home.files(LAKE), before, "nothing was touched");

    home.write("key", KEY);
    let open = |command: &mut Command| Done::from(command.env("FHIRVEST__SENSITIVE_LAKE", "open").output().unwrap());
    open(&mut home.fhirvest(&["run", "members"])).expect(0);
    let refused = open(&mut keyed(&home, &["run", "members"])).expect(2).stderr;
    assert!(refused.contains("the lake open was begun without encryption"), "{refused}");
}
