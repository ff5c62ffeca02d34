//! Data about persons: a lake of its own, closed to others, and not a word about anybody outside of it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::harness::{Done, Home, Sandbox, workspace};

/// What must not be seen outside of the lake: ids and names of members.
pub(crate) const MEMBERS: [&str; 4] = ["member-7311", "member-9942", "Kowalczyk", "Oyelaran"];

/// A server with two members and their observations, and a job that asks for them.
pub(crate) fn members(home: &Home, faults: &[&str]) -> Sandbox {
    let patient = |id: &str, family: &str| {
        format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{family}"}}],"birthDate":"1961-03-04"}}"#)
    };
    let people = [patient(MEMBERS[0], MEMBERS[2]), patient(MEMBERS[1], MEMBERS[3])];
    home.write("world/Patient.ndjson", &people.join("\n"));
    let observations = (0..40).map(|number| {
        let (id, member) = (format!("seen-{number}"), MEMBERS[number % 2]);
        format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/{member}"}}}}"#
        )
    });
    home.write("world/Observation.ndjson", &observations.collect::<Vec<_>>().join("\n"));
    let data = home.path("world");
    let mut arguments = vec!["--data", data.to_str().unwrap()];
    for fault in faults {
        arguments.extend(["--fault", fault]);
    }
    let sandbox = Sandbox::start(home, &arguments);
    job(home, sandbox.url("fhir"), &[MEMBERS[0], MEMBERS[1]]);
    sandbox
}

pub(crate) fn job(home: &Home, url: &str, members: &[&str]) {
    let text = format!(
        "version = 1\nenvironment = \"test\"\nviews = [\"patient-access/patient\", \"patient-access/observation\"]\n\
         [source]\nname = \"acme\"\nbase_url = \"{url}\"\n[rate]\nrequests_per_second = 0\n\
         [limits]\nmax_retries = 0\n\
         [patients]\nids = {members:?}\n[resources.Patient]\n[resources.Observation]\npage_size = 5\n"
    );
    home.write("jobs/members.toml", &text);
}

/// Runs the program with a umask that takes nothing away.
fn run(home: &Home, arguments: &[&str]) -> Done {
    let inner = home.fhirvest(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(home.path(".")).env("NO_COLOR", "1").env_remove("RUST_LOG");
    Done::from(command.output().unwrap())
}

/// Folders and files below a folder that others may do something with.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mode = fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    let mut found = Vec::new();
    if mode != 0o700 {
        found.push(format!("{} {mode:o}", folder.display()));
    }
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(open_to_others(&entry.path()));
        } else if entry.metadata().unwrap().permissions().mode() & 0o777 != 0o600 {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

fn says_nothing_of_members(done: &Done) {
    for member in MEMBERS {
        assert!(!done.stdout.contains(member), "{member}: {}", done.stdout);
        assert!(!done.stderr.contains(member), "{member}: {}", done.stderr);
    }
}

#[test]
fn the_lake_is_closed_to_others_and_nobody_is_named_outside_of_it() {
    let home = Home::new();
    let _sandbox = members(&home, &[]);
    let done = run(&home, &["-vv", "run", "members", "--json"]).expect(0);
    says_nothing_of_members(&done);
    assert!(done.stderr.contains("patient=…"), "the requests are logged: {}", done.stderr);
    assert!(!home.path("lake").exists(), "nothing goes to the public lake");
    assert_eq!(open_to_others(&home.path("lake-sensitive")), Vec::<String>::new());
    let rows = home.duckdb_in("lake-sensitive", "SELECT count(*) AS n FROM acme.observation");
    assert_eq!(rows[0]["n"], 40);
    says_nothing_of_members(&run(&home, &["--lake", "lake-sensitive", "runs", "--json"]).expect(0));
}

#[test]
fn what_a_stopped_run_leaves_is_closed_to_others_too() {
    let home = Home::new();
    let _sandbox = members(&home, &["429-long"]);
    let done = run(&home, &["-vv", "run", "members"]).expect(75);
    says_nothing_of_members(&done);
    let left = home.files("lake-sensitive/.fhirvest/runs");
    assert!(left.iter().any(|path| path.ends_with(".ndjson.zst")), "{left:?}");
    assert_eq!(open_to_others(&home.path("lake-sensitive")), Vec::<String>::new());
}

#[test]
fn a_member_whom_the_server_does_not_know_is_not_named() {
    let home = Home::new();
    let sandbox = members(&home, &["403-type"]);
    job(&home, sandbox.url("fhir"), &[MEMBERS[0], "member-0000"]);
    let done = run(&home, &["-vv", "run", "members", "--json"]);
    assert_ne!(done.code, Some(0), "{}", done.stderr);
    says_nothing_of_members(&done);
    assert!(!format!("{}{}", done.stdout, done.stderr).contains("member-0000"), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_lake_holds_one_kind_of_data() {
    let home = Home::new();
    let _sandbox = members(&home, &[]);
    let jobs = workspace().join("jobs");
    let public = |lake: &str| {
        home.run(&["--jobs", jobs.to_str().unwrap(), "--lake", lake, "run", "provider-directory", "--max-pages", "1"])
    };
    run(&home, &["run", "members"]).expect(0);
    let refused = public("lake-sensitive").expect(2).stderr;
    assert!(refused.contains("lake-sensitive holds sensitive data, and the job's are public"), "{refused}");
    public("lake");
    let refused =
        Done::from(home.fhirvest(&["run", "members"]).env("FHIRVEST__SENSITIVE_LAKE", "lake").output().unwrap())
            .expect(2)
            .stderr;
    assert!(refused.contains("lake holds public data, and the job's are sensitive"), "{refused}");
    // The public lake stays as it was, for its readers.
    assert_ne!(fs::metadata(home.path("lake")).unwrap().permissions().mode() & 0o055, 0);
}
