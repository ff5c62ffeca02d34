//! Nights with additions, changes and removals: what `_changes` tells, what the macros find, and what a broken night leaves.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use crate::harness::{Done, Home, Sandbox};

const JOB: &str = r#"
version = 1
views = ["plan-net/location", "plan-net/organization", "plan-net/telecom.location"]
[source]
name = "acme"
base_url = "URL"
[rate]
requests_per_second = 0
[limits]
max_retries = 0
[resources.Location]
page_size = 7
[resources.Organization]
"#;

pub(crate) type World = BTreeMap<String, String>;

/// Locations by id with their names, and one organization that never changes but for its stamp.
pub(crate) fn world(home: &Home, locations: &World, night: usize) {
    let mut text = String::new();
    for (id, name) in locations {
        let updated = format!("2026-11-{:02}T10:00:00Z", night + 1);
        let phone = json!([{"system": "phone", "value": format!("412-555-{:04}", id.len())}]);
        let one = json!({"resourceType": "Location", "id": id, "meta": {"lastUpdated": updated, "versionId": night.to_string()},
            "name": name, "telecom": phone});
        writeln!(text, "{one}").unwrap();
    }
    home.write("world/Location.ndjson", &text);
    let one =
        json!({"resourceType": "Organization", "id": "o1", "meta": {"versionId": night.to_string()}, "name": "A"});
    home.write("world/Organization.ndjson", &format!("{one}\n"));
}

/// One night: the server with the world of now, and a run of what `job` says for its address.
pub(crate) fn night_of(home: &Home, port: u16, faults: &[&str], job: impl FnOnce(&str) -> String) -> Done {
    let data = home.path("world");
    let mut arguments = vec!["--data", data.to_str().unwrap()];
    faults.iter().for_each(|fault| arguments.extend(["--fault", *fault]));
    let sandbox = Sandbox::start_at(home, &format!("127.0.0.1:{port}"), &arguments);
    home.write("jobs/nightly.toml", &job(sandbox.url("fhir")));
    home.run(&["run", "nightly", "--json", "-q"])
}

pub(crate) fn night(home: &Home, port: u16, more: &str, faults: &[&str]) -> Done {
    night_of(home, port, faults, |url| job(url, more))
}

pub(crate) fn job(url: &str, more: &str) -> String {
    JOB.replace("URL", url).replace("version = 1\n", &format!("version = 1\n{more}\n"))
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn run_of(done: &Done) -> String {
    done.report()["run"].as_str().unwrap().to_owned()
}

/// Id and change of every row of `_changes` of a run.
fn told(home: &Home, run: &str) -> Vec<(String, String)> {
    let rows = home.duckdb(&format!(
        "SELECT id, change FROM acme._changes WHERE resource_type = 'Location' AND snapshot = '{run}' ORDER BY id"
    ));
    pairs(&rows, "id")
}

fn pairs(rows: &[Value], key: &str) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, key), text(row, "change"))).collect()
}

/// What became of one world in another.
fn difference(before: &World, after: &World) -> Vec<(String, String)> {
    let mut found = BTreeMap::new();
    for (id, name) in after {
        match before.get(id) {
            None => found.insert(id.clone(), "added".to_owned()),
            Some(old) if old != name => found.insert(id.clone(), "changed".to_owned()),
            Some(_) => None,
        };
    }
    for id in before.keys().filter(|id| !after.contains_key(*id)) {
        found.insert(id.clone(), "removed".to_owned());
    }
    found.into_iter().collect()
}

pub(crate) fn first_world() -> World {
    (0..40).map(|n| (format!("l{n:02}"), format!("name {n}"))).collect()
}

pub(crate) fn second_world() -> World {
    let mut world = first_world();
    world.remove("l07");
    world.remove("l39");
    world.insert("l11".into(), "renamed".into());
    world.extend([("m1".to_owned(), "new".to_owned()), ("m2".to_owned(), "new".to_owned())]);
    world
}

#[test]
fn two_nights_are_told_exactly_and_a_broken_third_changes_nothing() {
    let home = Home::new();
    let port = free_port();
    let (one, two) = (first_world(), second_world());
    world(&home, &one, 1);
    let first = run_of(&night(&home, port, "", &[]).expect(0));
    world(&home, &two, 2);
    let done = night(&home, port, "", &[]).expect(0);
    let second = run_of(&done);

    assert_eq!(told(&home, &first), difference(&World::new(), &one));
    let expected = difference(&one, &two);
    assert_eq!(expected.len(), 5);
    assert_eq!(told(&home, &second), expected);
    // A stamp is no content.
    assert_eq!(home.count(&format!("acme._changes WHERE resource_type = 'Organization' AND snapshot = '{second}'")), 0);
    let counts = json!([{"resource_type": "Location", "added": 2, "changed": 1, "removed": 2},
        {"resource_type": "Organization", "added": 0, "changed": 0, "removed": 0}]);
    assert_eq!(done.report()["changes"], counts);

    // The tables differ as it says, by every way to name a table and a moment.
    for (table, since, until) in [
        ("location", format!("'{first}'"), format!("'{second}'")),
        ("acme.location", format!("'{first}'"), "TIMESTAMP '2999-01-01 00:00:00'".to_owned()),
        ("all.location", format!("'{first}'"), "DATE '2999-01-01'".to_owned()),
    ] {
        let rows = home.duckdb(&format!("SELECT key, change FROM changes('{table}', {since}, {until}) ORDER BY key"));
        assert_eq!(pairs(&rows, "key"), expected, "{table}");
    }
    let renamed = home.duckdb(&format!(
        "SELECT before[1].name AS was, after[1].name AS \"is\" FROM changes('location', '{first}', '{second}') WHERE change = 'changed'"
    ));
    assert_eq!(renamed, [json!({"was": "name 11", "is": "renamed"})]);
    for (run, world) in [(&first, &one), (&second, &two)] {
        let rows = home.duckdb(&format!("SELECT id, name FROM as_of('location', '{run}')"));
        let rows = rows.iter().map(|row| (row["id"].as_str().unwrap().into(), row["name"].as_str().unwrap().into()));
        assert_eq!(rows.collect::<World>(), *world);
        let rows = home.count(&format!("as_of('telecom', '{run}')"));
        assert_eq!(rows, world.len() as u64);
    }
    assert_eq!(home.count("as_of('location', '20000101')"), 0, "there was nothing then");

    // A third night: the server ends early. The tables stay, and `coverage` says why.
    let mut three = two.clone();
    three.remove("l01");
    three.insert("m3".into(), "newer".into());
    world(&home, &three, 3);
    let broken = night(&home, port, "", &["page-2-dead"]);
    assert_ne!(broken.code, Some(0));
    let third = run_of(&broken);
    let rows = home.duckdb("SELECT DISTINCT snapshot, (SELECT count(*) FROM acme.location) AS n FROM acme.location");
    assert_eq!(rows, [json!({"snapshot": second, "n": two.len()})]);
    assert_eq!(told(&home, &third), []);
    let rows = home.duckdb("SELECT status, last_run, last_complete_run FROM coverage WHERE resource_type = 'Location'");
    assert_eq!(rows[0]["last_run"], third);
    assert_eq!(rows[0]["last_complete_run"], second);
    assert_ne!(rows[0]["status"], "complete");

    // A fourth, whole again: it is compared with the last whole one.
    let fourth = run_of(&night(&home, port, "", &[]).expect(0));
    assert_eq!(told(&home, &fourth), difference(&two, &three));
}

#[test]
fn first_and_last_seen_survive_retention_and_a_partial_crawl_removes_nothing() {
    let home = Home::new();
    let port = free_port();
    let keep = "keep_snapshots = 1\nkeep_archives = 1";
    let mut runs = Vec::new();
    for (number, world_now) in [first_world(), second_world(), second_world()].iter().enumerate() {
        world(&home, world_now, number);
        runs.push(run_of(&night(&home, port, keep, &[]).expect(0)));
    }
    let snapshots = home.duckdb("SELECT DISTINCT snapshot FROM \"all\"._snapshots");
    assert_eq!(snapshots, [json!({"snapshot": runs[2]})], "the others are pruned");
    let folders = home.files("lake/tables/location");
    assert!(folders.iter().all(|path| path.contains(&runs[2])), "{folders:?}");
    assert!(home.files("lake/archive").iter().all(|path| path.contains(&runs[2])));
    for (id, first, last, absent) in
        [("l00", &runs[0], &runs[2], false), ("l07", &runs[0], &runs[0], true), ("m1", &runs[1], &runs[2], false)]
    {
        let rows = home.duckdb(&format!(
            "SELECT first_run, last_run, absent, first_seen = first_seen('Location', id) AS agrees FROM acme._seen WHERE id = '{id}'"
        ));
        assert_eq!(rows, [json!({"first_run": first, "last_run": last, "absent": absent, "agrees": true})], "{id}");
    }
    // Shown on purpose, a partial crawl adds and changes; what it lacks may still be there.
    let mut fewer = second_world();
    fewer.retain(|id, _| id.as_str() > "l20");
    fewer.insert("l30".into(), "renamed too".into());
    world(&home, &fewer, 4);
    let jobs = home.path("jobs/nightly.toml");
    let data = home.path("world");
    let sandbox = Sandbox::start_at(&home, &format!("127.0.0.1:{port}"), &["--data", data.to_str().unwrap()]);
    std::fs::write(&jobs, job(sandbox.url("fhir"), &format!("{keep}\npublish = \"always\""))).unwrap();
    let sample = home.run(&["run", "nightly", "--max-pages", "2", "--json", "-q"]).expect(5);
    assert_eq!(home.count("acme.location"), 14);
    let changes = told(&home, &run_of(&sample));
    assert!(changes.iter().all(|(_, change)| change != "removed"), "{changes:?}");
    assert!(changes.contains(&("l30".into(), "changed".into())), "{changes:?}");
}

/// Whether what does not come again is gone, no count shows: the report says so, and `_changes` has it.
#[test]
fn what_did_not_come_again_is_told_where_the_server_does_not_count() {
    let (home, port) = (Home::new(), free_port());
    let faults = ["total-absent", "count-unsupported"];
    world(&home, &first_world(), 0);
    let first = night(&home, port, "", &faults).expect(0).report();
    assert_eq!(first["resources"][0]["detail"], Value::Null, "{first}");
    world(&home, &second_world(), 1);
    let done = night(&home, port, "", &faults).expect(0);
    let detail = done.report()["resources"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("2 that were there before did not come again"), "{detail}");
    let removed = told(&home, &run_of(&done)).into_iter().filter(|(_, change)| change == "removed").count();
    assert_eq!(removed, 2);
    // A server that counts says itself that they are gone.
    world(&home, &first_world().into_iter().skip(1).collect(), 2);
    let counted = night(&home, port, "", &[]).expect(0).report();
    assert_eq!(counted["resources"][0]["detail"], Value::Null, "{counted}");
}
