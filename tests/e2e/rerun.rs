//! An archive is flattened again without any network: after a view has changed, after tables were lost, and to publish
//! what was held back.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    harness::{Done, Home, Sandbox, workspace},
    history::{first_world, free_port, night, run_of, second_world, world},
};

/// A configuration folder of this home's own, so that its views can be changed.
fn own_config(home: &Home) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(fs::copy(entry.path(), to).is_ok()) }
        }
    }
    copy(&workspace().join("config"), &home.path("config"));
}

/// The harness names the project's configuration; a later `--config` would be refused, so the command is made here.
fn with_own_config(home: &Home, arguments: &[&str]) -> Done {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fhirvest"));
    // No proxy, no address: whoever asked would fail.
    command.current_dir(home.path(".")).env("NO_COLOR", "1").env("http_proxy", "http://127.0.0.1:9");
    Done::from(command.args(arguments).output().unwrap())
}

fn tables(done: &Done) -> BTreeMap<String, Value> {
    let report = done.report();
    let tables = report["tables"].as_array().unwrap().iter();
    tables.map(|table| (table["table"].as_str().unwrap().to_owned(), table.clone())).collect()
}

/// Every row of every table, as text.
fn content(home: &Home) -> BTreeMap<&'static str, Vec<Value>> {
    let rows = |table| home.duckdb(&format!("SELECT * EXCLUDE (snapshot) FROM acme.{table} ORDER BY ALL"));
    ["location", "organization", "telecom"].into_iter().map(|table| (table, rows(table))).collect()
}

#[test]
fn a_changed_view_makes_its_own_table_again_and_no_other() {
    let home = Home::new();
    own_config(&home);
    world(&home, &first_world(), 1);
    // The sandbox is gone when the archive is flattened again.
    let first = run_of(&night(&home, free_port(), "", &[]).expect(0));
    let before = content(&home);

    let same = with_own_config(&home, &["rerun", "nightly", "--json", "-q"]).expect(0);
    assert_eq!(same.report()["archive_run"], first);
    assert!(tables(&same).values().all(|table| table["state"] == "unchanged" && table["snapshot"] == first));
    assert_eq!(content(&home), before);

    // Everything again: the same content in files of another name.
    let all = with_own_config(&home, &["rerun", &first, "--all", "--json", "-q"]).expect(0);
    assert!(tables(&all).values().all(|table| table["state"] == "published" && table["snapshot"] == run_of(&all)));
    assert_eq!(content(&home), before);
    for table in ["location", "organization", "telecom"] {
        let bytes = |run: &str| {
            let folder = format!("lake/tables/{table}/source=acme/snapshot={run}");
            home.files(&folder)
                .into_iter()
                .map(|name| fs::read(home.path(&folder).join(name)).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(&run_of(&all)), bytes(&first), "{table}: byte for byte");
    }

    let path = home.path("config/views/plan-net/location.json");
    let mut view: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let column = json!({"name": "name_again", "path": "name", "type": "string", "description": "The name, again."});
    view["select"][0]["column"].as_array_mut().unwrap().push(column);
    fs::write(&path, view.to_string()).unwrap();
    let done = with_own_config(&home, &["rerun", "nightly", "--json", "-q"]).expect(0);
    let made = tables(&done);
    assert_eq!(
        (&made["location"]["state"], &made["location"]["snapshot"]),
        (&json!("published"), &json!(run_of(&done)))
    );
    assert_eq!((&made["organization"]["state"], &made["telecom"]["state"]), (&json!("unchanged"), &json!("unchanged")));
    assert_ne!(made["location"]["view_hash"], tables(&all)["location"]["view_hash"]);
    assert_eq!(home.count("acme.location WHERE name_again = name"), 40);
    // What it is made of is in the list of snapshots, and in the file itself.
    let kept =
        home.duckdb("SELECT run, view_hash FROM \"all\"._snapshots WHERE table_name = 'location' AND is_current");
    assert_eq!(kept, [json!({"run": first, "view_hash": made["location"]["view_hash"]})]);
    let file = format!(
        "{}/tables/location/source=acme/snapshot={}/part-00000.parquet",
        home.path("lake").display(),
        run_of(&done)
    );
    let metadata = home.duckdb(&format!(
        "SELECT decode(value) AS v FROM parquet_kv_metadata('{file}') WHERE decode(key) IN ('fhirvest.run', 'fhirvest.view_hash') ORDER BY 1"
    ));
    let mut expected = [first.clone(), made["location"]["view_hash"].as_str().unwrap().to_owned()];
    expected.sort();
    assert_eq!(metadata, expected.map(|value| json!({"v": value})));
    // Flattening again is no crawl: nothing changed, nothing was covered anew.
    assert_eq!(home.count(&format!("acme._changes WHERE snapshot <> '{first}'")), 0);
    assert_eq!(home.count(&format!("acme._resources WHERE run <> '{first}'")), 0);
}

#[test]
fn lost_tables_come_back_from_the_archive_and_a_damaged_archive_is_told() {
    let home = Home::new();
    world(&home, &first_world(), 1);
    let run = run_of(&night(&home, free_port(), "", &[]).expect(0));
    let before = content(&home);
    fs::remove_dir_all(home.path("lake/tables/location")).unwrap();
    fs::write(home.path(&format!("lake/tables/telecom/source=acme/snapshot={run}/part-00000.parquet")), "gone")
        .unwrap();
    let done = home.run(&["rerun", "nightly", "--json", "-q"]).expect(0);
    let made = tables(&done);
    let states = ["location", "telecom", "organization"].map(|table| made[table]["state"].as_str().unwrap().to_owned());
    assert_eq!(states, ["published", "published", "unchanged"]);
    assert_eq!(content(&home), before);

    // One bit of one block.
    let path = home.path(&format!("lake/archive/source=acme/run={run}/Location.ndjson.zst"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let failed = home.run(&["rerun", &run, "--all", "-q"]).expect(6);
    assert!(failed.stderr.contains("Location.ndjson.zst is damaged"), "{}", failed.stderr);
    assert_eq!(content(&home), before, "what was published stays");
    // The next run is not held up by the one that failed.
    night(&home, free_port(), "", &[]).expect(0);
}

#[test]
fn a_run_that_was_held_back_is_published_on_purpose() {
    let home = Home::new();
    let port = free_port();
    world(&home, &second_world(), 1);
    let first = run_of(&night(&home, port, "", &[]).expect(0));
    // More is gone than max_shrink allows.
    let mut fewer = second_world();
    fewer.retain(|id, _| id.as_str() < "l10");
    world(&home, &fewer, 2);
    let held = night(&home, port, "", &[]).expect(5);
    let second = run_of(&held);
    assert_eq!(tables(&held)["location"]["state"], "held");
    assert_eq!(home.count("acme.location"), 40);
    assert_eq!(home.count(&format!("acme._changes WHERE snapshot = '{second}'")), 0, "nothing changed for analysts");

    let done = home.run(&["publish", &second, "--json", "-q"]).expect(0);
    assert_eq!(
        (&done.report()["archive_run"], &tables(&done)["location"]["state"]),
        (&json!(second), &json!("published"))
    );
    let rows = home.duckdb("SELECT DISTINCT snapshot, (SELECT count(*) FROM acme.location) AS n FROM acme.location");
    assert_eq!(rows, [json!({"snapshot": second, "n": fewer.len()})]);
    let counts = done.report()["changes"][0].clone();
    let removed = second_world().len() - fewer.len();
    assert_eq!(counts, json!({"resource_type": "Location", "added": 0, "changed": 0, "removed": removed}));
    let agreed = home.count(&format!("changes('location', '{first}', '{second}') WHERE change = 'removed'"));
    assert_eq!(agreed, removed as u64);

    // An older run is kept for `as_of` and does not come back.
    let old = home.run(&["publish", &first, "--json", "-q"]).expect(0);
    assert!(tables(&old).values().all(|table| table["state"] != "published"), "{}", old.stdout);
    assert_eq!(home.count("acme.location"), fewer.len() as u64);
    for (name, code) in [("20200101T000000Z-nightly", 2), ("nobody", 2)] {
        home.run(&["publish", name]).expect(code);
    }
}

#[test]
fn a_harvest_can_be_flattened_again_too() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "30"]);
    let url = sandbox.url("highmark/provider-directory").to_owned();
    let done =
        home.run(&["harvest", &url, "-r", "Location", "-o", "lake", "--rate", "0", "--source", "acme", "--json"]);
    let run = run_of(&done.expect(0));
    drop(sandbox);
    let again = home.run(&["rerun", &run, "--all", "--json"]).expect(0);
    assert_eq!((&again.report()["archive_run"], home.count("acme.location") > 0), (&json!(run), true));
}
