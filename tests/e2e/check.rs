//! `check` finds out what a server does, suggests what fits, and writes nothing.

use serde_json::{Value, json};

use crate::harness::{Done, Home, Sandbox};

const JOB: &str = r#"
version = 1
views = ["plan-net/practitioner"]
[rate]
requests_per_second = 0
[source]
name = "acme"
base_url = "BASE"
[resources.PractitionerRole]
[resources.Patient]
"#;

fn check(platform: &[&str]) -> (Home, Done) {
    let home = Home::new();
    let mut arguments = vec!["--size", "400"];
    arguments.extend(platform);
    let sandbox = Sandbox::start(&home, &arguments);
    home.write("jobs/acme.toml", &JOB.replace("BASE", sandbox.url("highmark/provider-directory")));
    let done = home.run(&["check", "--json", "-q"]);
    (home, done)
}

#[test]
fn the_suggestion_fits_what_the_server_does() {
    for (platform, suggested) in [
        (vec![], "_sort = \"_id\""),
        (vec!["--platform", "intersystems"], "daterange"),
        (vec!["--platform", "abacus"], "strategy = \"offset\""),
        (vec!["--platform", "opala"], "first_page_only"),
        (vec!["--fault", "ignores-sort"], "page_size = 1000"),
    ] {
        let (home, done) = check(&platform);
        let done = done.expect(0);
        let reports = done.report();
        let resources = reports[0]["resources"].as_array().unwrap();
        let role = resources.iter().find(|one| one["resource_type"] == "PractitionerRole").unwrap();
        assert!(role["suggestion"].as_str().unwrap().contains(suggested), "{platform:?}: {role}");
        let patient = resources.iter().find(|one| one["resource_type"] == "Patient").unwrap();
        assert!(patient["suggestion"].as_str().unwrap().contains("leave"), "{patient}");
        assert_eq!(home.files("lake"), Vec::<String>::new());

        // What it suggests works as pasted.
        let suggestion = role["suggestion"].as_str().unwrap();
        let job = JOB.replace("BASE", "http://127.0.0.1:1/").replace("[resources.Patient]", "");
        home.write("jobs/acme.toml", &job.replace("[resources.PractitionerRole]", suggestion));
        home.run(&["config", "show", "acme"]).expect(0);
    }
}

/// Habits of a server that a strategy, a page size or an order is an answer to.
const FAULTS: [&str; 18] = [
    "root-relative-next",
    "next-outside-base",
    "next-other-host",
    "next-internal-host",
    "page-2-dead",
    "next-repeats-self",
    "overlap",
    "unstable-order",
    "no-next",
    "cap-100",
    "count-ceiling-100-empty",
    "count-ceiling-100-outcome",
    "unfiltered-400",
    "unfiltered-413",
    "unfiltered-outcome-200",
    "total-absent",
    "ignores-sort",
    "ignores-lastupdated",
];

const TYPES: [&str; 2] = ["Practitioner", "PractitionerRole"];

const OF_TWO_TYPES: &str = r#"
version = 1
views = ["plan-net/practitioner"]
[rate]
requests_per_second = 0
[source]
name = "acme"
base_url = "BASE"
AUTH
SUGGESTED
"#;

/// What came of a run of the job that `check` suggests for a server: its exit code, and the resources of each type.
fn pasted(arguments: &[&str], size: &str, types: &[&str]) -> (Option<i32>, Value) {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &[arguments, &["--size", size]].concat());
    let url = sandbox.url("highmark/provider-directory");
    let tokens = url.replace("/highmark/provider-directory", "/oauth/token");
    let wants_token = arguments.contains(&"healthsparq");
    let auth = format!("auth = {{ kind = \"client-credentials\", token_url = \"{tokens}\" }}");
    let job = OF_TWO_TYPES.replace("BASE", url).replace("AUTH", if wants_token { &auth } else { "" });
    let asked: Vec<String> = types.iter().map(|name| format!("[resources.{name}]")).collect();
    home.write("jobs/acme.toml", &job.replace("SUGGESTED", &asked.join("\n")));
    let checked = home.run(&["check", "--json", "-q"]).expect(0).report();
    let found = checked[0]["resources"].as_array().unwrap().iter();
    let suggested: Vec<&str> = found.map(|one| one["suggestion"].as_str().unwrap()).collect();
    home.write("jobs/acme.toml", &job.replace("SUGGESTED", &suggested.join("\n")));
    // Errors that stay are not worth the full back-off here.
    let output = home.fhirvest(&["run", "--json", "-q"]).env("FHIRVEST__LIMITS__MAX_RETRIES", "1").output().unwrap();
    let done = Done::from(output);
    let resources = done.report()["resources"].as_array().unwrap().clone();
    let counts = resources.iter().map(|one| {
        (one["resource_type"].as_str().unwrap().to_owned(), json!([one["status"], one["counts"]["archived"]]))
    });
    (done.code, counts.collect::<serde_json::Map<_, _>>().into())
}

#[test]
fn what_is_suggested_brings_everything_as_pasted() {
    let whole = pasted(&[], "400", &TYPES);
    assert_eq!((whole.0, &whole.1["Practitioner"]), (Some(0), &json!(["complete", 400])));
    for platform in
        ["hapi", "firely", "azure", "smile", "aidbox", "healthsparq", "innovaccer", "intersystems", "abacus", "opala"]
    {
        assert_eq!(pasted(&["--platform", platform], "400", &TYPES), whole, "{platform}");
    }
    // Its links end where only a large directory does not.
    let (code, large) = pasted(&["--platform", "1uphealth"], "10200", &TYPES[..1]);
    assert_eq!((code, &large["Practitioner"]), (Some(0), &json!(["complete", 10_200])), "1uphealth: {large}");
    let whole = pasted(&[], "130", &TYPES);
    for fault in FAULTS {
        assert_eq!(pasted(&["--fault", fault], "130", &TYPES), whole, "{fault}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let home = Home::new();
    home.write("jobs/acme.toml", &JOB.replace("BASE", "http://127.0.0.1:1/fhir"));
    let output = home.fhirvest(&["check"]).env("FHIRVEST__LIMITS__MAX_RETRIES", "1").output().unwrap();
    let done = Done::from(output).expect(4);
    assert!(done.stdout.contains("check the base URL"), "{}", done.stdout);
}
