//! What goes wrong is told clearly, with the documented exit code, and leaves nothing half done.

use crate::harness::{Home, Sandbox};

const JOB: &str = r#"
version = 1
views = ["plan-net/location"]
[rate]
requests_per_second = 0
[limits]
max_retries = 1
[source]
name = "acme"
base_url = "BASE"
auth = { kind = "api-key", header = "x-api-key", key = { env = "ACME_KEY" } }
[resources.Location]
page_size = 50
"#;

fn lake_tables(home: &Home) -> Vec<String> {
    home.files("lake/tables").into_iter().filter(|path| !path.starts_with('_')).collect()
}

#[test]
fn a_wrong_base_url_is_unavailable_or_refused() {
    let home = Home::new();
    // Nobody listens on port 1.
    home.write("jobs/acme.toml", &JOB.replace("BASE", "http://127.0.0.1:1/fhir"));
    let done = Home::fhirvest(&home, &["run"]).env("ACME_KEY", "k").output().unwrap();
    let done = crate::harness::Done::from(done).expect(4);
    assert!(done.stderr.contains("check the base URL"), "{}", done.stderr);
    assert_eq!(lake_tables(&home), Vec::<String>::new());
    assert_eq!(home.files("lake/archive"), Vec::<String>::new());

    let sandbox = Sandbox::start(&home, &["--size", "5"]);
    let wrong = sandbox.url("highmark/provider-directory").replace("provider-directory", "no-such-api");
    home.write("jobs/acme.toml", &JOB.replace("BASE", &wrong));
    let done = Home::fhirvest(&home, &["run"]).env("ACME_KEY", "k").output().unwrap();
    let done = crate::harness::Done::from(done).expect(3);
    assert!(done.stderr.contains("check the base URL"), "{}", done.stderr);
    assert_eq!(lake_tables(&home), Vec::<String>::new());
}

#[test]
fn a_wrong_key_is_refused_and_never_shown() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "5", "--api-key-env", "SANDBOX_KEY"]);
    home.write("jobs/acme.toml", &JOB.replace("BASE", sandbox.url("highmark/provider-directory")));
    let run = |key: &str| {
        let output = home.fhirvest(&["-vv", "run", "--json"]).env("ACME_KEY", key).output().unwrap();
        crate::harness::Done::from(output)
    };
    let done = run("wr0ng-s3cret").expect(3);
    assert!(done.stdout.contains("check the credentials"), "{}", done.stdout);
    assert!(!done.stderr.contains("wr0ng-s3cret") && !done.stdout.contains("wr0ng-s3cret"));
    assert_eq!(lake_tables(&home), Vec::<String>::new());
    run("right").expect(0);
    assert!(home.count("acme.location") > 0);
}

#[test]
fn mistakes_in_files_end_before_anything_is_written() {
    for (job, message) in [
        (
            JOB.replace("page_size", "page_sise"),
            "unknown key `resources.Location.page_sise` (did you mean `page_size`?)",
        ),
        (JOB.replace("BASE", "not an address"), "is not an address"),
        (JOB.replace("resources.Location", "resources.Lokation"), "did you mean `Location`?"),
        (JOB.replace("plan-net/location", "plan-net/lokation"), "no view fits `plan-net/lokation`"),
        (JOB.replace("BASE", "http://127.0.0.1:1/fhir"), "the environment variable ACME_KEY is not set"),
        (
            "version = 1\napi = \"highmark/provider-directory\"\nenvironment = \"production\"\n[resources.Location]\n"
                .into(),
            "does not publish all that a request",
        ),
    ] {
        let home = Home::new();
        home.write("jobs/acme.toml", &job);
        let done = home.run(&["run"]).expect(2);
        assert!(done.stderr.contains(message), "{message}: {}", done.stderr);
        assert!(!home.path("lake").exists(), "{message}");
    }
}

#[test]
fn a_broken_view_is_told_with_its_place() {
    let home = Home::new();
    home.write(
        "config/views/mine/broken.json",
        r#"{"resource":"Location","name":"mine","select":[{"column":[{"name":"id","path":"name.frist()"}]}]}"#,
    );
    home.write("jobs/acme.toml", &JOB.replace("plan-net/location", "mine/*").replace("BASE", "http://127.0.0.1:1/"));
    let config = home.path("config");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fhirvest"))
        .current_dir(home.path(""))
        .args(["--config", config.to_str().unwrap(), "run"])
        .env("ACME_KEY", "k")
        .output()
        .unwrap();
    let done = crate::harness::Done::from(output).expect(2);
    for part in ["/select/0/column/0/path", "unknown-function", "name.frist()", "^^^^", "did you mean `first`?"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(!home.path("lake").exists());
}

#[test]
fn usage_mistakes_are_2() {
    let home = Home::new();
    home.run(&["run", "--no-such-flag"]).expect(2);
    home.run(&["harvest", "http://127.0.0.1:1/", "-r", "Locashun"]).expect(2);
    home.run(&["runs"]).expect(2);
}
