//! What a lake's storage may do to a run: nobody can write there, an archive is damaged, somebody else is at work. Each is
//! told with what to do, and what was published stays.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{fs, process::Stdio, time::Duration};

use serde_json::json;

use crate::{
    atomic::{disturbed, file_operations},
    harness::{Home, Sandbox},
    history::{first_world, free_port, job, night, run_of, world},
};

/// `EROFS`.
const READ_ONLY: &str = "30";

#[test]
fn a_folder_that_nobody_can_write_to_is_told() {
    let home = Home::new();
    let library = file_operations(&home);
    world(&home, &first_world(), 1);
    let sandbox = Sandbox::start(&home, &["--data", home.path("world").to_str().unwrap()]);
    home.write("jobs/nightly.toml", &job(sandbox.url("fhir"), ""));
    let told = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let first = told(disturbed(&home, &["run", "nightly"], &library, 1, Some(READ_ONLY)));
    assert!(first.contains("lake") && first.contains("Read-only file system"), "{first}");
    assert_eq!(home.files("lake"), Vec::<String>::new());
    // It was writable once: what is there can be read all the same.
    home.run(&["run", "nightly", "-q"]).expect(0);
    let before = home.files("lake");
    for command in [["run", "nightly"], ["rerun", "nightly"]] {
        let later = told(disturbed(&home, &command, &library, 1, Some(READ_ONLY)));
        assert!(later.contains("lake/") && later.contains("because: "), "{later}");
    }
    assert_eq!(home.files("lake"), before);
    assert_eq!(home.count("acme.location"), 40);
    home.run(&["verify", "-q"]).expect(0);
}

#[test]
fn a_damaged_block_of_an_archive_is_told_and_the_tables_stay() {
    let home = Home::new();
    world(&home, &first_world(), 1);
    let run = run_of(&night(&home, free_port(), "", &[]).expect(0));
    let archive = home.path(&format!("lake/archive/source=acme/run={run}/Location.ndjson.zst"));
    let whole = fs::read(&archive).unwrap();
    for at in (8..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        fs::write(&archive, bytes).unwrap();
        let failed = home.run(&["rerun", &run, "--all"]).expect(6).stderr;
        assert!(failed.contains("Location.ndjson.zst is damaged"), "{at}: {failed}");
        assert!(
            failed.contains("restore it from a copy, or make it anew (an archive: by its job, with --fresh)"),
            "{at}: {failed}"
        );
    }
    assert_eq!(home.count("acme.location"), 40);
    fs::write(&archive, whole).unwrap();
    home.run(&["rerun", &run, "--all", "-q"]).expect(0);
    home.run(&["verify", "-q"]).expect(0);
    let rows = home.duckdb("SELECT count(*) AS n, count(DISTINCT snapshot) AS snapshots FROM acme.location");
    assert_eq!(rows, [json!({"n": 40, "snapshots": 1})]);
}

#[test]
fn two_processes_share_a_lake() {
    let home = Home::new();
    world(&home, &first_world(), 1);
    // A server that is slow enough to meet both processes at once.
    let sandbox = Sandbox::start(&home, &["--data", home.path("world").to_str().unwrap()]);
    let slow = job(sandbox.url("fhir"), "").replace("requests_per_second = 0", "requests_per_second = 2\nburst = 1");
    home.write("jobs/nightly.toml", &slow);
    home.write("jobs/other.toml", &slow.replace("\"acme\"", "\"other\""));
    let start =
        |name: &str| home.fhirvest(&["run", name, "-q"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let first = start("nightly");
    let lock = home.path("lake/.fhirvest/locks/nightly.lock");
    while fs::read_to_string(&lock).map_or(true, |holder| holder.is_empty()) {
        #[allow(clippy::disallowed_methods, reason = "another process is waited for")]
        std::thread::sleep(Duration::from_millis(5));
    }
    // The same job at the same time: refused, with who holds it.
    let same = home.run(&["run", "nightly"]).expect(6).stderr;
    let holder = format!("nightly is being run by another process (pid {}): wait for it, or stop it", first.id());
    assert!(same.contains(&holder), "{same}");
    // Another job of the same host waits for its turn and publishes into the same lake.
    let second = start("other");
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let rows = home.duckdb("SELECT source, count(*) AS n FROM \"all\".location GROUP BY ALL ORDER BY ALL");
    assert_eq!(rows, [json!({"source": "acme", "n": 40}), json!({"source": "other", "n": 40})]);
    home.run(&["verify", "-q"]).expect(0);
}
