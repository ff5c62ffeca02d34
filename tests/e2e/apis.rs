//! The catalogue tells what is known of each API and what a user has to fill in.

use crate::harness::Home;

#[test]
fn every_api_is_listed_with_what_is_missing() {
    let home = Home::new();
    let listed = home.run(&["apis"]).expect(0).stdout;
    for text in [
        "Highmark Health (registration code e18f9d)",
        "Blue Cross Blue Shield of Wyoming (registration code 605ea3)",
        "highmark/patient-access-wholecare: Patient Access (Wholecare members)",
        "local         sandbox:/bcbs-wyoming/prime-explanation-of-benefits",
        "production    - (to fill in: base_url, auth.header)",
    ] {
        assert!(listed.contains(text), "{text}: {listed}");
    }
    let all = home.run(&["apis", "--json"]).expect(0).report();
    assert_eq!(all.as_array().unwrap().len(), 10);
    let shown = home.run(&["apis", "show", "highmark/patient-access"]).expect(0).stdout;
    assert!(shown.contains("to fill in: auth.client_id (see the OAuth credentials of your application at"), "{shown}");
    let one = home.run(&["apis", "show", "highmark/esi-formulary", "--json"]).expect(0).report();
    assert_eq!(one["blanks"]["production"][1]["key"], "auth");
    let unknown = home.run(&["apis", "show", "highmark/formulary"]).expect(2);
    assert!(unknown.stderr.contains("highmark/esi-formulary"), "{}", unknown.stderr);
}

#[test]
fn a_job_says_what_has_to_be_filled_in_first() {
    let home = Home::new();
    for (api, keys) in [
        ("highmark/provider-directory", ["base_url", "auth.header"]),
        ("highmark/patient-access", ["base_url", "auth.client_id"]),
    ] {
        home.write("jobs/mine.toml", &format!("version = 1\napi = \"{api}\"\n[resources.Patient]\n"));
        for command in ["run", "check"] {
            let done = home.run(&[command, "mine", "--environment", "production"]).expect(2);
            for text in keys.iter().copied().chain(["fhirvest apis import", "api-catalog/apicatalog"]) {
                assert!(done.stderr.contains(text), "{command} {api} {text}: {}", done.stderr);
            }
        }
    }
    assert!(!home.path("lake").exists());
}

#[test]
fn an_openapi_file_fills_in_what_is_missing_and_comments_stay() {
    let home = Home::new();
    for name in ["highmark", "bcbs-wyoming"] {
        let text =
            std::fs::read_to_string(crate::harness::workspace().join(format!("config/apis/{name}.toml"))).unwrap();
        home.write(&format!("config/apis/{name}.toml"), &text);
    }
    let openapi = home.write(
        "pd.yaml",
        "openapi: 3.0.1\nservers: [{url: 'https://api.example.org/pd'}]\npaths:\n  /Location: {get: {parameters: [{name: _count, in: query}]}}\ncomponents:\n  securitySchemes:\n    key: {type: apiKey, in: header, name: x-key}\n",
    );
    let fhirvest = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fhirvest"));
        crate::harness::Done::from(command.current_dir(home.path("")).args(arguments).output().unwrap())
    };
    let done =
        fhirvest(&["apis", "import", openapi.to_str().unwrap(), "--api", "highmark/provider-directory"]).expect(0);
    assert!(done.stdout.contains("set resources, search_parameters, base_url, auth.header"), "{}", done.stdout);
    assert!(!done.stdout.contains("still to fill in"), "{}", done.stdout);
    let text = std::fs::read_to_string(home.path("config/apis/highmark.toml")).unwrap();
    assert!(text.contains("# The publisher's own sandbox") && text.contains("header = \"x-key\""), "{text}");
    let shown = fhirvest(&["apis", "show", "highmark/provider-directory"]).expect(0).stdout;
    for text in ["production    https://api.example.org/pd", "searches      Location by _count"] {
        assert!(shown.contains(text), "{shown}");
    }
    let sign_in =
        fhirvest(&["apis", "import", openapi.to_str().unwrap(), "--api", "highmark/patient-access"]).expect(0);
    assert!(sign_in.stdout.contains("still to fill in: auth.client_id"), "{}", sign_in.stdout);
    fhirvest(&["apis", "import", openapi.to_str().unwrap(), "--api", "highmark/nothing"]).expect(2);
}

/// From the catalogue's blanks to data: nothing is written by hand but the key.
#[test]
fn a_job_runs_in_an_environment_that_an_openapi_file_has_filled_in() {
    let home = Home::new();
    let sandbox = crate::harness::Sandbox::start(&home, &["--size", "20", "--api-key-env", "SANDBOX_KEY"]);
    let shipped = crate::harness::workspace().join("config/apis/highmark.toml");
    home.write("config/apis/highmark.toml", &std::fs::read_to_string(shipped).unwrap());
    let url: url::Url = sandbox.url("highmark/provider-directory").parse().unwrap();
    let openapi = serde_json::json!({
        "swagger": "2.0", "schemes": ["http"], "host": url.authority(), "basePath": url.path(),
        "securityDefinitions": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        "paths": {"/Location": {"get": {}}, "/Endpoint": {"get": {}}},
    });
    let openapi = home.write("directory.json", &openapi.to_string());
    home.write(
        "jobs/mine.toml",
        "version = 1\nname = \"mine\"\napi = \"highmark/provider-directory\"\nenvironment = \"production\"\nviews = [\"plan-net/location\"]\n\
         [rate]\nrequests_per_second = 0\n[resources.Location]\n[resources.Endpoint]\n",
    );
    let fhirvest = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fhirvest"));
        command.current_dir(home.path("")).env("HIGHMARK_API_KEY", "right").args(arguments);
        crate::harness::Done::from(command.output().unwrap())
    };
    fhirvest(&["run", "mine"]).expect(2);
    fhirvest(&["apis", "import", openapi.to_str().unwrap(), "--api", "highmark/provider-directory"]).expect(0);
    let report = fhirvest(&["run", "mine", "--json"]).expect(0).report();
    assert!(report["resources"].as_array().unwrap().iter().all(|kind| kind["status"] == "complete"), "{report}");
    assert!(home.count("\"all\".location") > 0);
}
