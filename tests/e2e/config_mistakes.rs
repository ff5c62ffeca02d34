//! All mistakes of a configuration at once, each with its place; where values come from; schemas as they are.

use crate::harness::{Done, Home, workspace};

/// Seventeen mistakes, some of which only show when keys are looked at together.
const BAD: &str = r#"version = 2
shedule = "15 2 * * *"
schedule = "0 15 2 * * *"
timezone = "America/New_Yrok"
min_coverage = 98
refresh = "incrementall"
views = ["plan-net/lokation"]
[rate]
requests_per_second = "fast"
[limits]
max_wait = "15"
max_page_bytes = "big"
[source]
name = "acme"
base_url = "htps:/acme.example"
platform = "happi"
auth = { kind = "api-key", header = "x-api-key", key = "s3cr3t-in-clear" }
[resources.Lokation]
[resources.Location]
params = { _count = "100" }
[resources.PractitionerRole]
strategy = "id-chain"
chain = { param = "practitioner", from = "Practitioner" }
[resources.Organization]
values = { param = "address-state", list = ["PA"] }
"#;

#[test]
fn every_mistake_is_told_at_once_with_file_line_and_nearest_name() {
    let home = Home::new();
    home.write("jobs/acme.toml", BAD);
    for command in [vec!["run"], vec!["check", "acme"], vec!["schedule"]] {
        let done = home.run(&command).expect(2);
        for (line, part) in [
            (1, "`version` is 2, but this program reads version 1"),
            (2, "unknown key `shedule` (did you mean `schedule`?)"),
            (3, "six field"),
            (4, "did you mean `America/New_York`?"),
            (5, "`min_coverage` is 98, but has to be between 0 and 1"),
            (6, "did you mean `incremental`?"),
            (7, "no view fits `plan-net/lokation` (did you mean `plan-net/location`?)"),
            (9, "`rate.requests_per_second` is a string"),
            (11, "`limits.max_wait`: \"15\" is not a length of time"),
            (12, "`limits.max_page_bytes`: \"big\" is not a size"),
            (15, "`source.base_url`: \"htps:/acme.example\" is not an http or https address"),
            (16, "there is no platform `happi` in config/platforms (did you mean `hapi`?)"),
            (17, "`source.auth.key` is a text, but a secret is never written into a file"),
            (18, "FHIR R4 has no resource type `Lokation` (did you mean `Location`?)"),
            (20, "use page_size"),
            (21, "starts from Practitioner, which the job does not harvest (add [resources.Practitioner])"),
            (24, "`values` has no effect without `strategy = \"values\"`"),
        ] {
            let start = format!("jobs/acme.toml:{line}:");
            let told = done.stderr.lines().any(|text| {
                text.trim_start().trim_start_matches("error: ").starts_with(&start)
                    && (text.contains(part) || part == "six field" && text.contains("6 field(s)"))
            });
            assert!(told, "{command:?} line {line}: {part}\n{}", done.stderr);
        }
        assert!(done.stderr.contains("17 mistakes in the configuration"), "{}", done.stderr);
        assert!(!done.stderr.contains("s3cr3t"), "{}", done.stderr);
        assert!(!home.path("lake").exists());
    }
}

#[test]
fn variables_and_flags_are_held_to_the_same_rules_as_files() {
    let home = Home::new();
    home.write("jobs/a.toml", "version = 1\napi = 'highmark/provider-directory'\n[resources.Location]\n");
    let mut command = home.fhirvest(&["run", "a", "--environment", "nowhere"]);
    for (name, value) in [
        ("RATE__BURTS", "1"),
        ("RATE__BURST", "0"),
        ("RATE__CONCURRENCY", "many"),
        ("MIN_COVERAGE", "7"),
        ("TIMEZONE", "America/New_Yrok"),
        ("PUBLISH", "sometimes"),
        ("LIMITS__MAX_WAIT", "15"),
    ] {
        command.env(format!("FHIRVEST__{name}"), value);
    }
    let done = Done::from(command.output().unwrap()).expect(2);
    for told in [
        "RATE__BURTS: unknown key `rate.burts` (did you mean `burst`?)",
        "RATE__BURST: `rate.burst` is 0, but has to be 1 or more",
        "RATE__CONCURRENCY: `rate.concurrency` is a string, but has to be a whole number",
        "MIN_COVERAGE: `min_coverage` is 7, but has to be between 0 and 1",
        "TIMEZONE: `timezone`: \"America/New_Yrok\" is no time zone of the IANA database (did you mean `America/New_York`?)",
        "PUBLISH: `publish` can't be \"sometimes\"",
        "LIMITS__MAX_WAIT: `limits.max_wait`: \"15\" is not a length of time",
    ] {
        let told = format!("environment variable FHIRVEST__{told}");
        assert!(done.stderr.contains(&told), "{told}\n{}", done.stderr);
    }
    assert!(done.stderr.contains("8 mistakes in the configuration"), "{}", done.stderr);
    assert!(!home.path("lake").exists());
    // Texts that look like numbers stay texts, and numbers are numbers.
    let mut command = home.fhirvest(&["config", "show", "a", "--json"]);
    command.env("FHIRVEST__SANDBOX__SIZE", "7").env("FHIRVEST__LAKE", "0123");
    let shown = Done::from(command.output().unwrap()).expect(0).report();
    let of = |key: &str| shown.as_array().unwrap().iter().find(|one| one["key"] == key).unwrap()["value"].clone();
    assert_eq!((of("sandbox.size"), of("lake")), ("7".into(), "\"0123\"".into()));
}

#[test]
fn one_name_in_two_files_is_a_mistake() {
    let home = Home::new();
    let job = "version = 1\nname = 'same'\napi = 'highmark/provider-directory'\n[resources.Location]\n";
    home.write("jobs/one.toml", job);
    home.write("jobs/two.toml", job);
    let done = home.run(&["run"]).expect(2);
    assert!(done.stderr.contains("the name of two files"), "{}", done.stderr);
    assert!(!home.path("lake").exists());
}

#[test]
fn each_value_is_shown_with_its_place_and_no_secret() {
    let home = Home::new();
    home.write(
        "jobs/acme.toml",
        "version = 1\nschedule = \"15 2 * * *\"\n[rate]\nburst = 3\n[source]\nname = \"acme\"\nbase_url = \
         \"https://acme.example/\"\nplatform = \"hapi\"\nauth = { kind = \"bearer\", token = { command = [\"printf\", \
         \"hush\"] } }\n[resources.Location]\n",
    );
    let output = home.fhirvest(&["--lake", "elsewhere", "config", "show", "acme", "--json"]);
    let output = { output }.env("FHIRVEST__RATE__CONCURRENCY", "7").env("FHIRVEST__LIMITS__MAX_RETRIES", "2").output();
    let done = Done::from(output.unwrap()).expect(0);
    assert!(!done.stdout.contains("hush"), "{}", done.stdout);
    let shown = done.report();
    let of = |key: &str| {
        let found = shown.as_array().unwrap().iter().find(|one| one["key"] == key);
        let found = found.unwrap_or_else(|| panic!("{key} in {shown}"));
        (found["value"].as_str().unwrap().to_owned(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("rate.burst"), ("3".into(), "jobs/acme.toml:4".into()));
    assert_eq!(of("schedule"), ("\"15 2 * * *\"".into(), "jobs/acme.toml:2".into()));
    assert_eq!(of("rate.concurrency"), ("7".into(), "environment variable FHIRVEST__RATE__CONCURRENCY".into()));
    assert_eq!(of("lake"), ("\"elsewhere\"".into(), "flag".into()));
    assert_eq!(of("source.auth.token.command"), ("[\"printf\", …]".into(), "jobs/acme.toml:9".into()));
    // The environment's file lies over the defaults.
    assert!(of("rate.requests_per_second").1.ends_with("config/local.toml:5"), "{:?}", of("rate.requests_per_second"));
    assert!(of("limits.max_wait").1.contains("config/default.toml:"), "{:?}", of("limits.max_wait"));
    // What the platform adds is named, too.
    let platform = shown
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["origin"].as_str().is_some_and(|origin| origin.contains("config/platforms/hapi.toml:")));
    assert!(platform.is_some(), "{shown}");
    assert!(!home.path("elsewhere").exists());
}

#[test]
fn a_catalogued_source_is_shown_with_its_place() {
    let home = Home::new();
    home.write("jobs/a.toml", "version = 1\napi = 'highmark/provider-directory'\n[resources.Location]\n");
    let shown = home.run(&["config", "show", "a", "--json"]).expect(0).report();
    let base = shown.as_array().unwrap().iter().find(|one| one["key"] == "source.base_url").unwrap();
    assert!(base["origin"].as_str().unwrap().contains("config/apis/highmark.toml:"), "{base}");
}

#[test]
fn the_schemas_in_the_folder_are_those_of_this_program() {
    let home = Home::new();
    for kind in ["job", "api", "platform", "value-sets"] {
        let made = home.run(&["config", "schema", kind]).expect(0).stdout;
        let path = workspace().join(format!("config/schema/{kind}.json"));
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            made == kept,
            "{} is not what `fhirvest config schema {kind}` prints: run `make schemas`",
            path.display()
        );
    }
}
