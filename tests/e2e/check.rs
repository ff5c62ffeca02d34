//! `check` finds out what a server does, suggests what fits, and writes nothing.

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

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let home = Home::new();
    home.write("jobs/acme.toml", &JOB.replace("BASE", "http://127.0.0.1:1/fhir"));
    let output = home.fhirvest(&["check"]).env("FHIRVEST__LIMITS__MAX_RETRIES", "1").output().unwrap();
    let done = Done::from(output).expect(4);
    assert!(done.stdout.contains("check the base URL"), "{}", done.stdout);
}
