//! Damage is found and named, what is no longer kept goes, and what nobody can write to is told.

use std::fs;

use serde_json::{Value, json};

use crate::{
    harness::Home,
    history::{first_world, free_port, night, run_of, world},
};

fn damage(home: &Home, code: i32) -> Vec<(String, String)> {
    let found: Value = home.run(&["verify", "--json"]).expect(code).report();
    let damage = found[0]["damage"].as_array().unwrap().iter();
    damage.map(|one| (one["path"].as_str().unwrap().to_owned(), one["what"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn every_kind_of_damage_is_named() {
    let home = Home::new();
    world(&home, &first_world(), 1);
    let run = run_of(&night(&home, free_port(), "", &[]).expect(0));
    assert_eq!(damage(&home, 0), []);

    let archive = format!("archive/source=acme/run={run}/Location.ndjson.zst");
    let changed = format!("tables/location/source=acme/snapshot={run}/part-00000.parquet");
    let short = format!("tables/_changes/source=acme/snapshot={run}/part-00000.parquet");
    let missing = format!("tables/organization/source=acme/snapshot={run}/part-00000.parquet");
    let lake = home.path("lake");
    for path in [&archive, &changed] {
        let mut bytes = fs::read(lake.join(path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(lake.join(path), bytes).unwrap();
    }
    let whole = fs::read(lake.join(&short)).unwrap();
    fs::write(lake.join(&short), "PAR1").unwrap();
    fs::remove_file(lake.join(&missing)).unwrap();
    fs::write(lake.join("views.sql"), "-- edited").unwrap();
    let mut found = damage(&home, 6);
    found.sort();
    let mut expected = vec![archive.clone(), changed, short.clone(), missing, "views.sql".to_owned()];
    expected.sort();
    assert_eq!(found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), expected, "{found:?}");
    assert!(found.iter().any(|(path, what)| *path == archive && what.contains("not what was written")), "{found:?}");
    // What it says to do helps: the archive and the history from a copy, the tables from the archive.
    fs::write(lake.join(&short), whole).unwrap();
    let mut bytes = fs::read(lake.join(&archive)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(lake.join(&archive), bytes).unwrap();
    home.run(&["rerun", &run, "-q"]).expect(0);
    assert_eq!(home.count("acme.location"), 40);
}

#[test]
fn pruning_says_what_it_would_do_and_removes_what_nobody_knows() {
    let home = Home::new();
    let port = free_port();
    world(&home, &first_world(), 1);
    let runs: Vec<String> = (0..3).map(|_| run_of(&night(&home, port, "", &[]).expect(0))).collect();
    // A process was killed before it had noted its snapshot.
    home.write("lake/tables/location/source=acme/snapshot=20200101T000000Z-nightly/part-00000.parquet", "left");
    let text = fs::read_to_string(home.path("jobs/nightly.toml")).unwrap();
    home.write(
        "jobs/nightly.toml",
        &text.replace("version = 1\n", "version = 1\nkeep_snapshots = 2\nkeep_archives = 1\n"),
    );
    let before = home.files("lake");
    let dry = home.run(&["prune", "--dry-run", "--json"]).expect(0).report();
    assert_eq!(home.files("lake"), before, "nothing is touched");
    let removed = |report: &Value| -> Vec<String> {
        report[0]["removed"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = vec![
        format!("archive/source=acme/run={}", runs[0]),
        format!("archive/source=acme/run={}", runs[1]),
        "tables/location/source=acme/snapshot=20200101T000000Z-nightly".to_owned(),
    ];
    expected.extend(
        ["location", "organization", "telecom"].map(|table| format!("tables/{table}/source=acme/snapshot={}", runs[0])),
    );
    let mut found = removed(&dry);
    found.retain(|path| !path.contains("/_seen/"));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let done = home.run(&["prune", "--json"]).expect(0).report();
    assert_eq!(removed(&done), removed(&dry));
    for path in removed(&done) {
        assert!(!home.path("lake").join(&path).exists(), "{path}");
    }
    assert_eq!(home.count("acme.location"), 40);
    assert_eq!(home.count("as_of('location', DATE '2999-01-01')"), 40);
    assert_eq!(home.count("acme._runs"), 3, "the history stays");
    home.run(&["verify", "-q"]).expect(0);
    assert_eq!(removed(&home.run(&["prune", "--json"]).expect(0).report()), Vec::<String>::new());
}

#[test]
fn a_staged_archive_that_somebody_removed_is_told_and_not_taken_for_nothing() {
    let home = Home::new();
    let port = free_port();
    world(&home, &first_world(), 1);
    let first = run_of(&night(&home, port, "", &[]).expect(0));
    // The place of the archive is a file: sealing fails, after everything was crawled.
    let blocked = home.path("lake/archive/source=acme");
    fs::rename(&blocked, home.path("aside")).unwrap();
    fs::write(&blocked, "").unwrap();
    let failed = night(&home, port, "", &[]).expect(6);
    assert!(failed.stderr.contains("archive/source=acme"), "{}", failed.stderr);
    fs::remove_file(&blocked).unwrap();
    fs::rename(home.path("aside"), &blocked).unwrap();
    let staged =
        home.files("lake/.fhirvest/runs").into_iter().find(|path| path.ends_with("Location.ndjson.zst")).unwrap();
    fs::remove_file(home.path("lake/.fhirvest/runs").join(staged)).unwrap();
    let failed = night(&home, port, "", &[]).expect(6);
    assert!(failed.stderr.contains("Location.ndjson.zst"), "{}", failed.stderr);
    let rows = home.duckdb("SELECT DISTINCT snapshot, (SELECT count(*) FROM acme.location) AS n FROM acme.location");
    assert_eq!(rows, [json!({"snapshot": first, "n": 40})], "what was published stays");
}
