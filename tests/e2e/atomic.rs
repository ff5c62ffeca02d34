//! A reader sees the old set of snapshots or the new one, whatever happens in between: while runs publish, and when the
//! process is killed, or the disk is full, at any operation on a file.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    harness::{Home, Sandbox, workspace},
    history::{World, first_world, free_port, job, night, run_of, second_world, world},
};

/// `ENOSPC`.
const DISK_FULL: &str = "28";

/// The library that counts operations on files, made with the C compiler that the build needs anyway.
pub(crate) fn file_operations(home: &Home) -> PathBuf {
    let library = home.path("fileops.so");
    let source = workspace().join("tests/support/fileops.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(made.unwrap().success());
    library
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(fs::copy(entry.path(), to).is_ok()) }
    }
}

/// The one set of snapshots that `views.sql` shows, every file of which is there.
fn shown(home: &Home) -> String {
    let text = fs::read_to_string(home.path("lake/views.sql")).unwrap();
    let current: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("  ('acme'") && line.trim_end_matches(',').ends_with(", true)"))
        .map(|line| line.split('\'').nth(5).unwrap())
        .collect();
    assert_eq!(current.len(), 1, "a mixture: {current:?}");
    for path in text.split('\'').filter(|part| part.ends_with(".parquet")) {
        assert!(fs::metadata(path).is_ok_and(|found| found.len() > 0), "{path} is named and not there");
    }
    (*current.first().unwrap()).to_owned()
}

/// What flattens and publishes the last run again.
const RERUN: &[&str] = &["rerun", "nightly", "--all", "-q"];
/// What crawls, flattens and publishes.
const RUN: &[&str] = &["run", "nightly", "-q", "--json"];

/// Runs a command with the n-th operation on a file going wrong.
pub(crate) fn disturbed(home: &Home, command: &[&str], library: &Path, at: usize, error: Option<&str>) -> Output {
    let mut command = home.fhirvest(command);
    command.env("LD_PRELOAD", library).env("FILEOPS_BELOW", home.path("lake")).env("FILEOPS_AT", at.to_string());
    if let Some(number) = error {
        command.env("FILEOPS_ERRNO", number);
    }
    command.output().unwrap()
}

/// A home whose lake has one run, and the run.
fn one_night(home: &Home) -> String {
    let few = first_world().into_iter().take(5).collect();
    world(home, &few, 1);
    let run = run_of(&night(home, free_port(), "", &[]).expect(0));
    copy(&home.path("lake"), &home.path("before"));
    run
}

fn restore(home: &Home) {
    fs::remove_dir_all(home.path("lake")).unwrap();
    copy(&home.path("before"), &home.path("lake"));
}

/// The next command puts everything right, and nothing is damaged.
fn repaired(home: &Home, at: usize) {
    home.run(&["rerun", "nightly", "--all", "-q"]).expect(0);
    home.run(&["verify", "-q"]).expect(0);
    let left = home.files("lake/.fhirvest/runs");
    assert_eq!(left, Vec::<String>::new(), "{at}: nothing staged is left");
}

#[test]
fn killed_at_any_file_operation_a_lake_shows_the_old_set_or_the_new_one() {
    let home = Home::new();
    let library = file_operations(&home);
    let old = one_night(&home);
    let (mut with_old, mut with_new) = (0, 0);
    for at in 1.. {
        restore(&home);
        let output = disturbed(&home, RERUN, &library, at, None);
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.signal(), Some(9), "{at}: {}", String::from_utf8_lossy(&output.stderr));
        *(if shown(&home) == old { &mut with_old } else { &mut with_new }) += 1;
        repaired(&home, at);
    }
    println!("killed {} times: {with_old} with the old set, {with_new} with the new one", with_old + with_new);
    assert!(with_old > 50 && with_new > 0, "{with_old} {with_new}");
}

/// Kills a run at the n-th operation for every second n: two tests share the work.
fn run_killed_and_finished(first: usize) {
    let home = Home::new();
    let library = file_operations(&home);
    let old = one_night(&home);
    let mut tonight: World = first_world().into_iter().take(5).collect();
    tonight.remove("l02");
    tonight.insert("l03".into(), "renamed".into());
    tonight.extend([("m1".into(), "new".into()), ("m2".into(), "new".into())]);
    world(&home, &tonight, 2);
    let sandbox = Sandbox::start(&home, &["--data", home.path("world").to_str().unwrap()]);
    home.write("jobs/nightly.toml", &job(sandbox.url("fhir"), ""));
    let (mut with_old, mut with_new) = (0, 0);
    for at in (first..).step_by(2) {
        restore(&home);
        let output = disturbed(&home, RUN, &library, at, None);
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.signal(), Some(9), "{at}: {}", String::from_utf8_lossy(&output.stderr));
        let is_new = shown(&home) != old;
        *(if is_new { &mut with_new } else { &mut with_old }) += 1;
        // Somebody may even remove what was staged of a table: it is made again.
        let staged = home.files("lake/.fhirvest/runs").into_iter().find(|path| path.ends_with(".parquet"));
        if let Some(staged) = staged.filter(|_| at % 3 == 0) {
            fs::remove_file(home.path("lake/.fhirvest/runs").join(staged)).unwrap();
        }
        let next = home.run(RUN).expect(0).report();
        // Either the killed run had come to its commit, and the next one finds nothing new, or the next one finishes it.
        let committed = next["tables"][0]["previous_rows"] == 6;
        assert!(committed || !is_new, "{at}: {next}");
        assert_eq!(next["tables"][0]["rows"], 6, "{at}: {next}");
        let told = ["added", "changed", "removed"].map(|kind| next["changes"][0][kind].as_u64().unwrap());
        assert_eq!(told, if committed { [0, 0, 0] } else { [2, 1, 1] }, "{at}: {next}");
        home.run(&["verify", "-q"]).expect(0);
        assert_eq!(home.files("lake/.fhirvest/runs"), Vec::<String>::new(), "{at}: nothing staged is left");
    }
    assert!(with_old > 80 && with_new > 0, "{with_old} {with_new}");
}

#[test]
fn killed_at_any_odd_file_operation_a_run_is_finished_by_the_next_one() {
    run_killed_and_finished(1);
}

#[test]
fn killed_at_any_even_file_operation_a_run_is_finished_by_the_next_one() {
    run_killed_and_finished(2);
}

#[test]
fn a_disk_that_is_full_at_any_moment_is_told_and_costs_nothing() {
    let home = Home::new();
    let library = file_operations(&home);
    let old = one_night(&home);
    let mut failed = 0;
    for at in (1..).step_by(3) {
        restore(&home);
        let output = disturbed(&home, RERUN, &library, at, Some(DISK_FULL));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            break;
        }
        failed += 1;
        assert_eq!(output.status.code(), Some(6), "{at}: {told}");
        // The file is named; SQLite has its own words for why.
        assert!(told.contains("lake/") && told.contains("because: "), "{at}: {told}");
        let now = shown(&home);
        assert!(now >= old, "{at}: {now}");
        repaired(&home, at);
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn a_reader_never_sees_a_mixture() {
    let home = Home::new();
    let port = free_port();
    world(&home, &first_world(), 1);
    night(&home, port, "", &[]).expect(0);
    let script = home.write(
        "reader.py",
        r#"
import sys, pathlib, duckdb
views, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
reads, seen = 0, set()
while not stop.exists() or not reads:
    connection = duckdb.connect()
    connection.execute(views.read_text())
    rows = connection.execute(
        "SELECT snapshot, count(*) FROM acme.location GROUP BY ALL UNION ALL SELECT snapshot, count(*) FROM acme.telecom GROUP BY ALL"
    ).fetchall()
    assert len(rows) == 2 and rows[0] == rows[1], rows
    reads += 1
    seen.add(rows[0][0])
print(reads, len(seen))
"#,
    );
    let python =
        std::env::var_os("FHIRVEST_PYTHON").map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from);
    let stop = home.path("stop");
    let reader = Command::new(python)
        .arg(script)
        .args([home.path("lake/views.sql"), stop.clone()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for number in 0..4 {
        world(&home, &if number % 2 == 0 { second_world() } else { first_world() }, number + 2);
        night(&home, port, "keep_snapshots = 2", &[]).expect(0);
    }
    fs::write(stop, "").unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<usize> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] > 0 && numbers[1] > 0, "{text}");
}
