//! Killed at any moment and started again, a run ends with what an undisturbed one has.

use std::{collections::BTreeMap, process::Stdio, thread, time::Duration};

use crate::harness::{Home, Sandbox};

const TYPES: &str = "Practitioner,PractitionerRole,Location,Organization";

fn arguments(url: &str) -> Vec<&str> {
    vec!["harvest", url, "-r", TYPES, "-o", "lake", "--page-size", "5", "--rate", "0", "--source", "acme", "--json"]
}

/// The lines of every archive file of the only finished run, sorted, by type.
fn archived(home: &Home) -> BTreeMap<String, Vec<String>> {
    let files = home.files("lake/archive");
    files
        .iter()
        .map(|path| {
            let file = std::fs::File::open(home.path("lake/archive").join(path)).unwrap();
            let text = zstd::decode_all(file).unwrap();
            let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(ToOwned::to_owned).collect();
            lines.sort();
            (path.rsplit('/').next().unwrap().to_owned(), lines)
        })
        .collect()
}

#[test]
fn five_kills_change_nothing() {
    let calm = Home::new();
    let sandbox = Sandbox::start(&calm, &["--size", "120"]);
    let url = sandbox.url("highmark/provider-directory").to_owned();
    calm.run(&arguments(&url)).expect(0);

    let home = Home::new();
    let mut killed = 0;
    // Moments from the first request to the publishing of tables; a run that ends before its kill is done.
    for wait in [60, 110, 160, 210, 260] {
        let mut child = home.fhirvest(&arguments(&url)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not a wait for something to happen: the moment of the kill is what varies.
        #[allow(clippy::disallowed_methods, reason = "the kill has to come at some moment of the run")]
        thread::sleep(Duration::from_millis(wait));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        let status = child.wait().unwrap();
        if status.success() {
            break;
        }
    }
    assert!(killed > 0, "the first kill came too late");
    let runs_before = if home.path("lake/.fhirvest/ledger.sqlite").exists() {
        home.run(&["--lake", "lake", "runs", "--json"]).report().as_array().unwrap().len()
    } else {
        0
    };
    let report = home.run(&arguments(&url)).expect(0).report();
    assert!(runs_before <= 2, "a killed run is resumed, not begun anew: {runs_before}");
    assert_eq!(report["exit_code"], 0);
    let of_run = |home: &Home| archived(home);
    assert_eq!(of_run(&home), of_run(&calm));
    for table in ["practitioner", "practitioner_role", "role_network", "location", "organization"] {
        let ids = |home: &Home| home.duckdb(&format!("SELECT * EXCLUDE (snapshot) FROM acme.{table} ORDER BY ALL"));
        assert_eq!(ids(&home), ids(&calm), "{table}");
    }
}
