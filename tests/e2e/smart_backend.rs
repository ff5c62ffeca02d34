//! A directory that wants tokens of a client with a key pair (SMART Backend Services), by search and by export.

use std::path::PathBuf;

use crate::harness::{Done, Home, Sandbox, workspace};

const API: &str = "highmark/provider-directory";

fn key(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/keys").join(name)
}

/// A job whose token endpoint the server has to tell.
fn job(home: &Home, sandbox: &Sandbox, auth: &str) {
    let text = format!(
        r#"
version = 1
name = "directory"
[rate]
requests_per_second = 0
[source]
name = "acme"
base_url = "{}"
auth = {auth}
[resources.Practitioner]
page_size = 5
[resources.Location]
strategy = "bulk"
"#,
        sandbox.url(API)
    );
    home.write("jobs/directory.toml", &text);
}

fn backend(file: &str, key_id: &str, algorithm: &str) -> String {
    let file = key(file);
    format!(
        "{{ kind = \"smart-backend\", client_id = \"fhirvest-backend\", private_key = {{ file = \"{}\" }}, key_id = \"{key_id}\", algorithm = \"{algorithm}\", scopes = [\"system/*.rs\"] }}",
        file.display()
    )
}

fn run(home: &Home) -> Done {
    home.run(&["-vv", "run", "directory", "--fresh", "--json"])
}

#[test]
fn a_key_pair_of_either_kind_opens_a_directory_and_the_token_is_renewed() {
    let home = Home::new();
    let keys = key("jwks.json");
    // Each token is good for five requests, so that several statements have to be signed.
    let arguments = ["--size", "40", "--client-jwks", keys.to_str().unwrap(), "--fault", "token-5-requests"];
    let sandbox = Sandbox::start(&home, &arguments);
    for (file, key_id, algorithm) in [("es384.pem", "ec", "ES384"), ("rs384.pem", "rsa", "RS384")] {
        job(&home, &sandbox, &backend(file, key_id, algorithm));
        let done = run(&home).expect(0);
        for kind in done.report()["resources"].as_array().unwrap() {
            assert_eq!(kind["status"], "complete", "{algorithm}: {kind}");
            assert!(kind["counts"]["archived"].as_u64().unwrap() >= 20, "{algorithm}: {kind}");
        }
        let secret = std::fs::read_to_string(key(file)).unwrap();
        let line = secret.lines().nth(1).unwrap();
        for text in [&done.stdout, &done.stderr] {
            assert!(!text.contains(line) && !text.contains("sandbox-token-"), "{algorithm}");
        }
    }
}

#[test]
fn a_key_that_the_server_does_not_know_is_refused() {
    let home = Home::new();
    let keys = key("jwks.json");
    let sandbox = Sandbox::start(&home, &["--size", "20", "--client-jwks", keys.to_str().unwrap()]);
    for (auth, words) in [
        (backend("stranger.pem", "ec", "ES384"), "invalid_client"),
        (backend("es384.pem", "unknown", "ES384"), "invalid_client"),
        ("{ kind = \"none\" }".to_owned(), "401"),
    ] {
        job(&home, &sandbox, &auth);
        let done = run(&home).expect(3);
        assert!(format!("{}{}", done.stdout, done.stderr).contains(words), "{auth}: {} {}", done.stdout, done.stderr);
    }
    job(&home, &sandbox, &backend("es384.pem", "ec", "RS384"));
    let done = run(&home).expect(2);
    assert!(done.stderr.contains("the private key cannot be used"), "{}", done.stderr);
}
