//! Server families with habits: a plain crawl says that it did not get everything, and the platform's preset does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Done, Home, Sandbox};

const API: &str = "highmark/provider-directory";

fn harvest(home: &Home, url: &str, lake: &str, types: &str, more: &[&str]) -> Done {
    let mut arguments =
        vec!["harvest", url, "-r", types, "-o", lake, "--rate", "0", "--concurrency", "4", "--json", "-q"];
    arguments.extend(more);
    // Errors that stay are not worth the full back-off here.
    let output = home.fhirvest(&arguments).env("FHIRVEST__LIMITS__MAX_RETRIES", "1").output().unwrap();
    Done::from(output)
}

fn by_type(done: &Done) -> BTreeMap<String, Value> {
    let report = done.report();
    let resources = report["resources"].as_array().unwrap().iter();
    resources.map(|one| (one["resource_type"].as_str().unwrap().to_owned(), one.clone())).collect()
}

/// The platform, the world's size, the exit code of a plain crawl, and a type whose plain crawl must not end complete.
const CASES: [(&str, &str, i32, &str); 8] = [
    ("firely", "400", 5, "PractitionerRole"),
    ("azure", "400", 5, "PractitionerRole"),
    ("smile", "400", 5, "PractitionerRole"),
    ("aidbox", "400", 5, "PractitionerRole"),
    ("innovaccer", "400", 5, "PractitionerRole"),
    ("intersystems", "400", 3, "PractitionerRole"),
    ("abacus", "400", 5, "PractitionerRole"),
    ("1uphealth", "10200", 5, "Practitioner"),
];

#[test]
fn a_plain_crawl_fails_honestly_and_the_preset_gets_everything() {
    for (platform, size, code, resource_type) in CASES {
        let home = Home::new();
        let sandbox = Sandbox::start(&home, &["--platform", platform, "--size", size]);
        let url = sandbox.url(API);
        let plain = harvest(&home, url, "plain", resource_type, &["--page-size", "100"]).expect(code);
        let status = by_type(&plain)[resource_type]["status"].clone();
        assert_ne!(status, "complete", "{platform}");
        let tables = home.files("plain/tables");
        assert!(tables.iter().all(|path| path.starts_with('_')), "{platform} published {tables:?}");

        let preset = harvest(&home, url, "preset", resource_type, &["--platform", platform]).expect(0);
        let one = &by_type(&preset)[resource_type];
        assert_eq!(one["status"], "complete", "{platform}: {one}");
        assert_eq!(one["counts"]["archived"], one["server_total"], "{platform}: {one}");
    }
}

/// A server whose order is not stable repeats some rows and leaves out others: a plain crawl sees that and walks once more,
/// in an order of ids; the preset asks for that order at once.
#[test]
fn an_unstable_order_is_noticed_and_the_preset_saves_the_second_walk() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--platform", "hapi", "--size", "400"]);
    let pages = ["plain", "preset"].map(|lake| {
        let more: &[&str] =
            if lake == "plain" { &["--page-size", "100"] } else { &["--platform", "hapi", "--page-size", "100"] };
        let done = harvest(&home, sandbox.url(API), lake, "PractitionerRole", more).expect(0);
        let one = by_type(&done)["PractitionerRole"].clone();
        assert_eq!((&one["status"], &one["coverage"]), (&"complete".into(), &1.0.into()), "{lake}: {one}");
        one["pages"].as_u64().unwrap()
    });
    assert_eq!(pages[0], 2 * pages[1], "pages of a plain crawl, and with the preset");
}

#[test]
fn a_server_without_second_pages_is_searched_by_names_and_by_practitioners() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--platform", "opala", "--size", "400"]);
    let types = "Practitioner,Organization,PractitionerRole";
    let plain = harvest(&home, sandbox.url(API), "plain", types, &["--page-size", "100"]).expect(5);
    assert_eq!(by_type(&plain)["Practitioner"]["status"], "partial");

    // Roles without a practitioner cannot be had: that is told.
    let preset = harvest(&home, sandbox.url(API), "preset", types, &["--platform", "opala"]).expect(5);
    let resources = by_type(&preset);
    for name in ["Practitioner", "Organization"] {
        assert_eq!(resources[name]["status"], "complete", "{}", resources[name]);
        assert_eq!(resources[name]["counts"]["archived"], resources[name]["server_total"]);
    }
    let roles = &resources["PractitionerRole"];
    assert_eq!((roles["status"].as_str(), roles["strategy"].as_str()), (Some("partial"), Some("id-chain")));
    assert!(roles["coverage"].as_f64().unwrap() > 0.9, "{roles}");
}

const TOKENS: &str = r#"
version = 1
views = ["plan-net/practitioner_role"]
[rate]
requests_per_second = 0
[source]
name = "acme"
base_url = "BASE"
platform = "healthsparq"
auth = { kind = "client-credentials", token_url = "TOKENS" }
[resources.PractitionerRole]
"#;

#[test]
fn a_token_that_lives_for_a_few_requests_is_asked_for_again() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--platform", "healthsparq", "--size", "400"]);
    let url = sandbox.url(API);
    let plain = harvest(&home, url, "plain", "PractitionerRole", &["--page-size", "100"]).expect(3);
    assert_eq!(by_type(&plain)["PractitionerRole"]["status"], "refused");

    let tokens = url.replace(&format!("/{API}"), "/oauth/token");
    home.write("jobs/acme.toml", &TOKENS.replace("BASE", url).replace("TOKENS", &tokens));
    let done = home.run(&["run", "--json", "-q"]).expect(0);
    let one = &by_type(&done)["PractitionerRole"];
    assert_eq!((one["status"].as_str(), &one["counts"]["archived"]), (Some("complete"), &one["server_total"]));
    // Ten pages of a hundred, and each token is good for five requests.
    assert!(one["pages"].as_u64().unwrap() >= 10);

    home.write("jobs/acme.toml", &TOKENS.replace("BASE", url).replace("TOKENS", url));
    let wrong = home.run(&["run", "--json", "-q", "--fresh"]).expect(3);
    assert!(wrong.stdout.contains("token_url"), "{}", wrong.stdout);
}

#[test]
fn an_unknown_platform_is_told_with_the_nearest_name() {
    let home = Home::new();
    let done = harvest(&home, "http://127.0.0.1:1/", "lake", "Location", &["--platform", "azur"]).expect(2);
    assert!(done.stderr.contains("azure"), "{}", done.stderr);
    assert_eq!(home.files("lake"), Vec::<String>::new());
}
