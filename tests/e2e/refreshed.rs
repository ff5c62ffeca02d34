//! Nights of a job that asks for changes only: its lake is at each end what the server has, as far as changes tell.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    harness::{Done, Home},
    history::{free_port, night_of},
};

fn job(url: &str, more: &str) -> String {
    format!(
        r#"
version = 1
views = ["plan-net/location", "plan-net/organization"]
refresh = "incremental"
{more}
[source]
name = "acme"
base_url = "{url}"
[rate]
requests_per_second = 0
[resources.Location]
page_size = 7
[resources.Organization]
"#
    )
}

/// Locations as `(number, name, day)`; the day is that of the last update, in November.
fn world(home: &Home, locations: &[(u32, &str, u32)]) {
    let mut text = String::new();
    for (number, name, day) in locations {
        let updated = format!("2026-11-{day:02}T10:00:{:02}Z", number % 60);
        let one = json!({"resourceType": "Location", "id": format!("l{number}"), "meta": {"lastUpdated": updated}, "name": name});
        writeln!(text, "{one}").unwrap();
    }
    home.write("world/Location.ndjson", &text);
    let one = json!({"resourceType": "Organization", "id": "o1", "meta": {"lastUpdated": "2026-11-01T00:00:00Z"}, "name": "A"});
    let two = json!({"resourceType": "Organization", "id": "o2", "name": "never stamped"});
    home.write("world/Organization.ndjson", &format!("{one}\n{two}\n"));
}

fn refreshed(done: &Done, resource_type: &str) -> Value {
    let report = done.report();
    let found = report["refreshed"].as_array().unwrap().iter().find(|one| one["resource_type"] == resource_type);
    found.unwrap_or_else(|| panic!("{report}")).clone()
}

fn outcome(done: &Done, resource_type: &str) -> Value {
    let report = done.report();
    let found = report["resources"].as_array().unwrap().iter().find(|one| one["resource_type"] == resource_type);
    found.unwrap_or_else(|| panic!("{report}")).clone()
}

fn night(home: &Home, port: u16, more: &str, faults: &[&str]) -> Done {
    night_of(home, port, faults, |url| job(url, more))
}

fn names(home: &Home) -> Vec<String> {
    let rows = home.duckdb("SELECT name FROM acme.location ORDER BY name");
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn changes_are_added_to_the_archive_before_and_a_full_crawl_finds_deletions() {
    let home = Home::new();
    let port = free_port();
    let mut locations: Vec<(u32, String, u32)> = (0..40).map(|n| (n, format!("n{n:02}"), 1 + n % 20)).collect();
    let show = |locations: &[(u32, String, u32)]| {
        let borrowed: Vec<(u32, &str, u32)> =
            locations.iter().map(|(n, name, day)| (*n, name.as_str(), *day)).collect();
        world(&home, &borrowed);
        let mut names: Vec<String> = locations.iter().map(|(_, name, _)| name.clone()).collect();
        names.sort();
        names
    };
    let expected = show(&locations);
    let first = night(&home, port, "", &[]).expect(0);
    assert_eq!(refreshed(&first, "Location")["since"], Value::Null, "there is nothing to add to yet");
    assert_eq!(names(&home), expected);

    // Nothing new: nearly nothing is asked for, and everything is there.
    let quiet = night(&home, port, "", &[]).expect(0);
    let one = refreshed(&quiet, "Location");
    assert_eq!((&one["since"], &one["resources"]), (&json!("2026-11-20T10:00:39Z"), &json!(40)), "{one}");
    assert_eq!(outcome(&quiet, "Location")["status"], "complete");
    assert_eq!(outcome(&quiet, "Location")["coverage"], 1.0);
    assert_eq!(names(&home), expected);
    // A resource without a stamp would be missed: that type is asked for whole.
    assert_eq!(refreshed(&quiet, "Organization")["since"], Value::Null);
    assert_eq!(home.count("acme.organization"), 2);

    // One changed, two new.
    locations[3].1 = "renamed".into();
    locations[3].2 = 22;
    locations.push((40, "new40".into(), 22));
    locations.push((41, "new41".into(), 22));
    let expected = show(&locations);
    let third = night(&home, port, "", &[]).expect(0);
    let one = refreshed(&third, "Location");
    assert_eq!((&one["carried"], &one["replaced"], &one["resources"]), (&json!(38), &json!(2), &json!(42)), "{one}");
    assert_eq!(outcome(&third, "Location")["pages"], 1);
    assert_eq!(names(&home), expected);

    // A deletion does not show, until everything is asked for again.
    locations.remove(10);
    let expected = show(&locations);
    night(&home, port, "", &[]).expect(0);
    assert_eq!(names(&home).len(), 42);
    let full = night(&home, port, "full_every = \"1ms\"", &[]).expect(0);
    assert_eq!(refreshed(&full, "Location")["since"], Value::Null);
    assert_eq!(names(&home), expected);
}

#[test]
fn a_server_that_ignores_the_time_is_asked_for_everything_and_changes_that_do_not_add_up_are_partial() {
    let home = Home::new();
    let port = free_port();
    let locations: Vec<(u32, &str, u32)> = (0..40).map(|n| (n, "same", 1 + n % 20)).collect();
    world(&home, &locations);
    for _ in 0..2 {
        let done = night(&home, port, "", &["ignores-lastupdated"]).expect(0);
        let one = refreshed(&done, "Location");
        assert_eq!((&one["since"], &one["findings"]["honoured"]), (&Value::Null, &json!(false)), "{one}");
    }

    // Forty more with an old stamp: no question for changes finds them.
    night(&home, port, "", &[]).expect(0);
    let mut more = locations.clone();
    more.extend((40..80).map(|n| (n, "late", 2)));
    world(&home, &more);
    let short = night(&home, port, "", &[]).expect(5);
    assert_eq!(outcome(&short, "Location")["status"], "partial");
    assert_eq!(names(&home).len(), 40, "the tables are those of the night before");
    night(&home, port, "", &[]).expect(0);
    assert_eq!(names(&home).len(), 80, "the next run asks for everything");
}
